package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb2"
	idC = "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc3"
)

// tree is a made-up procfs and the cgroup hierarchies that its mountinfo names.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) tree {
	tr := tree{t, t.TempDir()}
	tr.write("proc/meminfo", "MemTotal:        1000000 kB\nMemFree:          300000 kB\nMemAvailable:     600000 kB\n")
	tr.write("proc/stat", "cpu  1 2 3\ncpu0 1 2 3\ncpu1 1 2 3\ncpu2 1 2 3\nintr 9\n")
	tr.write("proc/sys/kernel/random/boot_id", "this-boot\n")
	tr.write("proc/self/mountinfo", "22 27 0:21 / /proc rw,relatime - proc proc rw\n")
	return tr
}

// newTreeOfOne is one of v2 with the container idA, whose one process is web.
func newTreeOfOne(t *testing.T) tree {
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 10)
	tr.process(10, "web", "S", 1, 500, "web\x00")
	return tr
}

// proc opens the tree's procfs until the test ends.
func (tr tree) proc() cgroup.Proc {
	tr.t.Helper()
	proc, err := cgroup.OpenProc(filepath.Join(tr.dir, "proc"))
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(proc.Close)
	return proc
}

func (tr tree) write(path, text string) {
	tr.t.Helper()
	path = filepath.Join(tr.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

// mount mounts a hierarchy at dir, below the tree.
func (tr tree) mount(kind, options, dir string) {
	tr.t.Helper()
	tr.mountPart("/", kind, options, dir)
}

// mountPart mounts what of a hierarchy lies below root.
func (tr tree) mountPart(root, kind, options, dir string) {
	tr.t.Helper()
	path := filepath.Join(tr.dir, "proc/self/mountinfo")
	text, err := os.ReadFile(path)
	if err != nil {
		tr.t.Fatal(err)
	}
	point := strings.ReplaceAll(filepath.Join(tr.dir, dir), " ", `\040`)
	tr.write("proc/self/mountinfo", string(text)+fmt.Sprintf("33 31 0:30 %s %s rw,nosuid shared:9 - %s cgroup rw,%s\n", root, point, kind, options))
	if err := os.MkdirAll(filepath.Join(tr.dir, dir), 0o755); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) cgroup2() {
	tr.mount("cgroup2", "nsdelegate", "cg")
	tr.write("cg/cgroup.controllers", "cpuset cpu io memory pids\n")
}

// v2 makes a cgroup with 8 MB in use, 2 MB of it inactive file cache, and 3 s of CPU time.
func (tr tree) v2(path string, pids ...int) {
	tr.write("cg"+path+"/cgroup.procs", lines(pids))
	tr.write("cg"+path+"/memory.current", "8192000\n")
	tr.write("cg"+path+"/memory.stat", "anon 1\nfile 2\ninactive_file 2048000\nactive_file 7\n")
	tr.write("cg"+path+"/cpu.stat", "usage_usec 3000000\nuser_usec 1\n")
}

// v1 makes the same cgroup in two hierarchies.
func (tr tree) v1(memory, cpu, path string, pids ...int) {
	tr.write(memory+path+"/cgroup.procs", lines(pids))
	tr.write(memory+path+"/memory.usage_in_bytes", "8192000\n")
	tr.write(memory+path+"/memory.stat", "cache 1\ninactive_file 0\ntotal_cache 5\ntotal_inactive_file 2048000\n")
	tr.write(cpu+path+"/cpuacct.usage", "3000000000\n")
}

func lines(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		fmt.Fprintln(&b, pid)
	}
	return b.String()
}

// text is a command line, or "null".
func text(cmdline *string) string {
	if cmdline == nil {
		return "null"
	}
	return *cmdline
}

// process makes one that started at so many ticks, used 150 ticks of CPU time, and has 2000 kB of virtual and 100 pages
// of resident memory.
func (tr tree) process(pid int, name, state string, threads, start int, cmdline string) {
	stat := fmt.Sprintf("%d (%s) %s 1 1 1 0 -1 4194304 98 0 0 0 100 50 7 7 20 0 %d 0 %d 2048000 100 18446744073709551615 9 9\n",
		pid, name, state, threads, start)
	tr.write(fmt.Sprintf("proc/%d/stat", pid), stat)
	tr.write(fmt.Sprintf("proc/%d/cmdline", pid), cmdline)
}

// snapshot is a run's output and messages.
type snapshot struct {
	host       record.Host
	containers []record.Container
	processes  []record.Process
	stdout     string
	stderr     string
	err        error
}

// run runs the tool on the tree and reads what it prints, which must be whole.
func (tr tree) run(args ...string) snapshot {
	tr.t.Helper()
	return capture(tr.t, append([]string{"--proc-root", filepath.Join(tr.dir, "proc")}, args...)...)
}

// capture runs the tool; its rates are over no more than they must, unless the arguments say otherwise, and command
// lines are waited for on a busy machine too.
func capture(t *testing.T, args ...string) snapshot {
	t.Helper()
	return captureWithin(t, time.Minute, args...)
}

func captureWithin(t *testing.T, budget time.Duration, args ...string) snapshot {
	t.Helper()
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := runWithin(ctx, budget, append([]string{"--span=100ms"}, args...), &stdout, &stderr)
	s := snapshot{stdout: stdout.String(), stderr: stderr.String(), err: err}
	if stdout.Len() == 0 {
		return s
	}
	types := make(map[string]int)
	var end record.End
	for line, err := range record.Lines(&stdout) {
		if err != nil {
			t.Fatal(err)
		}
		if types[record.TypeEnd] > 0 {
			t.Errorf("after the end: %s", line.Text())
		}
		types[line.Type()]++
		var into any
		switch line.Type() {
		case record.TypeHost:
			into = &s.host
		case record.TypeContainer:
			s.containers = append(s.containers, record.Container{})
			into = &s.containers[len(s.containers)-1]
		case record.TypeProcess:
			s.processes = append(s.processes, record.Process{})
			into = &s.processes[len(s.processes)-1]
		case record.TypeEnd:
			into = &end
		default:
			t.Fatalf("a line of type %q", line.Type())
		}
		if err := line.Decode(into); err != nil {
			t.Fatal(err)
		}
		if line.Get("snapshot").Str != s.host.Snapshot || line.Get("time").Str == "" || line.Get("host").Str == "" {
			t.Errorf("not of the snapshot: %s", line.Text())
		}
	}
	if types[record.TypeHost] != 1 || len(s.containers) != s.host.Containers {
		t.Errorf("%d host lines, %d containers counted, %d printed", types[record.TypeHost], s.host.Containers, len(s.containers))
	}
	if types[record.TypeEnd] != 1 || end.Lines != 1+len(s.containers)+len(s.processes) {
		t.Errorf("%d end lines, which count %d of %d", types[record.TypeEnd], end.Lines, 1+len(s.containers)+len(s.processes))
	}
	for _, c := range s.containers {
		if (c.CPUPercent == nil) != (c.IntervalMS == nil) {
			t.Errorf("a rate or a span alone: %+v", c)
		}
	}
	return s
}

// state writes a state of one sample that was taken so many seconds ago.
func (tr tree) state(source string, seconds int64, s counters) (path string) {
	return tr.keep(state{"this-boot", source, []counters{s.at(cgroup.Boottime() - seconds*1e9)}})
}

// at are the counters as read at that time.
func (s counters) at(ns int64) counters {
	s.AtNS, s.Containers, s.Processes = ns, maps.Clone(s.Containers), maps.Clone(s.Processes)
	for id, c := range s.Containers {
		c.AtNS = ns
		s.Containers[id] = c
	}
	for pid, c := range s.Processes {
		c.AtNS = ns
		s.Processes[pid] = c
	}
	return s
}

func (tr tree) keep(st state) (path string) {
	tr.write("state", string(st.text()))
	return filepath.Join(tr.dir, "state")
}

// near tells whether a rate over ten seconds, and what a busy machine took longer, is what it should be: exact, over
// the span that it tells.
func near(got *float64, intervalMS *int64, want float64) bool {
	if got == nil || intervalMS == nil || *intervalMS < 10_000 {
		return false
	}
	exact := want * 10_000 / float64(*intervalMS)
	// A busy machine reads the counters up to some hundred ms after it began.
	return math.Abs(*got-exact) <= 0.005+exact*0.05
}

// pipe makes the file a pipe, and calls then when the tool has opened it; what that returns is what the tool reads.
func (tr tree) pipe(path string, then func() string) {
	tr.t.Helper()
	path = filepath.Join(tr.dir, path)
	if err := errors.Join(os.RemoveAll(path), syscall.Mkfifo(path, 0o600)); err != nil {
		tr.t.Fatal(err)
	}
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			tr.t.Error(err)
			return
		}
		defer f.Close()
		io.WriteString(f, then())
	}()
}

// replace makes a regular file of what was a pipe.
func (tr tree) replace(path, text string) {
	tr.write(path+".new", text)
	path = filepath.Join(tr.dir, path)
	if err := os.Rename(path+".new", path); err != nil {
		tr.t.Error(err)
	}
}

func find(s snapshot, id string) *record.Container {
	for i := range s.containers {
		if s.containers[i].ID == id {
			return &s.containers[i]
		}
	}
	return nil
}

// testID is an id that no container of anybody else's has.
func testID(n int) string { return fmt.Sprintf("%032x%032x", os.Getpid(), n) }
