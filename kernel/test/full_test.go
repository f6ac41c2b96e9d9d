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
	if text := full(t, "demo"); bytes.Count(text, []byte("source module, ")) < 3 {
		t.Errorf("not three cycles from the module:\n%s", text)
	}
}

// TestDKMS has DKMS build, install and remove the module there.
func TestDKMS(t *testing.T) { full(t, "dkms") }

// full runs one of the scripts in vm in a full Debian 12, with winnow as make build leaves it.
func full(t *testing.T, script string) (output []byte) {
	t.Helper()
	needs(t)
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("debootstrap is not installed; scripts/deps test installs it")
	}
	if os.Getuid() != 0 {
		t.Skip("making a Debian system needs root")
	}
	dir := t.TempDir()
	for _, part := range []string{"crontab", "images", "kernel", "scripts"} {
		run(t, exec.Command("cp", "-r", filepath.Join("../..", part), dir))
	}
	tools := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/bin/", "../../tools/...")
	tools.Env = append(os.Environ(), "CGO_ENABLED=0")
	run(t, tools)
	output, err := exec.Command(filepath.Join(vm, "full"), dir, "kernel/vm/"+script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s in the machine: %v\n%s", script, err, output)
	}
	t.Logf("\n%s", output)
	return output
}
