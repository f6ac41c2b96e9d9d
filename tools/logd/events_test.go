package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
	"winnow/tools/testkit"
)

// shownState reads states of a page until one is as wanted.
func shownState(t *testing.T, l *testLog, wanted func(containers, missing int) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
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

// crowded is a snapshot of n containers.
func crowded(n int) string {
	var b strings.Builder
	b.WriteString(testkit.HostLine("s", "2026-11-21T11:59:50Z", n))
	for i := range n {
		b.WriteString(testkit.ContainerLine("s", "2026-11-21T11:59:50Z", fmt.Sprintf("%064x", i), strings.Repeat("n", 200)+fmt.Sprint(i), "low", "keep", i))
	}
	return b.String()
}

func TestEvents(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", twoSnapshots())
	next, _ := follow(t, l.url+"/events")
	var state struct {
		Shown      string
		Containers []record.Container
		Kills      []record.Kill
	}
	for len(state.Containers) != 3 || len(state.Kills) != 1 {
		text := next()
		if strings.HasPrefix(text, "end:") {
			t.Fatalf("%s; last %+v", text, state)
		}
		if data, ok := strings.CutPrefix(text, "data: {"); ok {
			if err := json.Unmarshal([]byte("{"+data), &state); err != nil {
				t.Fatal(err)
			}
		}
	}
	if state.Shown != "vm" || state.Kills[0].Name != "web" || state.Containers[0].Verdict != "kill" {
		t.Errorf("%+v", state)
	}
	// What comes late does not replace what is newer.
	l.mustPost(t, "", testkit.HostLine("s0", "2026-11-21T09:00:00Z", 0))
	l.mustPost(t, "", testkit.HostLine("s3", "2026-11-21T11:59:50Z", 1)+testkit.ContainerLine("s3", "2026-11-21T11:59:50Z", "bbbb11112222", "db", "low", "keep", 1))
	for len(state.Containers) != 1 {
		text := next()
		if strings.HasPrefix(text, "end:") {
			t.Fatalf("%s; last %+v", text, state)
		}
		if data, ok := strings.CutPrefix(text, "data: {"); ok {
			json.Unmarshal([]byte("{"+data), &state)
			if len(state.Containers) == 0 {
				t.Error("shows the late snapshot")
			}
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
	l.mustPost(t, "", testkit.HostLine("s", "2026-11-21T11:59:50Z", 5)+testkit.ContainerLine("s", "2026-11-21T11:59:50Z", "aaaa", "web", "low", "keep", 1))
	shownState(t, l, func(containers, missing int) bool { return containers == 1 && missing == 4 })
	testkit.Eventually(t, "the metrics say so, too", func() bool {
		_, text := l.get(t, "/metrics")
		return strings.Contains(text, `winnow_host_containers_missing{host="vm"} 4`)
	})
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
		r.l.add([]byte(testkit.HostLine("newer", "2026-11-21T11:59:59Z", 0)))
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

func TestAPageAsksAnewAfterAWhile(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir(), func(s *server) { s.pageTime = time.Second })
	next, _ := follow(t, l.url+"/events")
	var said []string
	for line := next(); line != "end: <nil>"; line = next() {
		said = append(said, line)
	}
	if len(said) < 3 || said[len(said)-3] != "event: again" {
		t.Errorf("ended with %q", said)
	}
}

// A page that is not read is cut long before what it is sent fills the
// buffers: when its window has been shut for as long as a write may take.
func TestAPageThatIsNotReadIsCut(t *testing.T) {
	t.Parallel()
	s := newServer(testkit.NewClock().Now, new(testkit.Messages).Warn)
	s.options.Dir = t.TempDir()
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.serve(ctx, door.Bounded(plain, time.Second)) }()
	c := &crowd{stop: make(chan struct{})}
	for _, path := range []string{"/events", "/logs?follow=1"} {
		c.dialFrom(t, "127.0.0.1", plain.Addr().String(), "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	testkit.Eventually(t, "the streams are open", func() bool { return s.streams.Count() == 2 })
	// More than the clients' windows, and less than the buffer, a little at a time.
	for n := range 6 {
		at := testkit.Noon.Add(time.Duration(n) * time.Second).Format(time.RFC3339)
		lines := testkit.HostLine(fmt.Sprint("s", n), at, 300)
		for i := range 300 {
			lines += testkit.ContainerLine(fmt.Sprint("s", n), at, fmt.Sprintf("aaaa11112%03d", i), "web", "low", "keep", 1)
		}
		if err := s.store.Append(newBatch(lines)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	testkit.Eventually(t, "they are cut", func() bool { return s.streams.Count() == 0 })
	c.leave()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
