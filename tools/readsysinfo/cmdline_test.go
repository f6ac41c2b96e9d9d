package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
	"winnow/tools/readsysinfo/document"
)

// Both sources show as much of a command line, and tell alike of what they do not show.
func TestCmdlines(t *testing.T) {
	tests := []struct {
		name, memory, document string
		want                   string
		truncated              bool
	}{
		{"none", "", "", "", false},
		{"arguments", "a\x00b\x00", "a b", "a b", false},
		{"NULs at the end", "a\x00\x00\x00", "a", "a", false},
		{"all that is shown", strings.Repeat("x", 4096), strings.Repeat("x", 4096), strings.Repeat("x", 4096), false},
		{"a byte more", strings.Repeat("x", 4097), strings.Repeat("x", 4097), strings.Repeat("x", 4096), true},
		{"much more", strings.Repeat("x", 300_000), strings.Repeat("x", 300_000), strings.Repeat("x", 4096), true},
		{"not UTF-8", strings.Repeat("\xff", 4096), strings.Repeat("\ufffd", 4096), strings.Repeat("\ufffd", 4096), false},
		{"not UTF-8, and more", strings.Repeat("\xff", 5000), strings.Repeat("\ufffd", 5000), strings.Repeat("\ufffd", 4096), true},
		{"characters", strings.Repeat("é", 2048), strings.Repeat("é", 2048), strings.Repeat("é", 2048), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			tr.process(10, "web", "S", 1, 500, test.memory)
			document := strings.Replace(moduleDocument(cgroup.Boottime(), 3e9), `/web \"q\" \u0001`, test.document, 1)
			tr.write("proc/sysinfo_winnow", document)
			for _, source := range []string{"cgroup", "module"} {
				s := tr.run("--source", source, "--processes")
				c := find(s, idA)
				if s.err != nil || c == nil {
					t.Fatalf("%s: %v: %s", source, s.err, s.stderr)
				}
				if text(c.Cmdline) != test.want || c.CmdlineTruncated != test.truncated {
					t.Errorf("%s: %.100q (%d bytes), truncated %v", source, text(c.Cmdline), len(text(c.Cmdline)), c.CmdlineTruncated)
				}
				for _, p := range s.processes {
					if p.PID == 10 && (text(p.Cmdline) != test.want || p.CmdlineTruncated != test.truncated) {
						t.Errorf("%s: its process: %.100q, truncated %v", source, text(p.Cmdline), p.CmdlineTruncated)
					}
				}
			}
		})
	}
}

// A cut within a character leaves that out, as the module does.
func TestCutWithinACharacter(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, memory, want string }{
		{"of two bytes", "x" + strings.Repeat("é", 3000), "x" + strings.Repeat("é", 2047)},
		{"of four bytes, after one", "xxx" + strings.Repeat("🐳", 2000), "xxx" + strings.Repeat("🐳", 1023)},
		{"of four bytes, after three", "x" + strings.Repeat("🐳", 2000), "x" + strings.Repeat("🐳", 1023)},
		{"between two", strings.Repeat("🐳", 2000), strings.Repeat("🐳", 1024)},
		{"what is none", strings.Repeat("x", 4094) + "\xff\xff" + "xxx", strings.Repeat("x", 4094) + "\ufffd\ufffd"},
	}
	for _, test := range tests {
		tr := newTree(t)
		tr.cgroup2()
		tr.v2("/docker/"+idA, 10)
		tr.process(10, "web", "S", 1, 500, test.memory)
		if c := find(tr.run(), idA); text(c.Cmdline) != test.want || !c.CmdlineTruncated {
			t.Errorf("%s: %d bytes, which end in %q", test.name, len(text(c.Cmdline)), text(c.Cmdline)[4080:])
		}
		if got, cut := cgroup.ShortenCmdline(strings.ToValidUTF8(test.memory, "\ufffd\ufffd")); got != test.want || !cut {
			t.Errorf("%s: of a document: %d bytes, which end in %q", test.name, len(got), got[4080:])
		}
	}
}

// The module tells when it could not have a command line.
func TestCmdlineOfTheModule(t *testing.T) {
	tests := []struct {
		name, members string
		want          string
		truncated     bool
	}{
		{"null", `"cmdline":null,"cmdline_truncated":false`, "null", false},
		{"cut there", `"cmdline":"abc","cmdline_truncated":true`, "abc", true},
		{"whole", `"cmdline_truncated":false,"cmdline":"abc"`, "abc", false},
		{"an older module", `"cmdline":"abc"`, "abc", false},
		{"none", `"cmdline":"","cmdline_truncated":false`, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.write("document", strings.Replace(moduleDocument(5, 3e9), `"cmdline":"/web \"q\" \u0001"`, test.members, 1))
			s := tr.run("--source", filepath.Join(tr.dir, "document"), "--processes")
			if s.err != nil {
				t.Fatal(s.err)
			}
			a, p := s.containers[0], s.processes[1]
			if text(a.Cmdline) != test.want || a.CmdlineTruncated != test.truncated || text(p.Cmdline) != test.want || p.CmdlineTruncated != test.truncated {
				t.Errorf("got %s", s.stdout)
			}
		})
	}
}

// hang makes the process's command line one that is never to be had.
func (tr tree) hang(pid int) {
	tr.t.Helper()
	path := filepath.Join(tr.dir, fmt.Sprintf("proc/%d/cmdline", pid))
	if err := errors.Join(os.RemoveAll(path), syscall.Mkfifo(path, 0o600)); err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { // those who hang may go on
		if f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
}

// Who hangs in a container's command line is not waited for, and costs that container's alone.
func TestCmdlinesThatHang(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	const containers = 60
	hangs := func(n int) bool { return n%5 == 0 } // fewer than there are helpers
	for n := range containers {
		var pids []int
		for pid := 1000 + 10*n; pid < 1004+10*n; pid++ {
			pids = append(pids, pid)
			tr.process(pid, "web", "S", 1, pid, fmt.Sprintf("web\x00%d\x00", pid))
			if hangs(n) {
				tr.hang(pid)
			}
		}
		tr.v2("/docker/"+testID(n), pids...)
	}
	const budget = 2 * time.Second
	start := time.Now()
	s := captureWithin(t, budget, "--proc-root", filepath.Join(tr.dir, "proc"), "--source=cgroup", "--processes")
	if took := time.Since(start); took < budget || took > budget+20*time.Second {
		t.Errorf("took %v", took)
	}
	if s.err != nil || s.stderr != "" || len(s.containers) != containers || len(s.processes) != 4*containers {
		t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	for n, c := range s.containers {
		want := fmt.Sprintf("web %d", 1000+10*n)
		if hangs(n) {
			want = "null"
		}
		if text(c.Cmdline) != want || c.MemoryKB != 6000 || c.CPUNS != 3e9 || c.CPUPercent == nil {
			t.Errorf("container %d: want %s, got %s: %+v", n, want, text(c.Cmdline), c)
		}
	}
	for i, p := range s.processes {
		want := fmt.Sprintf("web %d", p.PID)
		if hangs(i / 4) {
			want = "null"
		}
		if text(p.Cmdline) != want || p.RSSKB == 0 {
			t.Errorf("process %d: want %s, got %s", p.PID, want, text(p.Cmdline))
		}
	}
}

// However many containers hang their readers, no more than so many hang.
func TestHelpersAreBounded(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	var all []cgroup.Container
	for pid := 100; pid < 150; pid++ {
		tr.process(pid, "web", "S", 1, 5, "")
		tr.hang(pid)
		all = append(all, cgroup.Container{Container: record.Container{PID: pid}})
	}
	tr.proc().ReadCmdlines(all, 300*time.Millisecond)
	hanging := 0
	for pid := 100; pid < 150; pid++ {
		// A pipe that somebody waits to read can be opened for writing.
		f, err := os.OpenFile(filepath.Join(tr.dir, fmt.Sprintf("proc/%d/cmdline", pid)), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			hanging++
			f.Close()
		}
	}
	if hanging != 16 {
		t.Errorf("%d hang", hanging)
	}
	for _, c := range all {
		if c.Cmdline != nil {
			t.Errorf("known: %+v", c)
		}
	}
}

// What only rates are taken from is measured without command lines and limits.
func TestBaseSample(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 10)
	tr.write("cg/docker/"+idA+"/memory.max", "8192000\n")
	tr.process(10, "web", "S", 1, 500, "web\x00")
	root := procfs(filepath.Join(tr.dir, "proc"))
	src, err := openSource(settings{proc: root, from: "cgroup", processes: true, span: time.Second, cmdlines: time.Minute}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	for _, whole := range []bool{false, true} {
		now, err := src.measure(whole)
		if err != nil || len(now.Containers) != 1 {
			t.Fatalf("%+v, %v", now, err)
		}
		c := now.Containers[0]
		if c.CPUNS != 3e9 || (c.Cmdline != nil) != whole || (c.Listed[0].Cmdline != nil) != whole || (c.MemoryLimitKB != nil) != whole {
			t.Errorf("%v: %+v", whole, c)
		}
	}
}

// Command lines that are held take no more room than a document may, and one container does not take the others'.
func TestRoomForCmdlines(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	process := func(pid int) cgroup.Process { return cgroup.Process{Process: record.Process{PID: pid}} }
	var greedy, modest cgroup.Container
	for pid := 100; pid < 300; pid++ {
		tr.process(pid, "web", "S", 1, 5, strings.Repeat("x", 5000))
		greedy.Add(process(pid), true)
	}
	tr.process(300, "web", "S", 1, 5, "modest\x00")
	modest.Add(process(300), true)
	all := []cgroup.Container{greedy, modest}
	tr.proc().ReadCmdlines(all, time.Minute)
	held := 0
	for _, p := range all[0].Listed {
		if p.Cmdline != nil {
			held += len(*p.Cmdline)
		}
	}
	if held == 0 || held > document.MaxLength/64 || all[0].Cmdline == nil {
		t.Errorf("%d bytes are held", held)
	}
	if all[1].Listed[0].Cmdline == nil || text(all[1].Cmdline) != "modest" {
		t.Errorf("got %+v", all[1])
	}
}
