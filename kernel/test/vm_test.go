// Package test holds the tests of the kernel module. They run inside virtual machines, which TestVM boots with this very
// test program in them: a name that begins with TestGuest is a test that runs there.
package test

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	vm = "../vm" // the scripts of the virtual machines
	// bytesMark begins the line on which TestGuestBytes hands its document out.
	bytesMark = "document: "
)

// TestMain leaves out what runs in the machines while it is the host that is tested: they are no tests that were skipped.
func TestMain(m *testing.M) {
	if os.Getenv("WINNOW_GUEST") == "" {
		flag.Parse()
		flag.Set("test.skip", "^Test(V1)?Guest")
	}
	os.Exit(m.Run())
}

// TestVM runs the module's tests on each of the kernels in WINNOW_KERNELS, on Debian 12's where it says none.
func TestVM(t *testing.T) {
	needs(t)
	kernels := strings.Fields(os.Getenv("WINNOW_KERNELS"))
	if len(kernels) == 0 {
		kernels = []string{"6.1"}
	}
	for _, kernel := range kernels {
		t.Run(kernel, func(t *testing.T) {
			dir := t.TempDir()
			module := build(t, kernel)
			haveVersion(t, module)
			install(t, module, dir)
			boot(t, kernel, dir, "2", "^TestGuest")
			boot(t, kernel, dir, "1", "^TestV1Guest")
		})
	}
}

// needs skips where a machine can't be built or run.
func needs(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make test: needs a virtual machine")
	}
	if os.Getenv("WINNOW_GUEST") != "" {
		t.Skip("runs outside of the virtual machine")
	}
	for _, program := range []string{"qemu-system-x86_64", "cpio", "apt-get", "dpkg-deb", "unshare", "flock"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed; scripts/deps test installs it", program)
		}
	}
}

// build builds the module for a kernel.
func build(t testing.TB, kernel string) (path string) {
	t.Helper()
	var messages bytes.Buffer
	cmd := exec.Command(filepath.Join(vm, "build"), kernel)
	cmd.Stderr = &messages
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("building for %s: %v\n%s", kernel, err, &messages)
	}
	return strings.TrimSpace(string(output))
}

// haveVersion checks that the module tells the version that DKMS knows.
func haveVersion(t *testing.T, path string) {
	t.Helper()
	conf, err := os.ReadFile("../dkms.conf")
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Section(".modinfo").Data()
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	version := regexp.MustCompile(`(?m)^PACKAGE_VERSION="(.+)"$`).FindSubmatch(conf)
	if version == nil || !bytes.Contains(append([]byte{0}, info...), []byte("\x00version="+string(version[1])+"\x00")) {
		t.Errorf("dkms.conf has %q, the module %q", version, info)
	}
}

// install puts the module and this test program into the directory that a machine gets.
func install(t testing.TB, path, dir string) {
	t.Helper()
	module, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, moduleFile), module, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", filepath.Join(dir, "guest"), ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, text)
	}
}

var result = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// boot runs the tests that match in a machine, and reports each as a subtest.
func boot(t *testing.T, kernel, dir, cgroup, match string) {
	t.Helper()
	// What else is tested at the same time must not wait for an emulator.
	cmd := exec.Command(filepath.Join(vm, "small"), kernel, dir,
		"env", "WINNOW_GUEST=1", "STRESS="+os.Getenv("STRESS"), "LOADS="+os.Getenv("LOADS"), "./guest", "-test.v", "-test.timeout=90m", "-test.run="+match)
	cmd.Env = append(os.Environ(), "CGROUP="+cgroup)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	output, err := cmd.Output()
	results := result.FindAllSubmatch(output, -1)
	for _, r := range results {
		t.Run(string(r[2]), func(t *testing.T) {
			switch string(r[1]) {
			case "FAIL":
				t.Error("failed in the machine")
			case "SKIP":
				// Debian's kernels have no memory controller for v1 since 6.12.
				if kernel == "5.10" || kernel == "6.1" {
					t.Error("skipped in the machine")
				}
				t.Skip("skipped in the machine")
			}
		})
	}
	if err != nil || len(results) == 0 || t.Failed() {
		t.Fatalf("%d tests ended, %v\n%s%s", len(results), err, clip(output), &messages)
	}
	t.Log("\n" + clip(output))
	parseOutside(t, output)
}

// clip leaves out the long lines.
func clip(output []byte) string {
	var text strings.Builder
	for line := range strings.Lines(string(output)) {
		if len(line) > 500 {
			line = fmt.Sprintf("%s… (%d bytes)\n", strings.ToValidUTF8(line[:500], ""), len(line))
		}
		text.WriteString(line)
	}
	return text.String()
}

// parseOutside gives the document of TestGuestBytes to jq, where there is one.
func parseOutside(t *testing.T, output []byte) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		encoded, ok := strings.CutPrefix(lines.Text(), bytesMark)
		if !ok {
			continue
		}
		text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("jq", "-c", "[.containers[].processes[].cmdline]")
		cmd.Stdin = bytes.NewReader(text)
		got, err := cmd.Output()
		if err != nil {
			t.Fatalf("jq: %v on %q", err, text)
		}
		var lines []string
		if err := json.Unmarshal(got, &lines); err != nil || len(lines) < 6 {
			t.Errorf("jq read %d command lines: %v", len(lines), err)
		}
		t.Logf("jq read %d command lines of every byte", len(lines))
	}
}
