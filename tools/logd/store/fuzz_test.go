package store

import (
	"fmt"
	"strings"
	"testing"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
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

// FuzzOpen starts a log on whatever its files hold.
func FuzzOpen(f *testing.F) {
	c := commit{Type: record.TypeCommit, Bytes: 8, Lines: 1, Batches: []string{"a"}, Time: testkit.Noon}
	one := c.seal([]byte("{\"n\":1}\n"))
	c = commit{Type: record.TypeCommit, At: int64(len(one)), Bytes: 8, Lines: 1, Batches: []string{"b"}, Time: testkit.Noon}
	two := append(one[:len(one):len(one)], c.seal([]byte("{\"n\":2}\n"))...)
	e := entry{block: newBlock(0), Commit: c.CRC32C, Batches: []string{"a", "b"}}
	e.grow(int64(len(two)))
	f.Add([]byte("{\"n\":1}\n{\"n\":2}\n"), []byte("0 8 a\n8 16 b\n"), []byte("index"))
	f.Add([]byte("{\"n\":1}\n{\"n\""), []byte("0 8 a\n8 16 b"), encodeEntry(&e))
	f.Add([]byte("\x00\x00\n"), []byte("9223372036854775807 9223372036854775807 a\n"), []byte{})
	f.Add([]byte("1}\n{\"n\":2}\n"), []byte("0 8 a\n8 16 b\n"), []byte("index")) // a day that somebody has edited
	f.Add(one, []byte{}, []byte{})
	f.Add(two, []byte{}, encodeEntry(&e))
	f.Add(two[:len(two)-1], []byte{}, encodeEntry(&e))
	f.Add(append(one[1:len(one):len(one)], two...), []byte{}, []byte{})
	f.Add(append(two[:len(two):len(two)], one...), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, day, journal, index []byte) {
		dir := t.TempDir()
		writeFile(t, dir, noonDay, string(day))
		writeFile(t, dir, ownDir+"/2026-11-21.batches", string(journal))
		writeFile(t, dir, ownDir+"/2026-11-21.index", string(index))
		s, err := tryOpen(dir)
		if err != nil {
			t.Fatal(err)
		}
		before := s.all(t)
		if i := strings.Index(before, "\n"+commitStart); i >= 0 {
			t.Fatalf("answers a commit: %q", before[i:])
		}
		// What is stored is there, once; what is not was stored before, as the
		// files say that name the batch.
		for i, id := range []string{"new", "new"} {
			line := fmt.Sprintf(`{"n":%d}`, i) + "\n"
			b := s.add(t, id, line)
			known := strings.Contains(string(day)+string(journal)+string(index), id)
			if b.Duplicate && i == 0 && !known || !b.Duplicate && i == 1 {
				t.Fatalf("append %d: duplicate is %v", i, b.Duplicate)
			}
			if !b.Duplicate {
				before += line
			}
			if got := s.all(t); got != before {
				t.Fatalf("append %d: has %q, want %q", i, got, before)
			}
		}
		s.close(t)
		again, err := tryOpen(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer again.close(t)
		if got := again.all(t); got != before {
			t.Fatalf("opened again it has %q, want %q", got, before)
		}
	})
}
