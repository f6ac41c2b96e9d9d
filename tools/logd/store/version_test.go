package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

// later gives a day's first commit a version, with a checksum that is right.
func later(t *testing.T, dir string, version int) string {
	t.Helper()
	path := filepath.Join(dir, testkit.Noon.Format(dayLayout)+plainExt)
	text := readFile(t, dir, filepath.Base(path))
	first, rest, _ := strings.Cut(text, "\n")
	c, ok := parseCommit([]byte(first + "\n"))
	if !ok || c.Version != dayVersion || c.Lines != 0 {
		t.Fatalf("a day begins with %s", first)
	}
	c.Version = version
	text = string(c.seal(nil)) + rest
	check(t, os.WriteFile(path, []byte(text), 0o640))
	return text
}

// A log of a newer winnow is neither opened nor changed, and not taken for a damaged one.
func TestNewerDay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	s.add(t, "one", "{\"n\":1}\n")
	s.close(t)
	text := later(t, dir, dayVersion+1)
	names := files(t, dir, "*")
	_, err := tryOpen(dir)
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "2026-11-21.jsonl was written by a newer winnow: it is of version 2, and this one reads up to 1") {
		t.Errorf("opened: %v", err)
	}
	if _, _, faults, err := Verify(dir, t.Logf); !errors.Is(err, ErrNewer) || faults > 0 {
		t.Errorf("verified: %d faults, %v", faults, err)
	}
	if now := files(t, dir, "*"); strings.Join(now, " ") != strings.Join(names, " ") || readFile(t, dir, "2026-11-21.jsonl") != text {
		t.Errorf("it was changed: %v, before %v", now, names)
	}
}

// One that is compressed tells its version too; a version that is damage is none.
func TestVersionOfADay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := commit{Type: record.TypeCommit, Time: testkit.Noon, Batches: []string{}, Version: 7}
	good := first.seal(nil)
	for text, want := range map[string]int{
		string(good): 7,
		strings.Replace(string(good), `"version":7`, `"version":8`, 1): 1,
		"": 1, "{\"n\":1}\n": 1, string(good[:len(good)-1]): 1,
	} {
		path := filepath.Join(dir, "2026-11-21.jsonl")
		check(t, os.WriteFile(path, []byte(text), 0o640))
		if got, err := (&day{path: path}).version(); got != want || err != nil {
			t.Errorf("%q: version %d, %v; want %d", text, got, err, want)
		}
	}
	packed := filepath.Join(dir, "2026-11-21.jsonl.zst")
	encoder, err := zstd.NewWriter(nil)
	check(t, err)
	check(t, os.WriteFile(packed, encoder.EncodeAll(good, nil), 0o640))
	if got, err := (&day{path: packed, packed: true}).version(); got != 7 || err != nil {
		t.Errorf("compressed: version %d, %v", got, err)
	}
}
