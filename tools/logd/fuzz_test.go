package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"

	"github.com/valyala/fasthttp"
)

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
		q := anyTime(filter{equal: []member{{name, value}}})
		if timed {
			q.since = noon.UnixNano()
		}
		got := line.Get(name)
		at, known := parseTime(line.Get("time").Str)
		want := got.Raw != "" && got.Raw[0] == '"' && (got.Str == value || name == "id" && strings.HasPrefix(got.Str, value)) && (!timed || known && at >= q.since)
		var b strings.Builder
		out := &limited{&b, 0}
		if err := scanLines([]byte(text+"\n"), q.needle(), &q, out); err != nil {
			t.Fatal(err)
		}
		if found := b.Len() > 0; found != want {
			t.Fatalf("%q with %q = %q, timed %v: found %v, want %v", text, name, value, timed, found, want)
		}
	})
}

// FuzzOpen starts a log on whatever its files hold.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("{\"n\":1}\n{\"n\":2}\n"), []byte("0 8 a\n8 16 b\n"), []byte("index"))
	f.Add([]byte("{\"n\":1}\n{\"n\""), []byte("0 8 a\n8 16 b"), encodeBlock(nil, block{0, 8, 0, 0, 8, true}))
	f.Add([]byte("\x00\x00\n"), []byte("9223372036854775807 9223372036854775807 a\n"), encodeBlock(nil, unknownBlock(0, math.MaxInt64)))
	f.Fuzz(func(t *testing.T, day, journal, index []byte) {
		dir := t.TempDir()
		writeLog(t, dir, string(day), string(journal))
		if err := os.WriteFile(filepath.Join(dir, ownDir, "2026-11-21.index"), index, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(storeOptions{dir: dir}, realDisk{}, newClock().now, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		before := readAll(t, s)
		if err := s.Append(newBatch("new", `{"n":3}`)); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, s); got != before+"{\"n\":3}\n" && got != before {
			t.Fatalf("had %q, has %q", before, got)
		}
	})
}

// FuzzFilter reads any query string.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{"since=15m&until=2026-11-21&limit=3", "since=-9223372036854775808ns", "since=99999999999999999999d", "order=desc&follow=1", "%zz=1&a&=b&&", "since=1e9h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var args fasthttp.Args
		args.Parse(text)
		q, err := parseFilter(&args, time.Now())
		if err == nil && (q.limit < 0 || q.follow && q.newestFirst) {
			t.Fatalf("%q gives %+v", text, q)
		}
	})
}
