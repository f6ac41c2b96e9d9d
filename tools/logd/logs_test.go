package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

func TestQueries(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for i, line := range []string{
		`{"type":"host","time":"2026-11-21T11:00:00Z","host":"a","n":0}`,
		`{"type":"container","time":"2026-11-21T11:00:00Z","host":"a","id":"abcdef","name":"web","class":"low","verdict":"keep","n":1}`,
		`{"type":"container","time":"2026-11-21T11:30:00+00:00","host":"b","id":"abc999","name":"w\u0065b","class":"high","verdict":"kill","n":2}`,
		`{"type":"kill","time":"2026-11-21T11:50:00.5Z","host":"b","id":"abc999","name":"web","class":"high","n":3}`,
		`{"n":4,"labels":{"type":"kill"}}`,
	} {
		l.mustPost(t, fmt.Sprint("b", i), line)
	}
	tests := []struct{ query, want string }{
		{"", "01234"}, {"order=desc", "43210"}, {"limit=2", "01"}, {"limit=2&order=desc", "43"},
		{"type=kill", "3"}, {"type=container", "12"}, {"host=b", "23"}, {"id=abcdef", "1"}, {"id=abc", "123"}, {"name=web", "123"},
		{"class=high&type=container", "2"}, {"verdict=keep", "1"}, {"name=we", ""}, {"name=", ""},
		{"since=15m", "3"}, {"since=40m", "23"}, {"since=2026-11-21T11:00:00Z&until=2026-11-21T11:30:00Z", "01"},
		{"until=2026-11-21T11:00:00Z", ""}, {"since=2026-11-21", "0123"}, {"since=2d&order=desc&limit=1", "3"}, {"since=1h&type=host", "0"},
		// No line is of such a time: they are no bounds.
		{"until=9999-12-31", "01234"}, {"since=0001-01-01", "01234"}, {"since=0001-01-01&until=9999-12-31T23:59:59Z&order=desc", "43210"}, {"since=2026-11-21&until=2262-01-01", "0123"},
		{"until=1969-12-31", ""}, {"since=2262-01-01", ""},
	}
	for _, test := range tests {
		var got strings.Builder
		for _, line := range strings.Split(l.find(t, test.query), "\n") {
			if _, n, ok := strings.Cut(line, `"n":`); ok {
				got.WriteByte(n[0])
			}
		}
		if got.String() != test.want {
			t.Errorf("%s: got %q, want %q", test.query, got.String(), test.want)
		}
	}
	for _, query := range []string{"sinc=1", "since=soon", "until=-3m", "since=-213503d", "until=9999-13-31", "limit=0", "limit=x", "order=up", "follow=maybe", "type=a&type=b", "follow=1&order=desc"} {
		status, text := l.get(t, "/logs?"+query)
		var said struct{ Error string }
		if json.Unmarshal([]byte(text), &said); status != http.StatusBadRequest || said.Error == "" {
			t.Errorf("%s: status %d, %q", query, status, text)
		}
	}
}

func TestClosedDaysAreCompressedAndStayQueryable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	day := testkit.Noon.Truncate(24 * time.Hour)
	for i := range 8 {
		l.mustPost(t, fmt.Sprint("b", i), bigDay(day.Add(time.Duration(i)*1000*time.Second), 1000))
	}
	l.clock.Pass(24 * time.Hour)
	l.mustPost(t, "", `{"type":"host","n":1}`)
	queries := []string{"", "order=desc", "id=0400", "since=2026-11-21T01:00:00Z&until=2026-11-21T01:00:10Z", "order=desc&limit=3", "type=commit"}
	var before []string
	for _, q := range queries {
		before = append(before, l.find(t, q))
	}
	if before[5] != "" || strings.Contains(before[0], `"type":"commit"`) {
		t.Errorf("answers commits: %q", before[5])
	}
	for _, when := range []string{"compressed", "started again"} {
		l.stop()
		l = startLog(t, dir, func(s *server) { s.options.Compress = true })
		l.clock.Pass(24 * time.Hour)
		testkit.Eventually(t, "the day is compressed", func() bool {
			days, err := filepath.Glob(filepath.Join(dir, "*.jsonl*"))
			return err == nil && len(days) == 2 && strings.HasSuffix(days[0], "2026-11-21.jsonl.zst")
		})
		for i, q := range queries {
			if got := l.find(t, q); got != before[i] {
				t.Errorf("%s: %q has %d bytes, not %d", when, q, len(got), len(before[i]))
			}
		}
		if _, a := l.post(t, "b0", `{}`); !a.Duplicate {
			t.Errorf("%s: the batch is not known", when)
		}
	}
}

// TestADayThatCannotBeReadKeepsNoOtherBack has a compressed day with a hole: what
// follows it is answered, and then the answer breaks off; a follower follows.
func TestADayThatCannotBeReadKeepsNoOtherBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "2026-11-20.jsonl.zst"), []byte("no zstd"), 0o640); err != nil {
		t.Fatal(err)
	}
	l := startLog(t, dir)
	l.mustPost(t, "", testkit.ContainerLine("s", "2026-11-21T11:59:40Z", "aaaa", "web", "low", "keep", 1))
	response, err := http.Get(l.url + "/logs")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err == nil || strings.Count(string(text), `"name":"web"`) != 1 {
		t.Errorf("answers %q, and ends with %v", text, err)
	}
	for path, want := range map[string]int{"/why/web": 200, "/why/nobody": 404, "/charts/memory.svg?since=30d": 200} {
		if status, text := l.get(t, path); status != want {
			t.Errorf("%s: status %d, %s", path, status, text)
		}
	}
	next, _ := follow(t, l.url+"/logs?follow=1")
	if line := next(); !strings.Contains(line, `"name":"web"`) {
		t.Errorf("a follower gets %q", line)
	}
	l.mustPost(t, "", `{"n":2}`)
	if line := next(); line != `{"n":2}` {
		t.Errorf("then a follower gets %q", line)
	}
}

// A search that waits for its client lets others search.
func TestASlowReaderHoldsNoProcessor(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for i := range 10 {
		l.mustPost(t, fmt.Sprint("b", i), bigDay(testkit.Noon, 8000))
	}
	c := gather(t, strings.TrimPrefix(l.url, "http://"), 0, 0, 0)
	defer c.leave()
	for range 20 { // more than half of any test machine's processors
		c.dial(t, strings.TrimPrefix(l.url, "http://"), "GET /logs?type=container HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	testkit.Eventually(t, "20 streams are open", func() bool { return l.streams.Count() == 20 })
	if got := l.find(t, "id=0007&limit=3"); strings.Count(got, "\n") != 3 {
		t.Errorf("found %q", got)
	}
}
