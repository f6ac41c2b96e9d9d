package test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGuestStress has four readers read in pieces of random sizes while processes fork and exit, cgroups come and go
// and containers start and die. It lasts STRESS seconds; then the module is loaded and unloaded LOADS times with its file
// held open.
func TestGuestStress(t *testing.T) {
	seconds, loads := setting(t, "STRESS", 5), setting(t, "LOADS", 20)
	box := newCgroup(t, "docker/"+id(0))
	box.start(t, "/bin/sleep", "sleep", "100000")
	box.start(t, "/bin/sh", "sh", "-c", "while :; do sleep 1000; done", strings.Repeat("x", 70_000))
	before := meminfo(t, "Slab:") + meminfo(t, "VmallocUsed:")
	load(t, "")
	stop := churnAll(t)
	reads := readAll(t, time.Duration(seconds)*time.Second)
	stop()
	remove(t)
	t.Logf("%d documents in %d s, all valid", reads, seconds)
	if reads < 5 { // how many there are is up to the host's speed, with sanitizers above all
		t.Errorf("only %d documents", reads)
	}
	cycle(t, loads)
	os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
	time.Sleep(time.Second)
	after := meminfo(t, "Slab:") + meminfo(t, "VmallocUsed:")
	t.Logf("kernel memory %d kB before, %d kB after", before, after)
	// What the restless processes leave in the kernel's own caches varies; a leak of each document would not fit.
	// KASAN keeps what is freed for a while; there kmemleak says what leaks.
	if after > before+uint64(reads)+2000 && !hasKmemleak(t) {
		t.Errorf("kernel memory grew from %d to %d kB", before, after)
	}
	kernelReports(t)
	leaks(t)
}

// TestGuestKilled: readers that are killed at work leave nothing behind that holds the module.
func TestGuestKilled(t *testing.T) {
	load(t, "")
	for n := range 10 {
		newCgroup(t, "docker/"+id(n)).crowd(t, 10, hostile)
	}
	unfinished := 0
	for range 100 {
		cmd := exec.Command("/bin/cat", procFile)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		cmd.Process.Kill()
		if cmd.Wait() != nil {
			unfinished++
		}
	}
	t.Logf("%d readers were not done", unfinished)
	if unfinished == 0 {
		t.Error("none was killed before it was done")
	}
	if c := read(t).find(t, id(9)); c.Count != 11 {
		t.Errorf("%d processes of 11", c.Count)
	}
	remove(t)
	kernelReports(t)
}

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		return int(number(t, text))
	}
	return otherwise
}

// churnAll makes the machine restless until it is told to stop.
func churnAll(t *testing.T) (stop func()) {
	t.Helper()
	const over = "/tmp/stress-over"
	os.Remove(over)
	scripts := []string{
		// Processes that fork and exit, inside a container.
		`while [ ! -e %[2]s ]; do (:) & (sleep 0 & :); sh -c 'exit 3'; done; wait`,
		// Processes that change their names and arguments by executing others.
		`while [ ! -e %[2]s ]; do (exec -a "x$RANDOM" sleep 0); sh -c 'sleep 0; :' a "$RANDOM" b & done; wait`,
	}
	var pending []string
	run := func(box cgroup, n int, script string) {
		done := fmt.Sprintf("/tmp/stress-done-%d", n)
		os.Remove(done)
		pending = append(pending, done)
		box.shell(t, fmt.Sprintf(script, box.path(""), over)+"; : >"+done)
	}
	for n, script := range scripts {
		run(newCgroup(t, "docker/"+id(100+n)), n, script)
	}
	// Containers that start and die, with child cgroups of their own.
	for n := range 2 {
		script := fmt.Sprintf(`cd %%[1]s/docker; while [ ! -e %%[2]s ]; do c=%s; mkdir $c; mkdir $c/a
sh -c "echo \$\$ >$c/cgroup.procs; sleep 0 & sleep 0"; sh -c "echo \$\$ >$c/a/cgroup.procs; :"
while ! rmdir $c/a 2>/dev/null; do sleep 0; done; while ! rmdir $c 2>/dev/null; do sleep 0; done; done`, id(200+n))
		run("", 10+n, script)
	}
	return func() {
		os.WriteFile(over, nil, 0o644)
		for _, done := range pending {
			eventually(t, done, func() bool { _, err := os.Stat(done); return err == nil })
		}
	}
}

// readAll reads documents with four readers and says how many.
func readAll(t *testing.T, span time.Duration) int {
	t.Helper()
	var group sync.WaitGroup
	var reads atomic.Int64
	end := time.Now().Add(span)
	for range 4 {
		group.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				text, err := readPieces(procFile)
				if err != nil {
					t.Errorf("reading: %v", err)
					return
				}
				checkDocument(t, text)
				reads.Add(1)
			}
		})
	}
	group.Wait()
	return int(reads.Load())
}

// readPieces reads a file in pieces of 1 to 8,192 bytes.
func readPieces(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var text []byte
	for {
		piece := make([]byte, 1+rand.IntN(8192))
		n, err := file.Read(piece)
		text = append(text, piece[:n]...)
		if errors.Is(err, io.EOF) {
			return text, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// checkDocument checks that a document is whole, and that its sums are those of its parts.
func checkDocument(t *testing.T, text []byte) {
	doc, err := decode(text)
	if err != nil {
		t.Error(err)
		return
	}
	if _, ok := doc.lookup(id(0)); !ok {
		t.Error("the container that stays is missing")
	}
	for _, c := range doc.Containers {
		rss, vsz := c.sums()
		if c.Count == 0 || c.Count != len(c.Processes) || rss != c.RSSKB || vsz != c.VSZKB {
			t.Errorf("%d processes of %d, rss %d of %d, vsz %d of %d", len(c.Processes), c.Count, rss, c.RSSKB, vsz, c.VSZKB)
		}
	}
}

// cycle loads and unloads the module with its file held open and being read.
func cycle(t *testing.T, times int) {
	t.Helper()
	for range times {
		if err := insert(""); err != nil {
			t.Fatal(err)
		}
		held, err := os.Open(procFile)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() {
			for {
				text, err := readPieces(procFile)
				if err != nil {
					return // the file has gone
				}
				checkDocument(t, text)
			}
		})
		remove(t)
		group.Wait()
		if n, err := held.Read(make([]byte, 10)); !errors.Is(err, unix.EIO) {
			t.Errorf("reading what is gone: %d, %v", n, err)
		}
		held.Close()
	}
	t.Logf("loaded and unloaded %d times", times)
}

// kernelReports fails when the kernel's log has a report of a sanitizer, a lock or a fault.
func kernelReports(t *testing.T) {
	t.Helper()
	log := make([]byte, 1<<20)
	n, err := unix.Klogctl(3 /* SYSLOG_ACTION_READ_ALL */, log)
	if err != nil {
		t.Fatal(err)
	}
	for _, sign := range []string{"KASAN", "BUG:", "WARNING:", "Oops", "possible recursive", "suspicious RCU", "stall", "lockdep", "UBSAN", "kmemleak:"} {
		for line := range strings.Lines(string(log[:n])) {
			if strings.Contains(line, sign) && !harmless(line) {
				t.Errorf("the kernel says: %s", strings.TrimSpace(line))
			}
		}
	}
}

// harmless is what a kernel with sanitizers says of itself while it starts.
func harmless(line string) bool {
	for _, part := range []string{"KernelAddressSanitizer initialized", "kmemleak: Kernel memory leak detector", "kmemleak: Automatic",
		"Lock dependency validator", "lockdep_assert", "RCU lockdep checking", "RCU CPU stall", "rcu: \tRCU debug"} {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

const kmemleak = "/sys/kernel/debug/kmemleak"

func hasKmemleak(t testing.TB) bool {
	t.Helper()
	if err := unix.Mount("debugfs", "/sys/kernel/debug", "debugfs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		t.Fatal(err)
	}
	_, err := os.Stat(kmemleak)
	return err == nil
}

// leaks asks kmemleak, where the kernel has it.
func leaks(t *testing.T) {
	t.Helper()
	if !hasKmemleak(t) {
		t.Log("this kernel has no kmemleak")
		return
	}
	for range 2 { // an object counts as leaked when two scans don't find it
		if err := os.WriteFile(kmemleak, []byte("scan"), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
	}
	text, err := os.ReadFile(kmemleak)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("kmemleak: %d bytes of reports", len(text))
	if strings.Contains(string(text), "winnow") {
		t.Errorf("leaks:\n%s", text)
	}
}
