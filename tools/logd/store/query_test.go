package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

func TestAQueryReadsNoMoreThanItsSpan(t *testing.T) {
	t.Parallel()
	s := manyDays(t, t.TempDir(), 2, 2000)
	f := AnyTime(Filter{})
	f.Since, f.Until = testkit.Noon.Add(day1+1000*time.Second).UnixNano(), testkit.Noon.Add(day1+1060*time.Second).UnixNano()
	views, _, _ := s.Views(&f, Position{})
	if len(views) != 1 || views[0].name != "2026-11-22" {
		t.Fatalf("reads %d days", len(views))
	}
	read := int64(0)
	for b := range views[0].wanted(&f) {
		read += b.Bytes
	}
	if size := int64(len(s.find(t, f))); size < 60*900 || read > size+2*(blockSize+2000) {
		t.Errorf("reads %d bytes for %d", read, size)
	}
}

// TestTheBoundsOfASpan has lines right at them, over blocks that begin and end
// there.
func TestTheBoundsOfASpan(t *testing.T) {
	t.Parallel()
	s := openLog(t, t.TempDir())
	at := func(n int) string { return testkit.Noon.Add(time.Duration(n) * time.Second).Format(time.RFC3339) }
	for n := range 4 { // each a block
		s.add(t, "", strings.Repeat(fmt.Sprintf(`{"time":"%s","n":%d,"x":"%s"}`+"\n", at(n), n, strings.Repeat("x", 10_000)), 30))
	}
	s.add(t, "", "{\"no\":\"time\"}\n")
	for _, test := range []struct {
		since, until int
		want         string
	}{{0, 4, "0123"}, {1, 3, "12"}, {1, 1, ""}, {3, 9, "3"}, {-9, 0, ""}, {-9, 1, "0"}, {4, 9, ""}} {
		f := AnyTime(Filter{})
		f.Since, f.Until = testkit.Noon.Add(time.Duration(test.since)*time.Second).UnixNano(), testkit.Noon.Add(time.Duration(test.until)*time.Second).UnixNano()
		got := ""
		for line := range strings.Lines(s.find(t, f)) {
			_, n, _ := strings.Cut(line, `"n":`)
			if got == "" || got[len(got)-1] != n[0] {
				got += n[:1]
			}
		}
		for _, newestFirst := range []bool{false, true} {
			f.NewestFirst = newestFirst
			if strings.Contains(s.find(t, f), commitStart) {
				t.Errorf("from %d to %d a commit is answered", test.since, test.until)
			}
		}
		views, _, _ := s.Views(&f, Position{})
		blocks := 0
		for i := range views {
			for b := range views[i].wanted(&f) {
				if !b.Untimed {
					blocks++
				}
			}
		}
		if got != test.want || blocks != len(test.want) {
			t.Errorf("from %d to %d: %q of %d blocks, want %q", test.since, test.until, got, blocks, test.want)
		}
	}
}

// FuzzMatches compares the search for lines with a plain reading of them.
func FuzzMatches(f *testing.F) {
	for _, line := range checkLines {
		f.Add(line, "type", "kill", true)
		f.Add(line, "id", "a", false)
	}
	f.Add(`{"x":{"type":"kill"},"type":"k\u0069ll","time":"2026-11-21T12:00:00Z"}`, "type", "kill", true)
	f.Fuzz(func(t *testing.T, text, name, value string, timed bool) {
		var line record.Line
		if strings.Contains(text, "\n") || line.Parse([]byte(text)) != nil {
			return
		}
		q := AnyTime(Filter{Equal: []Member{{name, value}}})
		if timed {
			q.Since = testkit.Noon.UnixNano()
		}
		got := line.Get(name)
		at, known := record.ParseTime(line.Get("time").Str)
		want := got.Raw != "" && got.Raw[0] == '"' && (got.Str == value || name == "id" && strings.HasPrefix(got.Str, value)) && (!timed || known && at >= q.Since)
		var b strings.Builder
		out := NewLimited(&b, 0)
		if err := scanLines([]byte(text+"\n"), q.needle(), &q, out); err != nil {
			t.Fatal(err)
		}
		if found := b.Len() > 0; found != want {
			t.Fatalf("%q with %q = %q, timed %v: found %v, want %v", text, name, value, timed, found, want)
		}
	})
}
