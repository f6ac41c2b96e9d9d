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
	if len(os.Args) > 2 && os.Args[1] == jobArg {
		runJob(os.Args[2], os.Args[3:])
	}
	if os.Getenv("WINNOW_GUEST") == "" {
		flag.Parse()
		flag.Set("test.skip", "^Test(V1|Wide)?Guest")
	}
	os.Exit(m.Run())
}

// TestVM runs the module's tests on each of the kernels in WINNOW_KERNELS, on Debian 12's where it says none. Where
// WINNOW_RUN is set it runs only those whose names go on so after TestGuest, TestV1Guest or TestWideGuest.
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
			pick := "(" + os.Getenv("WINNOW_RUN") + ")"
			boot(t, kernel, dir, "^TestGuest"+pick)
			boot(t, kernel, dir, "^TestV1Guest"+pick, "CGROUP=1")
			// A machine that has two CPUs but could get 64, each of which has its own part of every cgroup's figures.
			boot(t, kernel, dir, "^TestWideGuest"+pick, "APPEND=possible_cpus=64", "MEMORY=3072")
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

// install puts the module, this test program and readsysinfo into the directory that a machine gets.
func install(t testing.TB, path, dir string) {
	t.Helper()
	module, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, moduleFile), module, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{
		exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", filepath.Join(dir, "guest"), "."),
		exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "readsysinfo"), "../../tools/readsysinfo"),
	} {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, text)
		}
	}
}

var result = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// boot runs the tests that match in a machine, and reports each as a subtest. The environment sizes the machine.
func boot(t *testing.T, kernel, dir, match string, env ...string) {
	t.Helper()
	// What else is tested at the same time must not wait for an emulator.
	cmd := exec.Command(filepath.Join(vm, "small"), kernel, dir,
		"env", "WINNOW_GUEST=1", "STRESS="+os.Getenv("STRESS"), "LOADS="+os.Getenv("LOADS"), "./guest", "-test.v", "-test.timeout=90m", "-test.run="+match)
	cmd.Env = append(os.Environ(), env...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	output, err := watched(cmd)
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
	none := len(results) == 0 && os.Getenv("WINNOW_RUN") == ""
	if err != nil || none || t.Failed() {
		t.Errorf("%d tests ended, %v\n%s%s", len(results), err, clip(output), &messages)
		return
	}
	parseOutside(t, output)
}

// watched runs a machine and returns what it printed, which is shown meanwhile to who asked for it with -v: some take
// half an hour.
func watched(cmd *exec.Cmd) (output []byte, err error) {
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadBytes('\n')
		output = append(output, line...)
		if testing.Verbose() {
			fmt.Fprint(os.Stderr, "vm: ", clip(line))
		}
		if err != nil {
			return output, cmd.Wait()
		}
	}
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
