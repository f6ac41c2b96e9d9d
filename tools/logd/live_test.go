package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/record"
)

// testLive is one that takes in lines directly.
func testLive(lines ...string) *live {
	l := newLive(func() time.Time { return noon })
	for _, text := range lines {
		for line := range strings.Lines(text) {
			l.add([]byte(line))
		}
	}
	return l
}

// crowded is a snapshot of n containers.
func crowded(n int) string {
	var b strings.Builder
	b.WriteString(hostLine("s", "2026-11-21T11:59:50Z", n))
	for i := range n {
		b.WriteString(container("s", "2026-11-21T11:59:50Z", fmt.Sprintf("%064x", i), strings.Repeat("n", 200)+fmt.Sprint(i), "low", "keep", i))
	}
	return b.String()
}

// shownState reads states of a page until one is as wanted.
func shownState(t *testing.T, l *testLog, wanted func(containers, missing int) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, l.url+"/events", nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewReader(response.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("no such state: %v", err)
		}
		data, ok := strings.CutPrefix(line, `data: {`)
		if !ok {
			continue
		}
		var state struct {
			Containers []record.Container
			Missing    int
		}
		if err := json.Unmarshal([]byte("{"+data), &state); err != nil {
			t.Fatal(err)
		}
		if wanted(len(state.Containers), state.Missing) {
			return
		}
	}
}

func TestASnapshotOfAnyLengthIsShown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	text := crowded(6000) // 3.5 MB
	l.mustPost(t, "", twoSnapshots())
	l.mustPost(t, "", text)
	whole := func(containers, missing int) bool { return containers == 6000 && missing == 0 }
	shownState(t, l, whole)
	l.stop()
	l = startLog(t, dir)
	shownState(t, l, whole)
}

func TestAPageSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", hostLine("s", "2026-11-21T11:59:50Z", 5)+container("s", "2026-11-21T11:59:50Z", "aaaa", "web", "low", "keep", 1))
	shownState(t, l, func(containers, missing int) bool { return containers == 1 && missing == 4 })
	eventually(t, "the metrics say so, too", func() bool {
		_, text := l.get(t, "/metrics")
		return strings.Contains(text, `winnow_host_containers_missing{host="vm"} 4`)
	})
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
		}
	}
	for i := range 300 {
		host := strings.ReplaceAll(hostLine("s", "2026-11-21T11:59:50Z", 1000), `"vm"`, fmt.Sprintf(`"h%d"`, i))
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
	l := testLive(hostLine("ahead", "2027-11-21T12:00:00Z", 0), hostLine("right", "2026-11-21T11:59:50Z", 0))
	if shown(l) != "right" {
		t.Errorf("shows %s", shown(l))
	}
	l.add([]byte(hostLine("late", "2026-11-21T11:00:00Z", 0)))
	if shown(l) != "right" {
		t.Errorf("what comes late from a spool replaces what is newer")
	}
	// One that is always ahead goes by arrival, and is not for ever young.
	l = testLive(hostLine("one", "2026-11-21T13:00:00Z", 0), hostLine("two", "2026-11-21T12:59:00Z", 0))
	if at := l.hosts["vm"].at; shown(l) != "two" || !at.Equal(noon) {
		t.Errorf("shows %s of %v", shown(l), at)
	}
	// A little ahead is what clocks are.
	l = testLive(hostLine("one", "2026-11-21T12:00:20Z", 0), hostLine("late", "2026-11-21T11:59:00Z", 0))
	if shown(l) != "one" {
		t.Errorf("shows %s", shown(l))
	}
}

// No time that a line may have ends a page, or a story.
func TestAnyTimeCanBeShown(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"0000-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-22T11:59:50+24:00", "2026-11-20T11:59:50-24:00", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59-23:00"} {
		l := startLog(t, t.TempDir())
		l.mustPost(t, "", hostLine("s", at, 1)+container("s", at, "aaaa11112222", "web", "high", "kill", 1)+
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

func TestMetricsAreWhatPrometheusTakes(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	at := "2026-11-21T11:59:50Z"
	host := strings.Replace(hostLine("s", at, 20), `"total_memory_kb":1000000`, `"total_memory_kb":16000000.0`, 1)
	twin := strings.Repeat("ab", 10)
	l.mustPost(t, "", host+container("s", at, "ééééééééééééé", "rune cut in two", "low", "keep", 1)+
		container("s", at, twin+"1", "twin", "low", "keep", 1)+container("s", at, twin+"2", "twin", "low", "keep", 1)+
		container("s", at, twin[:12], "twin", "low", "keep", 1)+
		container("s", at, "eeee", "twice", "low", "keep", 1)+container("s", at, "eeee", "twice", "low", "keep", 1)+
		container("s", at, "ffff", strings.Repeat("é", 1000), "new\tclass", "odd", 1)+container("s", at, "8888", "the end", "low", "keep", 1))
	var text string
	eventually(t, "all is there", func() bool {
		_, text = l.get(t, "/metrics")
		return strings.Contains(text, `name="the end"`)
	})
	if !utf8.ValidString(text) {
		t.Error("is not UTF-8")
	}
	for _, want := range []string{`{host="vm",state="total"} 1.6384e+10`, `id="éééééééééééé",name="rune`, `id="` + twin[:12] + `"`, `id="` + twin + `2"`, `class="other",verdict="other"`,
		"winnow_logd_containers_left_out 1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in it", want)
		}
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		series, _, _ := strings.Cut(line, "} ")
		if seen[series] {
			t.Errorf("twice: %.200s", series)
		}
		seen[series] = !strings.HasPrefix(line, "#")
	}
}

// A reader that takes its time sees a snapshot that ends when a newer one
// comes, and is told of that at once.
func TestAStateIsWholeJSONWhenItsSnapshotGoes(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for line := range strings.Lines(crowded(100)) {
		l.live.add([]byte(line))
	}
	var b bytes.Buffer
	w := &replaced{to: &b, l: l.live}
	changed, err := l.sendState(out{bufio.NewWriterSize(w, 4<<10)}, "vm")
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Containers []record.Container
		Missing    int
	}
	_, data, _ := strings.Cut(b.String(), "data: ")
	if err := json.Unmarshal([]byte(data), &state); err != nil {
		t.Fatalf("%v: %.300s", err, data)
	}
	if n := len(state.Containers); n == 0 || n == 100 || n+state.Missing != 100 {
		t.Errorf("%d containers, %d missing", n, state.Missing)
	}
	select {
	case <-changed:
	default:
		t.Error("is not told of the newer one")
	}
}

// replaced is a reader during whose first read a new snapshot begins.
type replaced struct {
	to *bytes.Buffer
	l  *live
}

func (r *replaced) Write(p []byte) (int, error) {
	if r.l != nil {
		r.l.add([]byte(hostLine("newer", "2026-11-21T11:59:59Z", 0)))
		r.l.tell()
		r.l = nil
	}
	return r.to.Write(p)
}

// A page that is opened before anything was posted shows that.
func TestTheStateOfNothing(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	next, _ := follow(t, l.url+"/events")
	for line := next(); ; line = next() {
		if text, data := strings.CutPrefix(line, "data: "); data {
			for _, want := range []string{`"hosts":[]`, `"kills":[]`, `"containers":[]`, `"host":null`} {
				if !strings.Contains(text, want) {
					t.Errorf("%s is not in %s", want, text)
				}
			}
			return
		}
	}
}
