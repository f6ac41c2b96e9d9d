package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDemo runs the whole demo, with the module as its source, on a full Debian 12 with Docker, on cgroup v2. It takes
// minutes in an emulator beside other tests, so it goes with those of all kernels.
func TestDemo(t *testing.T) {
	if os.Getenv("WINNOW_KERNELS") == "" {
		t.Skip("boots a full machine, which takes minutes: make test-kernels")
	}
	full(t, []string{"kernel/vm/demo"}, "LIMIT=1800")
}

// TestBomb has cycles end who took the memory there, and then the loop a bomb; it goes with TestDemo.
func TestBomb(t *testing.T) {
	if os.Getenv("WINNOW_KERNELS") == "" {
		t.Skip("boots a full machine, which takes minutes: make test-kernels")
	}
	onlyTheBomb(t, full(t, []string{"bash", "-c", "kernel/vm/guard && kernel/vm/bomb winnow none 0 1"}, "LIMIT=1800"), 1)
}

// TestEngines has the agent govern there, put up by compose.yaml, and containers of root's Podman and of a user's judged
// and killed through their sockets. That takes minutes in an emulator, so it goes with the package's test.
func TestEngines(t *testing.T) {
	if os.Getenv("WINNOW_PACKAGE") == "" {
		t.Skip("boots a full machine, which takes minutes: make test-package")
	}
	full(t, []string{"bash", "-c", "kernel/vm/agent && kernel/vm/podman"}, "LIMIT=1800")
}

// TestDKMS has DKMS build, install and remove the module there. That takes minutes in an emulator, so it goes with the
// tests of all kernels.
func TestDKMS(t *testing.T) {
	if os.Getenv("WINNOW_KERNELS") == "" {
		t.Skip("builds the module in an emulator, which takes minutes: make test-kernels")
	}
	full(t, []string{"kernel/vm/dkms"}, "DKMS=1", "LIMIT=1800")
}

// TestPackage has the Debian package installed there, the machine started anew, the package upgraded while it governs,
// removed and purged.
func TestPackage(t *testing.T) {
	if os.Getenv("WINNOW_PACKAGE") == "" {
		t.Skip("boots two full machines, which takes minutes: make test-package")
	}
	keep := "KEEP=" + filepath.Join(t.TempDir(), "disk")
	full(t, []string{"kernel/vm/package", "install"}, keep, "LIMIT=1800")
	if t.Failed() {
		return
	}
	full(t, []string{"kernel/vm/package", "upgrade"}, keep, "LIMIT=1800")
}

// full runs a command of the tree in the full machine, and returns what that printed.
func full(t testing.TB, command []string, env ...string) []byte {
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
	policies := exec.Command("cp", "-r", "--parents", "tools/classify/policies", dir)
	policies.Dir = "../.."
	run(t, policies)
	if os.Getenv("WINNOW_PACKAGE") != "" {
		debs, err := filepath.Glob("../../artifacts/winnow_*.deb")
		if err != nil || len(debs) < 2 {
			t.Fatalf("no two packages in artifacts: make test-package builds them; %v", err)
		}
		run(t, exec.Command("cp", append(debs, dir)...))
	}
	tools := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/bin/", "../../tools/...", "../bench/watch")
	tools.Env = append(os.Environ(), "CGO_ENABLED=0")
	run(t, tools)
	machine := exec.Command(filepath.Join(vm, "full"), append([]string{dir}, command...)...)
	machine.Env = append(os.Environ(), env...)
	output, err := machine.CombinedOutput()
	if err != nil {
		t.Errorf("%q in the machine: %v", command, err)
	}
	t.Logf("\n%s", output)
	return output
}
