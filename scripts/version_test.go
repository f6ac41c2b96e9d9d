package scripts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a newer winnow keeps is refused by every script that would touch it, and left as it is.
func TestNewerState(t *testing.T) {
	for _, script := range []string{"up", "down", "run", "loop", "cycle", "spawn", "status", "settings", "images"} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			if err := os.WriteFile(filepath.Join(state, "version"), []byte("2\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("./" + script)
			cmd.Env = append(os.Environ(), "WINNOW_STATE="+state, "WINNOW_NAME=winnow-test-newer")
			var said bytes.Buffer
			cmd.Stderr = &said
			cmd.Run()
			want := script + ": " + state + " is of version 2, which a newer winnow wrote: this one knows version 1, and leaves it as it is\n"
			if cmd.ProcessState.ExitCode() != 2 || said.String() != want {
				t.Errorf("exit status %d: %s", cmd.ProcessState.ExitCode(), said.String())
			}
			if left, err := os.ReadDir(state); len(left) != 1 || err != nil {
				t.Errorf("the directory has now %v, %v", left, err)
			}
		})
	}
}

// So are settings that are newer than this winnow.
func TestVersionOfSettings(t *testing.T) {
	root := t.TempDir()
	shared, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(shared, "settings") {
		if text, err := os.ReadFile(name); err != nil || os.MkdirAll(filepath.Join(root, "scripts"), 0o755) != nil ||
			os.WriteFile(filepath.Join(root, "scripts", name), text, 0o755) != nil {
			t.Fatal(name, err)
		}
	}
	if err := os.Symlink(absolute(t, "../bin"), filepath.Join(root, "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"VERSION=1\nWINNOW_GRACE=7s\n": "7s", "WINNOW_GRACE=7s\n": "7s", "WINNOW_GRACE=7s\nVERSION=2\n": "is of version 2", "VERSION=x\n": "is of version x",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc/settings"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(root, "scripts/settings"))
		cmd.Env = append(os.Environ(), "WINNOW_STATE="+t.TempDir())
		out, _ := cmd.CombinedOutput()
		if refused := cmd.ProcessState.ExitCode() == 2; refused != strings.HasPrefix(want, "is") || !strings.Contains(string(out), want) {
			t.Errorf("%q: exit status %d:\n%s", text, cmd.ProcessState.ExitCode(), out)
		}
	}
}
