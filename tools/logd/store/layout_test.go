package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"winnow/tools/internal/full"
	"winnow/tools/testkit"
)

// TestAStrangersReader reads the files with what the head of the package says:
// a script of Python, and jq. They print what a query answers.
func TestAStrangersReader(t *testing.T) {
	t.Parallel()
	full.Needs(t, "python3, jq and zstdcat")
	dir := t.TempDir()
	s := manyDays(t, dir, 2, 200)
	want := s.all(t)
	s.close(t)
	s = openLog(t, dir, func(u *setup) { u.Compress = true; u.clock.Pass(2 * day1) })
	testkit.Eventually(t, "two days are compressed", func() bool { return len(files(t, dir, "*"+packedExt)) == 2 && len(files(t, dir, "*"+plainExt)) == 1 })
	s.add(t, "", "{\"one\": \"more\"}\n")
	want += "{\"one\": \"more\"}\n"
	for name, reader := range map[string]string{"python": "python3 testdata/read.py", "jq": `grep -v '^{"type":"commit",' | jq -c .`} {
		out, err := exec.Command("bash", "-c", fmt.Sprintf(`set -o pipefail; for f in %s/*; do if [[ $f = *.zst ]]; then zstdcat "$f"; else cat "$f"; fi; done | %s`, dir, reader)).Output()
		if name == "jq" { // writes numbers and spaces its own way
			want := strings.ReplaceAll(want, `{"one": "more"}`, `{"one":"more"}`)
			if err != nil || string(out) != want {
				t.Errorf("%s: %v, %d bytes, want %d", name, err, len(out), len(want))
			}
			continue
		}
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, len(out), len(want))
		}
	}
	// A damaged group is left out by both.
	s.close(t)
	path := filepath.Join(dir, "2026-11-23.jsonl")
	text := strings.Replace(readFile(t, dir, "2026-11-23.jsonl"), `"last":1`, `"last":2`, 1)
	check(t, os.WriteFile(path, []byte(text), 0o640))
	cmd := exec.Command("python3", "testdata/read.py")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil || string(out) != "{\"one\": \"more\"}\n" {
		t.Errorf("of a damaged day python prints %q, %v", out, err)
	}
}

// TestTheLayoutIsToldInFewLines holds what the head of the package promises.
func TestTheLayoutIsToldInFewLines(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("store.go")
	check(t, err)
	head, _, _ := strings.Cut(string(text), "package store")
	if n := strings.Count(head, "\n"); n > 40 {
		t.Errorf("the head has %d lines", n)
	}
}

func TestFilesAreForTheGroupAlone(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	writeFile(t, dir, "2026-11-20.jsonl", "{}\n")
	check(t, os.Chmod(filepath.Join(dir, "2026-11-20.jsonl"), 0o644))
	for _, mask := range []int{0, 0o022, 0o077} {
		syscall.Umask(mask)
		sub := filepath.Join(dir, fmt.Sprintf("%o", mask))
		check(t, os.Mkdir(sub, 0o750))
		writeFile(t, sub, "2026-11-20.jsonl", "{}\n")
		check(t, os.Chmod(filepath.Join(sub, "2026-11-20.jsonl"), 0o644))
		s := manyDays(t, sub, 2, 3, func(u *setup) { u.Compress = mask != 0 })
		testkit.Eventually(t, "the days are compressed", func() bool { return mask == 0 || len(files(t, sub, "*.zst")) == 3 })
		check(t, os.Remove(filepath.Join(sub, "2026-11-23.jsonl")))
		s.add(t, "", "{}\n") // makes a copy of what it had
		s.close(t)
		err := filepath.Walk(sub, func(path string, info os.FileInfo, err error) error {
			want := os.FileMode(0o640)
			if info.IsDir() {
				want = 0o750
			}
			if path != sub && info.Mode().Perm() != want {
				t.Errorf("umask %o: %s is %o", mask, path, info.Mode().Perm())
			}
			return err
		})
		check(t, err)
	}
}
