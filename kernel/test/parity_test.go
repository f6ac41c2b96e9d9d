package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// chargeBatchKB is how far the kernel's own figures of a cgroup's memory can lie apart: 64 pages on each CPU.
func chargeBatchKB() uint64 {
	return 64 * uint64(os.Getpagesize()) / 1024 * uint64(cpus())
}

func cpus() int {
	present, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*")
	return max(1, len(present))
}

// spend burns some CPU in children that exit, and then sleeps.
const spend = `i=0; while [ $i -lt 40 ]; do (n=0; while [ $n -lt 3000 ]; do n=$((n+1)); done); i=$((i+1)); done
echo done >/tmp/%s; exec sleep 100000`

// TestGuestParity compares the module's figures with the kernel's files of the same containers, at a standstill: there
// the module, which reads before anything flushes, must have what the files have.
func TestGuestParity(t *testing.T) {
	load(t, "")
	containers := map[string]cgroup{}
	add := func(n int, parent string) cgroup {
		box := newCgroup(t, parent+"/"+id(n))
		containers[id(n)] = box
		return box
	}
	steady := add(1, "docker")
	go steady.job(t, "hold", "8000", "3").Wait()
	burner := add(2, "docker")
	burner.write(t, "cpu.weight", "1") // the others are to get on
	burner.shell(t, "while :; do :; done")
	add(3, "custom/parent").shell(t, fmt.Sprintf(spend, "spent3"))

	nested := add(4, "docker")
	nested.write(t, "cpu.weight", "1")
	nested.shell(t, "exec sleep 100000")
	child := nested.child(t, "inner").child(t, "deeper")
	child.shell(t, "while :; do :; done")
	child.shell(t, fmt.Sprintf(spend, "spent4"))

	// A container with a manager of its own within: its processes and its controllers are in child cgroups.
	outer := add(8, "docker")
	newCgroup(t, string(outer)+"/init").shell(t, "exec sleep 100000")
	newCgroup(t, string(outer)+"/docker/"+id(80)).shell(t, fmt.Sprintf(spend, "spent8"))

	crowd := add(5, "docker")
	crowd.shell(t, "i=0; while [ $i -lt 1000 ]; do sleep 100000 & i=$((i+1)); done; echo done >/tmp/crowd; wait")
	cached := add(6, "docker")
	cache(t, cached)
	churned := add(7, "docker")
	churned.shell(t, "exec sleep 100000")
	churn(t, churned)

	for _, file := range []string{"spent3", "spent4", "spent8", "crowd"} {
		eventually(t, file+" over", func() bool { _, err := os.Stat("/tmp/" + file); return err == nil })
	}
	compared := 0
	for round := range 2 {
		time.Sleep(300 * time.Millisecond)
		compared += compareGrowing(t, containers)
		for _, box := range containers {
			box.freeze(t)
		}
		doc := read(t)
		for id, box := range containers {
			compared += compareStill(t, doc.find(t, id), box, doc.TotalKB)
		}
		if c := doc.find(t, id(5)); c.Count != 1001 {
			t.Errorf("round %d: %d processes of 1001", round, c.Count)
		}
		for _, box := range containers {
			box.write(t, "cgroup.freeze", "0")
		}
	}
	if inactive := cached.field(t, "memory.stat", "inactive_file"); inactive < 16<<20 {
		t.Errorf("only %d bytes of inactive file cache: nothing was subtracted", inactive)
	}
	t.Logf("compared %d figures", compared)
	if compared < 2*6*1000 {
		t.Errorf("compared only %d figures", compared)
	}
}

// compareGrowing reads the CPU time from the files before and after the module does.
func compareGrowing(t *testing.T, containers map[string]cgroup) int {
	t.Helper()
	usage := func() map[string]uint64 {
		all := map[string]uint64{}
		for id, box := range containers {
			all[id] = box.field(t, "cpu.stat", "usage_usec")
		}
		return all
	}
	before := usage()
	time.Sleep(50 * time.Millisecond)
	doc := read(t)
	after := usage()
	for id := range containers {
		if cpu := *doc.find(t, id).CPUNS; cpu/1000 < before[id] || cpu/1000 > after[id] {
			t.Errorf("%s: %d ns of CPU time are not within %d and %d us", id, cpu, before[id], after[id])
		}
	}
	return len(containers)
}

// compareStill compares a container that is frozen; the module's figures were taken first.
func compareStill(t *testing.T, c container, box cgroup, totalKB uint64) int {
	t.Helper()
	if usage := box.field(t, "cpu.stat", "usage_usec"); *c.CPUNS/1000 != usage {
		t.Errorf("%s: %d ns of CPU time, the file has %d us", box, *c.CPUNS, usage)
	}
	used, inactive := number(t, box.read(t, "memory.current")), box.field(t, "memory.stat", "inactive_file")
	want := (used - min(used, inactive)) / 1024
	if off := max(want, *c.MemoryKB) - min(want, *c.MemoryKB); off > chargeBatchKB() {
		t.Errorf("%s: %d kB of memory, the files have %d", box, *c.MemoryKB, want)
	}
	pids := subtreePIDs(t, box)
	rss, vsz := c.sums()
	var listed []int
	for _, p := range c.Processes {
		listed = append(listed, p.PID)
		compareProcess(t, p, totalKB)
	}
	slices.Sort(listed)
	if !slices.Equal(listed, pids) || c.Count != len(pids) {
		t.Errorf("%s: processes %v (%d), cgroup.procs has %v", box, listed, c.Count, pids)
	}
	if rss != c.RSSKB || vsz != c.VSZKB {
		t.Errorf("%s: the sums are %d and %d kB, not %d and %d", box, rss, vsz, c.RSSKB, c.VSZKB)
	}
	return 2 + 6*len(listed)
}

func subtreePIDs(t testing.TB, box cgroup) []int {
	t.Helper()
	var pids []int
	err := filepath.WalkDir(box.path(""), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			relative, _ := filepath.Rel(box.path(""), path)
			pids = append(pids, cgroup(filepath.Join(string(box), relative)).pids()...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(pids)
	return pids
}

// compareProcess compares a process that stands still with its files in /proc.
func compareProcess(t *testing.T, p process, totalKB uint64) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", p.PID)
	text, err := os.ReadFile(dir + "stat")
	if err != nil {
		t.Error(err)
		return
	}
	end := strings.LastIndexByte(string(text), ')')
	stat := strings.Fields(string(text[end+2:]))
	name := string(text[strings.IndexByte(string(text), '(')+1 : end])
	if p.Name != name || p.State != stat[0] {
		t.Errorf("%d: %q %s, not %q %s", p.PID, p.Name, p.State, name, stat[0])
	}
	if vsz := number(t, stat[20]) / 1024; p.VSZKB != vsz {
		t.Errorf("%d: vsz %d kB, not %d", p.PID, p.VSZKB, vsz)
	}
	compareRSS(t, p)
	if ticks := number(t, stat[19]); p.StartNS/10_000_000 != ticks {
		t.Errorf("%d: started at %d ns, not tick %d", p.PID, p.StartNS, ticks)
	}
	text, _ = os.ReadFile(dir + "cmdline")
	if want := strings.ReplaceAll(strings.TrimRight(string(text), "\x00"), "\x00", " "); p.command() != want || p.Truncated {
		t.Errorf("%d: %q, not %q", p.PID, p.command(), want)
	}
	if ran := processClock(t, p.PID); orNull(p.CPUNS) != fmt.Sprint(ran) {
		t.Errorf("%d: %s ns of CPU time, not %d", p.PID, orNull(p.CPUNS), ran)
	}
	if want := float64(p.RSSKB*10000/totalKB) / 100; p.MemoryPercent < want-0.001 || p.MemoryPercent > want+0.011 {
		t.Errorf("%d: %v %% of memory, not %v", p.PID, p.MemoryPercent, want)
	}
}

// processClock is the clock of the CPU time of a process, all its threads taken together: see clock_getcpuclockid(3).
func processClock(t testing.TB, pid int) uint64 {
	t.Helper()
	var clock unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &clock); err != nil {
		t.Error(err)
	}
	return uint64(clock.Nano())
}

// compareRSS compares the resident memory of a process at rest with its page tables. Before 6.2 each thread keeps up to 64
// pages of it to itself; there it need not be nearer than statm is, which doesn't count them.
func compareRSS(t *testing.T, p process) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", p.PID)
	text, err := os.ReadFile(dir + "smaps_rollup")
	if err != nil {
		t.Error(err)
		return
	}
	_, rss, _ := strings.Cut(string(text), "\nRss:")
	want, slack := number(t, strings.Fields(rss)[0]), uint64(0)
	if p.RSSKB != want && !since(6, 2) {
		pageKB := uint64(os.Getpagesize()) / 1024
		threads, _ := os.ReadDir(dir + "task")
		slack = 64 * pageKB * uint64(len(threads))
		text, _ = os.ReadFile(dir + "statm")
		statm := number(t, strings.Fields(string(text))[1]) * pageKB
		slack = min(slack, max(want, statm)-min(want, statm))
	}
	if max(want, p.RSSKB)-min(want, p.RSSKB) > slack {
		t.Errorf("%d: rss %d kB, the page tables have %d, and %d off is allowed", p.PID, p.RSSKB, want, slack)
	}
}

// since tells whether the kernel is of that version or a later one.
func since(major, minor int) bool {
	var name unix.Utsname
	var is, part int
	unix.Uname(&name)
	fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &is, &part)
	return is > major || is == major && part >= minor
}

// churn makes child cgroups that use CPU and are removed: their time stays with the container.
func churn(t *testing.T, box cgroup) {
	t.Helper()
	before := box.field(t, "cpu.stat", "usage_usec")
	for n := range 20 {
		child := cgroup(fmt.Sprintf("%s/child%d", box, n))
		if err := os.Mkdir(child.path(""), 0o755); err != nil {
			t.Fatal(err)
		}
		child.shell(t, "n=0; while [ $n -lt 20000 ]; do n=$((n+1)); done")
		eventually(t, "child over", func() bool { return len(child.pids()) == 0 })
		child.remove(t)
	}
	if after := box.field(t, "cpu.stat", "usage_usec"); after < before+20_000 {
		t.Errorf("the children used only %d us", after-before)
	}
}

// cache fills the container's page cache from a file system on a disk.
func cache(t *testing.T, box cgroup) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`insmod loop.ko 2>/dev/null; truncate -s 64M %[1]s/disk && mke2fs -F %[1]s/disk >/dev/null && mkdir %[1]s/mnt &&
mount -t ext2 -o loop %[1]s/disk %[1]s/mnt && dd if=/dev/zero of=%[1]s/mnt/file bs=1M count=32 && sync && echo done >%[1]s/made`, dir)
	cgroup("").shell(t, script+" 2>"+dir+"/errors")
	eventually(t, "file system made", func() bool { _, err := os.Stat(dir + "/made"); return err == nil })
	if err := unix.Mount("", dir+"/mnt", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Fatal(err)
	}
	box.shell(t, fmt.Sprintf("cat %s/mnt/file >/dev/null; echo done >%[1]s/read; exec sleep 100000", dir))
	eventually(t, "file read", func() bool { _, err := os.Stat(dir + "/read"); return err == nil })
	t.Cleanup(func() {
		if err := unix.Unmount(dir+"/mnt", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestGuestNeverBack: a container's CPU time never goes back, and stays within the files, while its child cgroups
// come and go and others flush the counters all the time.
func TestGuestNeverBack(t *testing.T) {
	load(t, "")
	box := newCgroup(t, "docker/"+id(1))
	for range 2 {
		box.shell(t, "while :; do (n=0; while [ $n -lt 100 ]; do n=$((n+1)); done); done")
	}
	stop := children(t, box)
	var last uint64
	reads := 0
	for begun := time.Now(); time.Since(begun) < 5*time.Second || reads < 10 && time.Since(begun) < 5*time.Minute; reads++ {
		before := box.field(t, "cpu.stat", "usage_usec")
		cpu := *read(t).find(t, id(1)).CPUNS
		after := box.field(t, "cpu.stat", "usage_usec")
		if cpu < last {
			t.Fatalf("%d ns after %d ns", cpu, last)
		}
		// Time that is on its way up from a cgroup being removed can be missed, or one step counted twice, until the next.
		if cpu/1000+20_000 < before || cpu/1000 > after+20_000 {
			t.Errorf("%d ns are not within %d and %d us", cpu, before, after)
		}
		last = cpu
	}
	stop()
	if reads < 10 || last == 0 {
		t.Errorf("only %d reads, %d ns", reads, last)
	}
	box.freeze(t)
	if cpu, usage := *read(t).find(t, id(1)).CPUNS, box.field(t, "cpu.stat", "usage_usec"); cpu/1000 != usage {
		t.Errorf("in the end %d ns, the file has %d us", cpu, usage)
	}
	t.Logf("%d reads", reads)
}

// children makes and removes child cgroups that use CPU, and flushes the counters, until it is told to stop.
func children(t *testing.T, box cgroup) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	// They are made beside the processes; the controllers stay off in them.
	cgroup("").shell(t, fmt.Sprintf(`cd %s; while [ ! -e %[2]s/over ]; do mkdir c$((i=i+1)) || break
sh -c 'echo $$ >c'$i'/cgroup.procs; n=0; while [ $n -lt 300 ]; do n=$((n+1)); done'; rmdir c$i; cat cpu.stat >/dev/null; done; rmdir c*; : >%[2]s/done`, box.path(""), dir))
	return func() {
		os.WriteFile(dir+"/over", nil, 0o644)
		eventually(t, "children over", func() bool { _, err := os.Stat(dir + "/done"); return err == nil })
	}
}

// TestGuestExit: who has died doesn't count, however long its parent waits; a container of the dead is none.
func TestGuestExit(t *testing.T) {
	load(t, "")
	box, dead := newCgroup(t, "docker/"+id(1)), newCgroup(t, "docker/"+id(2))
	// busybox's sleep doesn't wait for the children that it got from the shell before it, if they outlive that one: so
	// they end when they read a line.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	end, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	child := box.shell(t, fmt.Sprintf("i=0; while [ $i -lt 20 ]; do (read x <%s) & i=$((i+1)); done; exec sleep 100000", fifo))
	parent := cgroup("").shell(t, fmt.Sprintf("sh -c 'echo $$ >%s; read x <%s' & exec sleep 100000", dead.path("cgroup.procs"), fifo))
	defer unix.Kill(parent, unix.SIGKILL)
	zombies := func() int {
		count := 0
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, path := range stats {
			text, _ := os.ReadFile(path)
			if strings.Contains(string(text), ") Z ") {
				count++
			}
		}
		return count
	}
	sleeps := func(pid int) bool {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return string(name) == "sleep\n"
	}
	eventually(t, "two that sleep", func() bool { return sleeps(child) && sleeps(parent) && len(dead.pids()) == 1 })
	if _, err := end.WriteString(strings.Repeat("\n", 21)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "21 dead", func() bool { return zombies() >= 21 })
	doc := read(t)
	if c := doc.find(t, id(1)); c.Count != 1 || len(c.Processes) != 1 || c.Processes[0].command() != "sleep 100000" {
		t.Errorf("%+v", c)
	}
	if _, ok := doc.lookup(id(2)); ok {
		t.Error("a container whose only process is dead is listed")
	}
	// In the middle of many exits: what is listed is whole.
	for range 30 {
		pid := box.shell(t, "i=0; while [ $i -lt 10 ]; do sleep 100000 & i=$((i+1)); done; wait")
		pids := box.pids()
		for _, p := range pids {
			if p >= pid {
				unix.Kill(p, unix.SIGKILL)
			}
		}
		for _, p := range read(t).find(t, id(1)).Processes {
			if p.PID <= 0 || p.StartNS == 0 || p.State == "" {
				t.Errorf("%+v", p)
			}
		}
	}
}

// TestV1GuestParity: on cgroup v1 the module has the memory, and leaves the CPU time to the files.
func TestV1GuestParity(t *testing.T) {
	if !onV1() {
		t.Skip("this kernel has no memory controller for cgroup v1")
	}
	load(t, "")
	box := newCgroup(t, "docker/"+id(1))
	cmd := box.job(t, "hold", "8000", "1")
	go cmd.Wait()
	newCgroup(t, "docker/"+id(2)).shell(t, "exec sleep 100000")
	box.write(t, "memory.limit_in_bytes", "64M")
	time.Sleep(300 * time.Millisecond)
	doc := read(t)
	if doc.Cgroup != 1 || len(doc.Containers) != 2 {
		t.Fatalf("cgroup %d, %d containers", doc.Cgroup, len(doc.Containers))
	}
	c := doc.find(t, id(1))
	if c.CPUNS != nil {
		t.Errorf("%d ns of CPU time that the module can't know", *c.CPUNS)
	}
	used, inactive := number(t, box.read(t, "memory.usage_in_bytes")), box.field(t, "memory.stat", "total_inactive_file")
	if used < 6_000_000 {
		t.Errorf("only %d bytes in use", used)
	}
	if want := (used - inactive) / 1024; max(want, *c.MemoryKB)-min(want, *c.MemoryKB) > chargeBatchKB() {
		t.Errorf("%d kB of memory, the files have %d", *c.MemoryKB, want)
	}
	if limits := orNull(c.MemoryLimitKB) + " " + orNull(doc.find(t, id(2)).MemoryLimitKB); limits != "65536 null" {
		t.Errorf("limits of %s kB, not 65536 and none", limits)
	}
	if c.CPULimit != nil || c.CgroupID != box.inode(t) {
		t.Errorf("%s %% of CPU, cgroup %d, not null and %d", orNull(c.CPULimit), c.CgroupID, box.inode(t))
	}
	if pids := box.pids(); c.Count != len(pids) || c.Processes[0].PID != cmd.Process.Pid {
		t.Errorf("%d processes, first %d; cgroup.procs has %v", c.Count, c.Processes[0].PID, pids)
	}
}
