package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// descendants makes a container with so many cgroups below it, some of which have used CPU and memory. They are not
// removed: it takes long, and the machine is switched off after its tests.
func descendants(t *testing.T, n, count int, controllers string) cgroup {
	t.Helper()
	box := cgroup("docker/" + id(n))
	if err := os.MkdirAll(box.path(""), 0o755); err != nil {
		t.Fatal(err)
	}
	cgroup("docker").write(t, "cgroup.subtree_control", "+memory +cpu +pids")
	if controllers != "" {
		box.write(t, "cgroup.subtree_control", controllers)
	}
	for i := range count {
		if err := os.Mkdir(box.path(fmt.Sprintf("c%d", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	users := []cgroup{box}
	if count > 0 {
		users = []cgroup{box + "/c0", box + cgroup(fmt.Sprintf("/c%d", count/2)), box + cgroup(fmt.Sprintf("/c%d", count-1))}
	}
	for i, user := range users {
		spent := fmt.Sprintf("%s/spent%d.%d", t.TempDir(), n, i)
		user.shell(t, fmt.Sprintf("n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done; : >%s; exec sleep 100000", spent))
		eventually(t, "spent", func() bool { _, err := os.Stat(spent); return err == nil })
	}
	return box
}

// TestWideGuestDescendants: however many cgroups a container makes, and however many CPUs each is counted for, opening
// the file is as quick and lets others run.
func TestWideGuestDescendants(t *testing.T) {
	possible, _ := os.ReadFile("/sys/devices/system/cpu/possible")
	t.Logf("possible CPUs: %s", possible)
	// Since 6.9 only those are possible that the machine says it could get, and the emulator's says none.
	if strings.TrimSpace(string(possible)) != "0-63" && !since(6, 9) {
		t.Error("not 64")
	}
	load(t, "")
	box := descendants(t, 0, 10_000, "")
	ordinary(t, 1, 5)
	doc := read(t)
	complete(t, doc, 1, 5)
	c := doc.find(t, id(0))
	if c.CPUNS != nil || c.Count != 3 {
		t.Errorf("%s ns of CPU, which take too long to add up, and %d processes of 3", orNull(c.CPUNS), c.Count)
	}
	// Without the controller in those below, its memory is in one place.
	if used := number(t, box.read(t, "memory.current")) / 1024; c.MemoryKB != nil && *c.MemoryKB > used+chargeBatchKB() {
		t.Errorf("%d kB of memory of %d", *c.MemoryKB, used)
	}
	// Both on one CPU.
	if err := pin(); err != nil {
		t.Fatal(err)
	}
	within(t, "opening the file", 100*time.Millisecond, 30, func() time.Duration { return opening(t) })
	file := t.TempDir() + "/late"
	late, err := shared(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := cgroup("").job(t, "sleeper", file)
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	within(t, "waking a SCHED_FIFO thread", 20*time.Millisecond, 30, func() time.Duration {
		late.Store(0)
		opening(t)
		time.Sleep(3 * time.Millisecond)
		return time.Duration(late.Load())
	})
}

// TestWideGuestSums: a container of up to 1,000 cgroups has figures that are added up, one of more has null.
func TestWideGuestSums(t *testing.T) {
	load(t, "")
	over := descendants(t, 20, 1001, "+memory")
	still := []cgroup{descendants(t, 21, 0, ""), descendants(t, 22, 900, ""), descendants(t, 23, 1000, "+memory")}
	for _, box := range still {
		box.freeze(t)
	}
	doc := read(t)
	for _, box := range still {
		c := doc.find(t, filepath.Base(string(box)))
		if c.CPUNS == nil || c.MemoryKB == nil || *c.CPUNS == 0 {
			t.Errorf("%s: %s ns, %s kB", box, orNull(c.CPUNS), orNull(c.MemoryKB))
			continue
		}
		compareStill(t, c, box, doc.TotalKB)
	}
	if c := doc.find(t, filepath.Base(string(over))); c.CPUNS != nil || c.MemoryKB != nil || c.Count != 3 {
		t.Errorf("1,001 below it: %s ns, %s kB, not null; %d processes of 3", orNull(c.CPUNS), orNull(c.MemoryKB), c.Count)
	}
}

// TestWideGuestThreads: the threads of a process are counted up to 10,000.
func TestWideGuestThreads(t *testing.T) {
	if free := meminfo(t, "MemAvailable:"); free < 1<<20 {
		t.Skipf("10,000 threads need a gigabyte of memory, and %d kB are free", free)
	}
	if err := os.WriteFile("/proc/sys/kernel/threads-max", []byte("40000"), 0); err != nil {
		t.Fatal(err)
	}
	load(t, "")
	box := newCgroup(t, "docker/"+id(30))
	few, many := box.job(t, "threads", "200"), box.job(t, "threads", "10100")
	go few.Wait()
	go many.Wait()
	box.freeze(t)
	t.Logf("opening the file takes %v", opening(t))
	c := read(t).find(t, id(30))
	if p := c.process(t, many.Process.Pid); p.CPUNS != nil || p.RSSKB == 0 || p.Cmdline == nil {
		t.Errorf("10,100 threads: %+v of %s ns", p, orNull(p.CPUNS))
	}
	if p := c.process(t, few.Process.Pid); p.CPUNS == nil || c.CPUNS == nil || *p.CPUNS == 0 || *p.CPUNS > *c.CPUNS {
		t.Errorf("200 threads: %s ns of the container's %s", orNull(p.CPUNS), orNull(c.CPUNS))
	}
}

// TestGuestThrottledReader: what a reader may not use, nobody uses for it.
func TestGuestThrottledReader(t *testing.T) {
	load(t, "")
	for n := range 5 {
		newCgroup(t, "docker/"+id(n)).crowd(t, 20, hostile)
	}
	box := newCgroup(t, "reader")
	box.write(t, "cpu.max", "10000 100000")
	t.Cleanup(func() { box.feed(t) })
	cmd := box.job(t, "opens")
	go cmd.Wait()
	mine, others := box.field(t, "cpu.stat", "usage_usec"), kworkers(t)
	time.Sleep(20 * time.Second)
	used := time.Duration(box.field(t, "cpu.stat", "usage_usec")-mine) * time.Microsecond
	var helped time.Duration
	for pid, spent := range kworkers(t) {
		helped += spent - others[pid]
	}
	t.Logf("the reader used %v, kworkers %v", used, helped)
	if used < time.Second || used > 3*time.Second {
		t.Errorf("at 10 %% of a CPU the reader used %v in 20 s", used)
	}
	if helped > used/10 {
		t.Errorf("kworkers used %v beside the reader's %v", helped, used)
	}
}

// kworkers gives how much CPU each of the kernel's workers has used.
func kworkers(t testing.TB) map[int]time.Duration {
	t.Helper()
	spent := map[int]time.Duration{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, _ := os.ReadFile(path)
		pid, rest, ok := strings.Cut(string(text), " (kworker")
		if !ok {
			continue
		}
		fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
		n, _ := strconv.Atoi(pid)
		spent[n] = time.Duration(number(t, fields[11])+number(t, fields[12])) * 10 * time.Millisecond
	}
	return spent
}
