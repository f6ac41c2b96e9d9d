package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/internal/record"
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
	path := filepath.Join(tr.dir, "proc/self/mountinfo")
	text, err := os.ReadFile(path)
	if err != nil {
		tr.t.Fatal(err)
	}
	point := strings.ReplaceAll(filepath.Join(tr.dir, dir), " ", `\040`)
	tr.write("proc/self/mountinfo", string(text)+fmt.Sprintf("33 31 0:30 / %s rw,nosuid shared:9 - %s cgroup rw,%s\n", point, kind, options))
	if err := os.MkdirAll(filepath.Join(tr.dir, dir), 0o755); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) cgroup2() {
	tr.mount("cgroup2", "nsdelegate", "cg")
	tr.write("cg/cgroup.controllers", "cpuset cpu io memory pids\n")
}

// v2 makes a cgroup with 8 MB in use, 2 MB of it inactive file cache, and
// 3 s of CPU time.
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

// process makes one that started at so many ticks, used 150 ticks of CPU time,
// and has 2000 kB of virtual and 100 pages of resident memory.
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

func capture(t *testing.T, args ...string) snapshot {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	s := snapshot{stdout: stdout.String(), stderr: stderr.String(), err: err}
	if stdout.Len() == 0 {
		return s
	}
	hosts := 0
	for line, err := range record.Lines(&stdout) {
		if err != nil {
			t.Fatal(err)
		}
		var into any
		switch line.Type() {
		case record.TypeHost:
			hosts++
			into = &s.host
		case record.TypeContainer:
			s.containers = append(s.containers, record.Container{})
			into = &s.containers[len(s.containers)-1]
		case record.TypeProcess:
			s.processes = append(s.processes, record.Process{})
			into = &s.processes[len(s.processes)-1]
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
	if hosts != 1 || len(s.containers) != s.host.Containers {
		t.Errorf("%d host lines, %d containers counted, %d printed", hosts, s.host.Containers, len(s.containers))
	}
	return s
}

// state writes a state that was taken so many seconds ago.
func (tr tree) state(source string, seconds int64, st state) (path string) {
	st.Source = source
	if st.BootID == "" {
		st.BootID = "this-boot"
	}
	st.BoottimeNS = boottime() - seconds*1e9
	st.Containers, st.Processes = maps.Clone(st.Containers), maps.Clone(st.Processes)
	for id, c := range st.Containers {
		c.AtNS = st.BoottimeNS
		st.Containers[id] = c
	}
	for pid, c := range st.Processes {
		c.AtNS = st.BoottimeNS
		st.Processes[pid] = c
	}
	tr.write("state", string(st.text()))
	return filepath.Join(tr.dir, "state")
}

// near tells whether a rate is there and is about what it should be: a busy
// machine takes longer, which makes it smaller.
func near(got *float64, want float64) bool {
	return got != nil && *got <= want*1.01 && *got >= want/2
}
