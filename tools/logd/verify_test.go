package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	l.mustPost(t, "a", `{"n":1}`)
	verify := func() (string, error) {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), []string{"--verify", dir}, nil, &stdout, &stderr)
		return stdout.String() + stderr.String(), err
	}
	if said, err := verify(); err != nil || !strings.Contains(said, "all is as it was committed: 2 commits") {
		t.Errorf("beside a logd: %v, %s", err, said)
	}
	l.stop()
	path := filepath.Join(dir, "2026-11-21.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`{"n":1}`), []byte(`{"n":2}`), 1), 0o640); err != nil {
		t.Fatal(err)
	}
	if said, err := verify(); err == nil || !strings.Contains(err.Error(), "1 faults in 2 commits") || !strings.Contains(said, "lines 2 to 3, bytes") {
		t.Errorf("of a changed day: %v, %s", err, said)
	}
}
