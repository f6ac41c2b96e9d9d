package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A host whose lines go to the log of many has no logd of its own; it speaks with its own token, and what cannot be
// delivered waits.
func TestLogOfManyHosts(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_SPAN=500ms", "WINNOW_HOST=host1")
	const ours, theirs = "the-token-of-host1-alone", "the-token-of-host2-alone"
	tokens, log := t.TempDir(), t.TempDir()
	all := filepath.Join(t.TempDir(), "token")
	for path, text := range map[string]string{filepath.Join(tokens, "host1"): ours, filepath.Join(tokens, "host2"): theirs, all: "the-token-that-reads-all"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := "127.0.0.1:" + freePort(t)
	w.settings = append(w.settings, "WINNOW_LOG=http://"+address)
	serve := func() *exec.Cmd {
		cmd := exec.Command("../bin/logd", "--listen", address, "--dir", log, "--token-file", all, "--host-tokens", tokens)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		return cmd
	}
	has := func(text string) bool {
		files, _ := filepath.Glob(filepath.Join(log, "*.jsonl"))
		for _, file := range files {
			if lines, _ := os.ReadFile(file); strings.Contains(string(lines), text) {
				return true
			}
		}
		return false
	}

	logd := serve()
	if said := w.run(0, "up"); !strings.Contains(said, "up: done: lines go to http://"+address) {
		t.Errorf("up said\n%s", said)
	}
	if err := os.WriteFile(filepath.Join(w.state, "token"), []byte(ours), 0o600); err != nil {
		t.Fatal(err)
	}
	if left := w.containers(t.Context()); len(left) > 0 {
		t.Errorf("containers: %v", left)
	}
	w.run(0, "cycle", "--dry-run")
	if !has(`"host":"host1"`) {
		t.Error("no line of host1 in the log")
	}
	if said := w.run(1, "explain", "web1"); !strings.Contains(said, "the log is at http://"+address) {
		t.Errorf("explain said\n%s", said)
	}

	logd.Process.Kill()
	logd.Wait()
	w.run(0, "cycle", "--dry-run")
	if said := w.run(1, "status"); !strings.Contains(said, "http://"+address+" does not answer") || !strings.Contains(said, "1 batch in ") {
		t.Errorf("status said\n%s", said)
	}
	serve()
	w.run(0, "cycle", "--dry-run")
	if waiting, _ := filepath.Glob(filepath.Join(w.state, "spool", "*.ndjson")); len(waiting) > 0 {
		t.Errorf("in the spool: %v", waiting)
	}

	// With another host's token its lines are refused, and said so.
	if err := os.WriteFile(filepath.Join(w.state, "token"), []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if said := w.run(1, "cycle", "--dry-run"); !strings.Contains(said, `it is of the host "host1", and came with the token of host2`) {
		t.Errorf("cycle said\n%s", said)
	}
	w.run(0, "down")
	w.isDown()
}
