package main

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// testLive is one that takes in lines directly.
func testLive(lines ...string) *live {
	l := newLive(func() time.Time { return testkit.Noon }, func(string, ...any) {})
	for _, text := range lines {
		for line := range strings.Lines(text) {
			l.add([]byte(line))
		}
	}
	return l
}

func TestLiveHoldsNoMoreThanItMay(t *testing.T) { // alone, as it measures
	long := `"` + strings.Repeat("x", 2000) + `"`
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := testLive()
	for i := range 400 {
		for range maxShown {
			l.add(fmt.Appendf(nil, `{"type":"kill","host":"h%d","id":%[2]s,"name":%[2]s,"image":%[2]s,"class":%[2]s,"reason":%[2]s,"result":%[2]s,"error":%[2]s}`, i, long))
			l.add(fmt.Appendf(nil, `{"type":"rule","event":"withdrawn","host":"h%d","id":%[2]s,"name":%[2]s,"rule":%[2]s,"mode":%[2]s,"reason":%[2]s}`, i, long))
		}
	}
	for i := range 300 {
		host := strings.ReplaceAll(testkit.HostLine("s", "2026-11-21T11:59:50Z", 1000), `"vm"`, fmt.Sprintf(`"h%d"`, i))
		l.add([]byte(host))
		for j := range 100 {
			l.add(fmt.Appendf(nil, `{"type":"container","host":"h%d","snapshot":"s","id":"%d","name":%[3]s,"image":%[3]s,"reason":%[3]s,"cmdline":%[3]s}`, i, j, long))
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := 0
	for _, h := range l.hosts {
		held += h.size()
	}
	if held != l.held || l.held > liveBytes+64<<10 || len(l.hosts) > maxHosts {
		t.Errorf("counts %d bytes, holds %d, of %d hosts", l.held, held, len(l.hosts))
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2*liveBytes {
		t.Errorf("takes %d bytes", grown)
	}
}

func TestASnapshotDatedAheadDoesNotRule(t *testing.T) {
	t.Parallel()
	shown := func(l *live) string { return l.hosts["vm"].record.Snapshot }
	l := testLive(testkit.HostLine("ahead", "2027-11-21T12:00:00Z", 0), testkit.HostLine("right", "2026-11-21T11:59:50Z", 0))
	if shown(l) != "right" {
		t.Errorf("shows %s", shown(l))
	}
	l.add([]byte(testkit.HostLine("late", "2026-11-21T11:00:00Z", 0)))
	if shown(l) != "right" {
		t.Errorf("what comes late from a spool replaces what is newer")
	}
	// One that is always ahead goes by arrival, and is not for ever young.
	l = testLive(testkit.HostLine("one", "2026-11-21T13:00:00Z", 0), testkit.HostLine("two", "2026-11-21T12:59:00Z", 0))
	if at := l.hosts["vm"].at; shown(l) != "two" || !at.Equal(testkit.Noon) {
		t.Errorf("shows %s of %v", shown(l), at)
	}
	// A little ahead is what clocks are.
	l = testLive(testkit.HostLine("one", "2026-11-21T12:00:20Z", 0), testkit.HostLine("late", "2026-11-21T11:59:00Z", 0))
	if shown(l) != "one" {
		t.Errorf("shows %s", shown(l))
	}
}

// No time that a line may have ends a page, or a story.
func TestAnyTimeCanBeShown(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"0000-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-22T11:59:50+24:00", "2026-11-20T11:59:50-24:00", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59-23:00"} {
		l := startLog(t, t.TempDir())
		l.mustPost(t, "", testkit.HostLine("s", at, 1)+testkit.ContainerLine("s", at, "aaaa11112222", "web", "high", "kill", 1)+
			`{"type":"kill","time":"`+at+`","host":"vm","snapshot":"s","id":"aaaa11112222","name":"web","created":"`+at+`","result":"killed"}`)
		shownState(t, l, func(containers, _ int) bool { return containers == 1 })
		for _, path := range []string{"/why/web", "/metrics", "/charts/kills.svg?since=0001-01-01&until=9999-12-31"} {
			if status, text := l.get(t, path); status != 200 {
				t.Errorf("%s: %s: status %d, %s", at, path, status, text)
			}
		}
		if said := l.said.String(); said != "" {
			t.Errorf("%s: said %s", at, said)
		}
		l.stop()
	}
}
