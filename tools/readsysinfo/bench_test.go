package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/bench"
)

const manyContainers = 1000

// BenchmarkSnapshot takes a snapshot of 1,000 containers of a process each, against a C program that opens, reads and
// closes the same files.
func BenchmarkSnapshot(b *testing.B) {
	g := newGround(b)
	dir := b.TempDir()
	ours, peer := filepath.Join(dir, "readsysinfo"), filepath.Join(dir, "peer")
	build(b, exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", ours, "."), "CGO_ENABLED=0")
	build(b, exec.Command("gcc", "-O2", "-o", peer, "testdata/peer.c"))

	var files strings.Builder
	for i := range manyContainers {
		path := "/" + testID(i)
		cmd := sleeper("sleep")
		g.start(path, cmd)
		procs, cpu, others := g.files(path)
		process := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
		for _, file := range append(others, procs, process+"/stat", process+"/cmdline", cpu) {
			fmt.Fprintln(&files, file)
		}
	}
	state := filepath.Join(dir, "state")
	var peak float64
	snapshot := func() time.Duration {
		time.Sleep(2 * minInterval) // to the span as ten seconds are to the default
		out, err := os.Create(filepath.Join(dir, "out"))
		if err != nil {
			b.Fatal(err)
		}
		defer out.Close()
		cmd := exec.Command(ours, "--source=cgroup", "--state", state, "--span", minInterval.String())
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		usage := bench.Command(b, cmd)
		peak = max(peak, usage.PeakKiB)
		return usage.Wall
	}
	reads := func() time.Duration {
		cmd := exec.Command(peer)
		cmd.Stdin, cmd.Stderr = strings.NewReader(files.String()), os.Stderr
		return bench.Command(b, cmd).Wall
	}
	bench.Compare(b, "readsysinfo snapshot of 1000 containers", "a C program that opens, reads and closes the same files",
		15, snapshot, reads)
	bench.Bound(b, "readsysinfo peak memory at 1000 containers", peak, 32<<10, "KiB")

	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		b.Fatal(err)
	}
	if n := strings.Count(string(out), `"type":"container"`); n < manyContainers {
		b.Errorf("measured %d containers", n)
	}
}

func build(b *testing.B, cmd *exec.Cmd, env ...string) {
	b.Helper()
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}
