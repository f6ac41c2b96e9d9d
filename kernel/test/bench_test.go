package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkModule measures one read of the module in a virtual machine against the files of the same containers, and
// readsysinfo against cat.
func BenchmarkModule(b *testing.B) {
	needs(b)
	dir := b.TempDir()
	install(b, build(b, "6.1"), dir)
	run(b, exec.Command("gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", filepath.Join(dir, "bench"), "../bench/bench.c"))
	cmd := exec.Command(filepath.Join(vm, "small"), "6.1", dir, "sh", "-c", "insmod winnow.ko && ./bench 10 100 1000 5000")
	cmd.Env = append(os.Environ(), "MEMORY=4096")
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v\n%s", err, output)
	}
	counts := 0
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		var count int
		var module, files, kept, all, cat, start float64
		if n, _ := fmt.Sscan(lines.Text(), &count, &module, &files, &kept, &all, &cat, &start); n != 7 {
			continue
		}
		counts++
		name := fmt.Sprintf("module read of %d containers", count)
		report(b, name, module, files, "a C program that opens, reads and closes memory.current, memory.stat and cpu.stat")
		report(b, name+" from open files", module, kept, "a C program that keeps memory.current and cpu.stat open and preads them")
		report(b, fmt.Sprintf("readsysinfo --source module of %d containers", count), all, cat+start, "cat on the proc file, and readsysinfo's own start")
	}
	if counts != 4 {
		b.Fatalf("%d results of 4:\n%s", counts, output)
	}
}

// report prints a comparison of two medians in ns.
func report(b *testing.B, name string, ours, peer float64, against string) {
	b.Helper()
	compare(b, name, ours/1e6, peer/1e6, "ms", against)
}

// compare prints a comparison, as every benchmark of the tree does.
func compare(b *testing.B, name string, ours, peer float64, unit, against string) {
	b.Helper()
	ratio := 0.0
	if peer != 0 {
		ratio = ours / peer
	}
	line, err := json.Marshal(struct {
		Bench   string  `json:"bench"`
		Ours    float64 `json:"ours"`
		Peer    float64 `json:"peer"`
		Ratio   float64 `json:"ratio"`
		Unit    string  `json:"unit"`
		Against string  `json:"against"`
	}{name, ours, peer, ratio, unit, against})
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\n%s\n", line)
}

func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, text)
	}
}
