package scripts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A state directory that the first winnow with a log in containers left behind, of commit 5ee15a8: it was up when its logd
// was killed and the machine ended, with lines, a kill's among them, in the spool. The next up takes it over as it is.
func TestUpgradeOfAnOldState(t *testing.T) {
	w := newWorld(t, "WINNOW_RETAIN=9999d", "WINNOW_SPAN=500ms")
	if os.Geteuid() != 0 {
		t.Skip("needs root, for the owners of the files")
	}
	if err := os.MkdirAll(w.state, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xJf", "testdata/state-5ee15a8.tar.xz", "-C", w.state).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	saved, err := os.ReadFile(filepath.Join(w.state, "up"))
	if err != nil {
		t.Fatal(err)
	}
	saved = bytes.Replace(saved, []byte("WINNOW_NAME=winnow-old"), []byte("WINNOW_NAME="+w.name), 1)
	if err := os.WriteFile(filepath.Join(w.state, "up"), saved, 0o644); err != nil {
		t.Fatal(err)
	}
	var old []string
	for _, pattern := range []string{"log/*.jsonl", "spool/*.ndjson"} {
		files, _ := filepath.Glob(filepath.Join(w.state, pattern))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			old = append(old, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
		}
	}
	if len(old) != 20 {
		t.Fatalf("%d lines were left behind, not 20", len(old))
	}

	w.run(0, "up")
	if said := w.run(0, "settings"); !strings.Contains(strings.Join(strings.Fields(said), " "), "WINNOW_KEEP_LOW 1 saved by up") {
		t.Errorf("the settings are not those of before:\n%s", said)
	}
	w.run(0, "cycle", "--dry-run")
	if left, _ := filepath.Glob(filepath.Join(w.state, "spool", "*.ndjson")); len(left) > 0 {
		t.Errorf("in the spool: %v", left)
	}
	all, err := w.command("logcat").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range old {
		if n := bytes.Count(all, []byte(line+"\n")); n != 1 {
			t.Errorf("%d times in the log: %s", n, line)
		}
	}
	if version, err := os.ReadFile(filepath.Join(w.state, "version")); string(version) != "1\n" || err != nil {
		t.Errorf("it is now of version %q, %v", version, err)
	}
	w.run(0, "down")
	w.isDown()
}
