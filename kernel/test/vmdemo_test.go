package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDemo runs the whole demo on a full Debian 12 with Docker, on cgroup v2, with the module as its source.
func TestDemo(t *testing.T) {
	needs(t)
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("debootstrap is not installed; scripts/deps test installs it")
	}
	if os.Getuid() != 0 {
		t.Skip("making a Debian system needs root")
	}
	dir := t.TempDir()
	root := filepath.Join("..", "..")
	for _, part := range []string{"scripts", "images", "crontab"} {
		if err := exec.Command("cp", "-r", filepath.Join(root, part), dir).Run(); err != nil {
			t.Fatalf("copying %s: %v", part, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "bin"), "./tools/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	cmd = exec.Command(filepath.Join(scripts, "vm-full"), dir, "scripts/vm-demo")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the demo in the machine: %v\n%s", err, text)
	}
	if bytes.Count(text, []byte("vm-demo: source module")) < 3 {
		t.Errorf("not three cycles from the module:\n%s", text)
	}
	t.Logf("\n%s", text)
}
