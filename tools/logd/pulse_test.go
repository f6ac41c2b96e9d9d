package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

func TestPulse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		at   string // of the host's snapshots, in seconds of its clock; with ! because memory was short
		want time.Duration
	}{
		{"one", "0", time.Minute},
		{"every ten", "0 10 20 30", 30 * time.Second},
		{"not those in between", "0 10 !10.1 !10.2 20", 30 * time.Second},
		{"a pause", "0 10 20 500", 30 * time.Second},
		{"slower from now on", "0 10 20 80 140", 3 * time.Minute},
		{"its clock set back", "0 10 20 -1000 -990 -980", 30 * time.Second},
		{"faster than a second", "0 0.1 0.2", 3 * time.Second},
		{"once a day", "0 86400 172800", 3 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var p pulse
			if p.silent(testkit.Noon) {
				t.Error("silent before the first")
			}
			for text := range strings.FieldsSeq(test.at) {
				r := record.Host{Cause: record.CauseClock}
				if short, ok := strings.CutPrefix(text, "!"); ok {
					text, r.Cause = short, record.CauseAvailable
				}
				span, err := time.ParseDuration(text + "s")
				if err != nil {
					t.Fatal(err)
				}
				r.Time = testkit.Noon.Add(-time.Hour).Add(span) // a clock that is an hour late
				p.add(&r, testkit.Noon)
			}
			if got := p.patience(); got != test.want {
				t.Errorf("patience is %v, want %v", got, test.want)
			}
			if p.silent(testkit.Noon.Add(test.want)) || !p.silent(testkit.Noon.Add(test.want+1)) {
				t.Error("not silent from there on")
			}
		})
	}
}

// Each host is silent by its own beat, and by logd's clock, wherever its own is.
func TestSilentHosts(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	post := func(host string, at time.Time) {
		l.mustPost(t, "", fmt.Sprintf(`{"type":"host","host":%q,"snapshot":"%d","time":%q,"cause":"clock"}`+"\n", host, at.UnixNano(), at.Format(time.RFC3339Nano)))
	}
	silent := func(want ...string) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprint("silent: ", want), func() bool {
			_, metrics := l.get(t, "/metrics")
			for _, line := range want {
				if !strings.Contains(metrics, "winnow_host_silent{host="+line+"\n") {
					return false
				}
			}
			return true
		})
	}
	for range 4 {
		now := l.clock.Now()
		post("fast", now.Add(-time.Hour))
		l.clock.Pass(10 * time.Second)
	}
	for i := range 3 {
		post("slow", testkit.Noon.Add(time.Duration(i)*10*time.Minute))
	}
	silent(`"fast"} 0`, `"slow"} 0`)
	l.clock.Pass(5 * time.Minute)
	silent(`"fast"} 1`, `"slow"} 0`)
	l.clock.Pass(30 * time.Minute)
	silent(`"fast"} 1`, `"slow"} 1`)
	post("fast", l.clock.Now().Add(-time.Hour))
	silent(`"fast"} 0`, `"slow"} 1`)
}
