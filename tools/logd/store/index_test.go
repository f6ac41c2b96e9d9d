package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// TestALogWithoutItsIndexServes has what logd keeps for itself in the way.
func TestALogWithoutItsIndexServes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{ownDir, ownDir + "/2026-11-21.index"} {
		dir := t.TempDir()
		s := openLog(t, dir)
		s.add(t, "a", "{\"n\":1}\n")
		s.close(t)
		check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
		if name == ownDir {
			writeFile(t, dir, name, "a file")
		} else {
			writeFile(t, dir, name+"/x", "")
		}
		s = openLog(t, dir)
		if !strings.Contains(s.said.String(), "the index cannot be kept") {
			t.Errorf("%s: said %q", name, s.said)
		}
		if b := s.add(t, "a", "{\"n\":1}\n"); !b.Duplicate {
			t.Errorf("%s: does not know the batch again", name)
		}
		s.add(t, "b", "{\"n\":2}\n")
		if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n" {
			t.Errorf("%s: answers %q", name, got)
		}
		s.close(t)
	}
}

// TestTheIndexIsBelievedOnlyAsFarAsItIsTheDays changes what is kept beside.
func TestTheIndexIsBelievedOnlyAsFarAsItIsTheDays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	long := strings.Repeat("x", 1000)
	want := ""
	for n := range 1500 {
		line := fmt.Sprintf(`{"time":"%s","n":%d,"x":"%s"}`+"\n", testkit.Noon.Add(time.Duration(n)*time.Second).Format(time.RFC3339), n, long)
		s.add(t, fmt.Sprint("b", n), line)
		want += line
	}
	s.close(t)
	index := readFile(t, dir, ownDir+"/2026-11-21.index")
	entries := slices.Collect(strings.Lines(index))
	if len(entries) < 4 {
		t.Fatalf("%d entries", len(entries))
	}
	day := readFile(t, dir, noonDay)
	for name, text := range map[string]string{
		"whole": index, "empty": "", "a gap": entries[0] + strings.Join(entries[2:], ""), "no beginning": strings.Join(entries[1:], ""),
		"a torn end": index[:len(index)-20], "zeros": entries[0] + strings.Repeat("\x00", 300) + strings.Join(entries[1:], ""),
		"a changed digit": strings.Replace(index, `"max":17`, `"max":16`, 1), "binary": "\x00\x01\x02\xff\n",
	} {
		writeFile(t, dir, ownDir+"/2026-11-21.index", text)
		s := openLog(t, dir)
		if got := s.all(t); got != want {
			t.Fatalf("%s: answers %d bytes of %d; said %s", name, len(got), len(want), s.said)
		}
		f := AnyTime(Filter{})
		f.Since, f.Until = testkit.Noon.Add(100*time.Second).UnixNano(), testkit.Noon.Add(103*time.Second).UnixNano()
		if got := s.find(t, f); strings.Count(got, "\n") != 3 {
			t.Fatalf("%s: 3 seconds have %d lines", name, strings.Count(got, "\n"))
		}
		if !s.seen.has("b0") || !s.seen.has("b1499") {
			t.Fatalf("%s: forgot batches", name)
		}
		s.close(t)
		if got := readFile(t, dir, ownDir+"/2026-11-21.index"); got != index {
			t.Fatalf("%s: the index is not what it was: %.300q", name, got)
		}
	}
	// The index of another day, as long and with commits at the same places.
	other := openLog(t, t.TempDir())
	for n := range 1500 {
		other.add(t, fmt.Sprint("c", n), fmt.Sprintf(`{"time":"%s","n":%d,"x":"%s"}`+"\n", testkit.Noon.Add(-time.Duration(n)*time.Second).Format(time.RFC3339), n, long))
	}
	other.close(t)
	text := readFile(t, other.Dir, noonDay)
	if len(text) != len(day) {
		t.Fatalf("the other day has %d bytes, not %d", len(text), len(day))
	}
	writeFile(t, dir, noonDay, text)
	s = openLog(t, dir)
	f := AnyTime(Filter{})
	f.Since, f.Until = testkit.Noon.Add(-103*time.Second).UnixNano(), testkit.Noon.Add(-100*time.Second).UnixNano()
	if got := s.find(t, f); strings.Count(got, "\n") != 3 || !s.seen.has("c0") {
		t.Errorf("3 seconds of another day have %d lines", strings.Count(got, "\n"))
	}
}

// TestIndexOfWhatWasCutOffIsForgotten has the index know more than the day has.
func TestIndexOfWhatWasCutOffIsForgotten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 1, 1000)
	s.close(t)
	path := filepath.Join(dir, noonDay)
	text := readFile(t, dir, noonDay)
	at := strings.Index(text, `"n":500,`)
	check(t, os.Truncate(path, int64(at)))
	s = openLog(t, dir)
	f := AnyTime(Filter{})
	f.Since = testkit.Noon.Add(48 * time.Hour).UnixNano()
	late := strings.Repeat(fmt.Sprintf(`{"time":"%s","x":"%s"}`+"\n", testkit.Noon.Add(49*time.Hour).Format(time.RFC3339), strings.Repeat("y", 2000)), 500)
	s.add(t, "late", late)
	for range 2 {
		if got := s.find(t, f); got != late {
			t.Errorf("finds %d bytes of %d", len(got), len(late))
		}
		if got := strings.Count(s.all(t), `"day":0`); got != 500 {
			t.Errorf("%d lines of the first 500 are left", got)
		}
		s.close(t)
		s = openLog(t, dir)
	}
}
