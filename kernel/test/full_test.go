package test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestFull runs the whole demo, with the module as its source, and then DKMS on a full Debian 12 with Docker, on cgroup v2.
// One machine serves both: it takes a minute to start.
func TestFull(t *testing.T) {
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
	t.Setenv("LIMIT", "1800")
	output, err := exec.Command(filepath.Join(vm, "full"), dir, "bash", "-c",
		"for part in demo dkms; do kernel/vm/$part && echo passed: $part; done").CombinedOutput()
	t.Logf("%v\n%s", err, output)
	for _, part := range []string{"demo", "dkms"} {
		t.Run(part, func(t *testing.T) {
			if !bytes.Contains(output, []byte("\npassed: "+part+"\n")) {
				t.Error("failed in the machine")
			}
		})
	}
}
