package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

func TestALogIsItsLinesAndCommits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	s.add(t, "a", "{\"n\":1}\n{\"n\":2}\n")
	s.add(t, "", "{\"n\":3}\n")
	if b := s.add(t, "a", "{\"n\":1}\n"); !b.Duplicate {
		t.Error("stored a batch twice")
	}
	s.close(t)
	const want = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n"
	text := readFile(t, dir, noonDay)
	if got := testkit.WithoutCommits(text); got != want {
		t.Errorf("holds %q", got)
	}
	if got := strings.Count(text, commitStart); got != 3 {
		t.Errorf("%d commits in %s", got, text)
	}
	for _, lose := range []string{"", ownDir} {
		if lose != "" {
			os.RemoveAll(filepath.Join(dir, lose))
		}
		s = openLog(t, dir)
		if got := s.all(t); got != want {
			t.Errorf("without %q answers %q", lose, got)
		}
		if b := s.add(t, "a", "{\"n\":1}\n"); !b.Duplicate {
			t.Errorf("without %q does not know the batch again", lose)
		}
		if s.said.String() != "" {
			t.Errorf("without %q said %s", lose, s.said)
		}
		s.close(t)
	}
	if got := verified(t, dir); got != "" {
		t.Errorf("verify: %s", got)
	}
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
