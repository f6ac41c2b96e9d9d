package scripts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const samePolicy = `version = 1

[[rule]]
name = "busy"
cpu = "> 2%"
for = "300ms"
notice = "500ms"
forgive = "200ms"

[[rule]]
name = "share"
match = ["label=role=share"]
keep = 1
order = "newest"
`

// One long pipe and a pipe for each snapshot come to the same decisions over the
// same samples, to the byte.
func TestLongPipeDecidesAsCycles(t *testing.T) {
	w := newWorld(t)
	w.load("cpu")
	for range 3 {
		w.load("idle", "role=share")
	}
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(policy, []byte(samePolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	out := w.bash(`timeout --signal=TERM 6 ../bin/readsysinfo --source cgroup --every 200ms --span 200ms --state "$1/rates"`, nil, dir)
	var snapshots []string
	for _, one := range strings.SplitAfter(string(out), "\n") {
		if strings.HasPrefix(one, `{"type":"host"`) {
			snapshots = append(snapshots, "")
		}
		if len(snapshots) > 0 {
			snapshots[len(snapshots)-1] += one
		}
	}
	const decide = `../bin/namectr | ../bin/classify --policy "$1" --span 100ms --state "$2"`
	long := w.bash(decide, []byte(strings.Join(snapshots, "")), policy, filepath.Join(dir, "long"))
	var cycles []byte
	for _, one := range snapshots {
		cycles = append(cycles, w.bash(decide, []byte(one), policy, filepath.Join(dir, "cycles"))...)
	}
	if !bytes.Equal(long, cycles) {
		t.Errorf("%d bytes of a long pipe, %d of cycles; they begin to differ at %d", len(long), len(cycles), differ(long, cycles))
	}
	for _, want := range []string{`"verdict":"warn"`, `"verdict":"kill"`, `"rule":"busy"`, `"rule":"share"`} {
		if !bytes.Contains(long, []byte(want)) {
			t.Errorf("%d snapshots, and there is no %s", len(snapshots), want)
		}
	}
}

// bash runs a pipe, whose status may be that of one that was told to end.
func (w *world) bash(pipe string, stdin []byte, args ...string) []byte {
	w.t.Helper()
	cmd := exec.Command("bash", append([]string{"-c", "set -o pipefail; " + pipe, "bash"}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), os.Stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 124 {
		w.t.Fatalf("%s: %v", pipe, err)
	}
	return out
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
