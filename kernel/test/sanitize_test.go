package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSanitize runs the tests on a kernel with KASAN, lockdep, PROVE_RCU, DEBUG_ATOMIC_SLEEP and kmemleak; last those
// that read the kernel's log.
func TestSanitize(t *testing.T) {
	if os.Getenv("WINNOW_SANITIZE") == "" {
		t.Skip("builds a kernel, which takes some ten minutes: make test-sanitize")
	}
	needs(t)
	cmd := exec.Command(filepath.Join(vm, "sanitize"))
	cmd.Stderr = os.Stderr
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("building the kernel: %v", err)
	}
	kernel := strings.TrimSpace(string(path))
	dir := t.TempDir()
	install(t, filepath.Join(kernel, moduleFile), dir)
	t.Setenv("MEMORY", "4096")
	t.Setenv("LIMIT", "5400")
	boot(t, kernel, dir, "^TestGuest(Host|Reads|Bytes|LongArguments|MemoryLimit|Nobody|Parameters|ParametersRefused|Held|NeverBack|Exit|"+
		"HostileArguments|UntouchedArguments|Execs|Title|Crowd|Starved|StarvedKilled|Stamps|Limits|Together|Names|Twins|Inside|Killed|Stress)$")
}
