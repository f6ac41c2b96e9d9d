package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

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
		want := before + "{\"n\":3}\n"
		for range 2 {
			b := newBatch("a-batch-that-is-new", `{"n":3}`)
			if bytes.Contains(journal, []byte(b.id)) {
				return
			}
			if err := s.Append(b); err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, s); got != want {
				t.Fatalf("had %q, has %q", before, got)
			}
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
		q, err := parseFilter(&args, noon)
		if err != nil {
			return
		}
		// What was asked for is in the filter, and nothing else is.
		at := func(name string, otherwise int64) int64 {
			if !args.Has(name) {
				return otherwise
			}
			when, _ := parseWhen(string(args.Peek(name)), noon)
			return when
		}
		want := filter{since: at("since", math.MinInt64), until: at("until", math.MaxInt64), newestFirst: string(args.Peek("order")) == "desc"}
		want.limit, _ = strconv.Atoi(string(args.Peek("limit")))
		want.follow, _ = strconv.ParseBool(string(args.Peek("follow")))
		for _, name := range filterNames {
			if args.Has(name) {
				want.equal = append(want.equal, member{name, string(args.Peek(name))})
			}
		}
		if !reflect.DeepEqual(*q, want) || args.Has("limit") && q.limit < 1 || q.follow && (q.newestFirst || q.until != math.MaxInt64) {
			t.Fatalf("%q gives %+v, want %+v", text, *q, want)
		}
	})
}
