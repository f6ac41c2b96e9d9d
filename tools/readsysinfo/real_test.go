package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"winnow/tools/internal/full"
	"winnow/tools/internal/record"
)

// ground is a cgroup of the test's own in the host's real hierarchies. It is removed after the test with all that is in
// it.
type ground struct {
	testing.TB
	v1                 bool
	memory, cpu, quota string // where the hierarchies are mounted
	parent             string // below the mount points
}

func newGround(tb testing.TB) ground {
	tb.Helper()
	full.Needs(tb, "root")
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		tb.Fatal(err)
	}
	mounted := func(kind, controller string) string {
		for line := range strings.Lines(string(mounts)) {
			if f := strings.Fields(line); f[2] == kind && strings.Contains(","+f[3]+",", controller) {
				return f[1]
			}
		}
		return ""
	}
	g := ground{TB: tb, memory: mounted("cgroup", ",memory,"), cpu: mounted("cgroup", ",cpuacct,"), quota: mounted("cgroup", ",cpu,")}
	if g.v1 = g.memory != ""; !g.v1 {
		g.memory = mounted("cgroup2", "")
		g.cpu, g.quota = g.memory, g.memory
	}
	if g.memory == "" || g.cpu == "" || g.quota == "" {
		tb.Skip("skipped: no cgroup files")
	}
	g.parent = fmt.Sprintf("/winnow-test-%d", os.Getpid())
	if err := g.mkdir(""); err != nil {
		tb.Skipf("skipped: cannot make cgroups: %v", err)
	}
	tb.Cleanup(func() { g.remove("") })
	if err := g.delegate(""); err != nil {
		tb.Skipf("skipped: no memory controller for cgroups of its own: %v", err)
	}
	return g
}

// delegate gives the cgroups to be made in path the memory controller, which on v1 all have.
func (g ground) delegate(path string) error {
	if g.v1 {
		return nil
	}
	return os.WriteFile(filepath.Join(g.memory, g.parent, path, "cgroup.subtree_control"), []byte("+memory"), 0)
}

// files are those that a snapshot reads of a cgroup, by what they hold.
func (g ground) files(path string) (procs, cpu string, others []string) {
	memory, cpu, quota := g.memory+g.parent+path, g.cpu+g.parent+path, g.quota+g.parent+path
	if g.v1 {
		return memory + "/cgroup.procs", cpu + "/cpuacct.usage", []string{
			memory + "/memory.usage_in_bytes", memory + "/memory.stat", memory + "/memory.limit_in_bytes", quota + "/cpu.cfs_quota_us",
		}
	}
	return memory + "/cgroup.procs", cpu + "/cpu.stat", []string{memory + "/memory.current", memory + "/memory.stat", memory + "/memory.max", quota + "/cpu.max"}
}

// cpuNS is the CPU time that the cgroup has used.
func (g ground) cpuNS(path string) uint64 {
	g.Helper()
	_, file, _ := g.files(path)
	text, err := os.ReadFile(file)
	if err != nil {
		g.Fatal(err)
	}
	var n uint64
	if g.v1 {
		_, err = fmt.Sscan(string(text), &n)
	} else if _, err = fmt.Sscanf(string(text), "usage_usec %d", &n); err == nil {
		n *= 1000
	}
	if err != nil {
		g.Fatalf("%s: %v", file, err)
	}
	return n
}

// roots are the mount points of the hierarchies.
func (g ground) roots() []string {
	return slices.Compact([]string{g.memory, g.cpu, g.quota})
}

func (g ground) mkdir(path string) error {
	for _, root := range g.roots() {
		if err := os.Mkdir(root+g.parent+path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// remove removes a cgroup and those in it, whose processes have ended.
func (g ground) remove(path string) {
	for _, root := range g.roots() {
		var dirs []string
		filepath.WalkDir(root+g.parent+path, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			var err error
			for range 100 { // a process leaves its cgroup some time after it was waited for
				if err = os.Remove(dir); !errors.Is(err, syscall.EBUSY) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil {
				g.Error(err)
			}
		}
	}
}

// start runs a program in the cgroup until the test ends or stop is called.
func (g ground) start(path string, cmd *exec.Cmd) (stop func()) {
	g.Helper()
	if err := g.run(path, cmd); err != nil {
		g.Fatal(err)
	}
	stop = sync.OnceFunc(func() { end(cmd) })
	g.Cleanup(stop)
	return stop
}

// run starts a program in the cgroup, which the caller is to end.
func (g ground) run(path string, cmd *exec.Cmd) error {
	if err := g.mkdir(path); err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, root := range g.roots() {
		if err := os.WriteFile(root+g.parent+path+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			end(cmd)
			return err
		}
	}
	return nil
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// sleeper is a process that does nothing, and calls itself argv0.
func sleeper(argv0 string) *exec.Cmd {
	cmd := exec.Command("sleep", "600")
	cmd.Args[0] = argv0
	return cmd
}

func isTestID(id string) bool { return strings.HasPrefix(id, testID(0)[:32]) }

// check fails the test where something is said of its containers. There may be others on the host, which begin, end and
// fail as they like.
func (g ground) check(s snapshot) {
	g.Helper()
	if s.stdout == "" || strings.Contains(s.stderr, testID(0)[:32]) {
		g.Fatalf("%v: %s", s.err, s.stderr)
	}
}

// Whatever bytes names and arguments hold, the lines are JSON, and what is UTF-8 in them stays as it is.
func TestHostileCommandLines(t *testing.T) {
	g := newGround(t)
	var every strings.Builder
	for c := 1; c < 256; c++ {
		every.WriteByte(byte(c))
	}
	tests := []struct{ name, argv0, want string }{
		{"quotes", `say "hi" \ 'there' </script>`, `say "hi" \ 'there' </script> 600`},
		{"newlines", "a\nb\r\n\tc", "a\nb\r\n\tc 600"},
		{"control characters", "\x01\x1b[31m\x7f", "\x01\x1b[31m\x7f 600"},
		{"beyond ASCII", "é世界🐳", "é世界🐳 600"},
		{"not UTF-8", "a\x80\xffz", "a\ufffd\ufffdz 600"},
		{"every byte", every.String(), strings.ToValidUTF8(every.String()[:127], "") + strings.Repeat("\ufffd", 128) + " 600"},
		{"100 kB", strings.Repeat("x\"\n\xfe", 25_000), strings.Repeat("x\"\n\ufffd", 1024)},
		{"cut within a character", "x" + strings.Repeat("é", 25_000), "x" + strings.Repeat("é", 2047)},
		{"a JSON line", "\"}\n{\"type\":\"container\"}", "\"}\n{\"type\":\"container\"} 600"},
	}
	hostile := filepath.Join(t.TempDir(), ") R 1 (\n\"\xff")
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sleep, hostile); err != nil {
		t.Fatal(err)
	}
	for i, test := range tests {
		cmd := sleeper(test.argv0)
		cmd.Path = hostile
		g.start("/"+testID(i), cmd)
	}
	s := capture(t, "--source=cgroup", "--processes")
	g.check(s)
	for i, test := range tests {
		c := find(s, testID(i))
		if c == nil {
			t.Errorf("%s: not there", test.name)
			continue
		}
		if text(c.Cmdline) != test.want || c.CmdlineTruncated != (len(test.argv0) > 4096) || c.Process != ") R 1 (\n\"\ufffd" || c.RSSKB == 0 {
			t.Errorf("%s: process %q, arguments %.200q, want %.200q", test.name, c.Process, text(c.Cmdline), test.want)
		}
	}
	own := slices.DeleteFunc(s.processes, func(p record.Process) bool { return find(s, p.ID) == nil || !isTestID(p.ID) })
	if len(own) != len(tests) {
		t.Errorf("%d processes", len(own))
	}
}

// It takes neither root nor Docker's group.
func TestAsAnyUser(t *testing.T) {
	g := newGround(t)
	g.start("/"+testID(1), sleeper("another's"))
	dir := t.TempDir()
	program := filepath.Join(dir, "readsysinfo")
	own, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	// The test's directory is closed to others.
	if err := errors.Join(os.WriteFile(program, own, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--source=cgroup", "--processes", "--span=100ms")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if s := (snapshot{stdout: string(out), stderr: stderr.String(), err: err}); s.stderr != "" {
		g.check(s)
	}
	for line, err := range record.Lines(bytes.NewReader(out)) {
		if err == nil && line.Get("id").Str == testID(1) && line.Type() == record.TypeContainer &&
			line.Get("cmdline").Str == "another's 600" && line.Get("rss_kb").Uint() > 0 {
			return
		}
	}
	t.Errorf("got %s", out)
}

// In a PID namespace of its own, as in a container that has the host's procfs mounted, it tells of the same processes by
// the same numbers; a cgroup of a container's name in another place is not mixed up with it.
func TestInAPIDNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a namespace")
	}
	g := newGround(t)
	if err := errors.Join(g.mkdir("/docker"), g.delegate("/docker")); err != nil {
		t.Fatal(err)
	}
	g.start("/docker/"+testID(1), sleeper("one"))
	g.start("/docker/"+testID(2), sleeper("two"))
	g.start("/docker/"+testID(2)+"/below", sleeper("below"))
	program := filepath.Join(t.TempDir(), "readsysinfo")
	if err := os.Symlink(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	told := func(flags uintptr) (lines []string) {
		t.Helper()
		cmd := exec.Command(program, "--source=cgroup", "--processes", "--span=100ms")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range record.Lines(bytes.NewReader(out)) {
			if isTestID(line.Get("id").Str) {
				lines = append(lines, fmt.Sprint(line.Type(), line.Get("id"), line.Get("pid"), line.Get("process"), line.Get("processes"), line.Get("cmdline"), line.Get("rss_kb")))
			}
		}
		return lines
	}
	want, got := told(0), told(syscall.CLONE_NEWPID)
	if len(want) != 5 || !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What ran in cgroups of the container's own counts, and CPU time stays when they are removed.
func TestChildCgroups(t *testing.T) {
	g := newGround(t)
	path := "/deep/er/" + testID(1)
	for _, dir := range []string{"/deep", "/deep/er"} {
		if err := errors.Join(g.mkdir(dir), g.delegate(dir)); err != nil {
			t.Fatal(err)
		}
	}
	g.start(path, sleeper("outer"))
	g.start(path+"/inner", sleeper("inner"))
	g.start(path+"/"+testID(2), sleeper("docker in docker"))
	stop := g.start(path+"/burnt", exec.Command("sh", "-c", "while :; do :; done"))
	var burnt uint64
	for start := time.Now(); burnt < 50e6 && time.Since(start) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		burnt = g.cpuNS(path + "/burnt")
	}
	stop()
	g.remove(path + "/burnt")
	s := capture(t, "--source=cgroup")
	c := find(s, testID(1))
	g.check(s)
	if c == nil || find(s, testID(2)) != nil {
		t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	if text(c.Cmdline) != "outer 600" || c.Processes != 3 || burnt < 50e6 || c.CPUNS < burnt {
		t.Errorf("burnt %d ns, got %+v", burnt, c)
	}
}

// A file that is open when its cgroup is removed gives an error of its own, which is that of what has gone too.
func TestRemovedWhileRead(t *testing.T) {
	g := newGround(t)
	if err := g.mkdir("/brief"); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(g.memory + g.parent + "/brief/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	g.remove("/brief")
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, unix.ENODEV) {
		t.Skipf("skipped: this kernel says %v", err)
	}
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 10)
	tr.v2("/docker/"+idB, 20)
	tr.process(20, "b", "S", 1, 500, "b\x00")
	procs := filepath.Join(tr.dir, "cg/docker", idA, "cgroup.procs")
	if err := errors.Join(os.Remove(procs), os.Symlink(fmt.Sprintf("/proc/self/fd/%d", open.Fd()), procs)); err != nil {
		t.Fatal(err)
	}
	if s := tr.run(); s.err != nil || s.stderr != "" || len(s.containers) != 1 || s.containers[0].ID != idB {
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
}

// Containers that come and go while they are read are there whole or not at all, and no snapshot fails for them.
func TestContainersThatComeAndGo(t *testing.T) {
	g := newGround(t)
	ctx, stop := context.WithCancel(t.Context())
	others, ctx := errgroup.WithContext(ctx)
	for worker := range 2 {
		others.Go(func() error {
			for ctx.Err() == nil {
				if err := g.comeAndGo("/" + testID(worker)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	defer func() {
		stop()
		if err := others.Wait(); err != nil {
			t.Error(err)
		}
	}()
	state := filepath.Join(t.TempDir(), "state")
	seen, missed := 0, 0
	for deadline := time.Now().Add(time.Minute); ctx.Err() == nil && (seen < 5 || missed < 5); {
		s := capture(t, "--source=cgroup", "--processes", "--state", state)
		g.check(s)
		for worker := range 2 {
			if c := find(s, testID(worker)); c == nil {
				missed++
			} else if seen++; c.PID == 0 || c.Processes == 0 {
				t.Errorf("half there: %+v", c)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("seen %d times, missed %d times: nothing was shown", seen, missed)
		}
	}
}

// comeAndGo starts a container of two processes, and removes it.
func (g ground) comeAndGo(path string) error {
	brief, child := sleeper("brief"), exec.Command("true")
	defer g.remove(path)
	if err := g.run(path, brief); err != nil {
		return err
	}
	defer end(brief)
	if err := g.run(path+"/child", child); err != nil {
		return err
	}
	end(child)
	return nil
}
