package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestLockMemory locks that of a process of its own, as one that may and as one
// that may not.
func TestLockMemory(t *testing.T) {
	if os.Getenv("WINNOW_TEST_LOCK") != "" {
		sift := New("sift", "", "", os.Stderr)
		sift.LockMemoryFlag()
		if err := sift.Parse([]string{"--lock-memory"}, os.Stdout, 0); err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.Write(status)
		return
	}
	locks := func(through ...string) (locked bool, said string) {
		t.Helper()
		cmd := exec.Command(through[0], append(through[1:], os.Args[0], "-test.run=^TestLockMemory$")...)
		cmd.Env = append(os.Environ(), "WINNOW_TEST_LOCK=1")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		status, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, stderr.String())
		}
		return !strings.Contains(string(status), "VmLck:\t       0 kB"), stderr.String()
	}
	if locked, said := locks("env"); locked != mayLock() || locked != (said == "") {
		t.Errorf("locked: %t, said %q", locked, said)
	}
	if os.Getuid() != 0 {
		t.Skip("giving up rights needs root")
	}
	if locked, said := locks("setpriv", "--bounding-set=-ipc_lock", "prlimit", "--memlock=65536"); locked ||
		said != "sift: memory is not locked: RLIMIT_MEMLOCK bounds it, and CAP_IPC_LOCK is missing\n" {
		t.Errorf("without the right, locked: %t, said %q", locked, said)
	}
}
