package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/readsysinfo/cgroup"
)

func TestLayouts(t *testing.T) {
	tests := []struct {
		name   string
		source string
		build  func(tr tree)
	}{
		{"v2, cgroupfs driver", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
		}},
		{"v2, systemd driver", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/system.slice/docker-"+idA+".scope", 10)
			tr.v2("/system.slice/docker.service", 20)
			tr.v2("/init.scope", 20)
		}},
		{"v2, a parent of its own, deep", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/a.slice/a-b.slice/a-b-c.slice/docker-"+idA+".scope", 10)
		}},
		{"v1, cgroupfs driver", "cgroup1", func(tr tree) {
			tr.mount("cgroup", "cpuacct", "cpuacct")
			tr.mount("cgroup", "memory", "memory")
			tr.v1("memory", "cpuacct", "/docker/"+idA, 10)
		}},
		{"v1, co-mounted, hybrid, systemd driver", "cgroup1", func(tr tree) {
			tr.mount("cgroup2", "nsdelegate", "unified")
			tr.mount("cgroup", "xattr,name=systemd", "systemd")
			tr.mount("cgroup", "cpu,cpuacct", "cpu,cpuacct")
			tr.mount("cgroup", "memory", "odd place/memory")
			tr.v1("odd place/memory", "cpu,cpuacct", "/system.slice/docker-"+idA+".scope", 10)
		}},
		{"near misses", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			tr.v2("/machine.slice/libpod-conmon-"+idB+".scope", 20)
			tr.v2("/system.slice/cri-containerd-"+idB, 20)
			tr.v2("/docker/"+idB[1:], 20)
			tr.v2("/docker/"+strings.ToUpper(idB), 20)
			tr.v2("/docker/docker-"+idB, 20)
			tr.v2("/docker/"+idB+".scope", 20)
		}},
		{"v2, a part of it mounted first", "cgroup2", func(tr tree) {
			tr.mountPart("/docker", "cgroup2", "nsdelegate", "part")
			tr.write("part/cgroup.controllers", "memory\n")
			tr.write("part/"+idB+"/cgroup.procs", "20\n")
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
		}},
		{"v1, parts of it mounted first", "cgroup1", func(tr tree) {
			tr.mountPart("/docker/"+idB, "cgroup", "memory", "part")
			tr.mountPart("/docker/"+idB, "cgroup", "cpuacct", "part")
			tr.mount("cgroup", "cpuacct", "cpuacct")
			tr.mount("cgroup", "memory", "memory")
			tr.mountPart("/", "cgroup", "memory", "again")
			tr.v1("memory", "cpuacct", "/docker/"+idA, 10)
		}},
		{"v2, only a part of it mounted", "cgroup2", func(tr tree) {
			tr.mountPart("/machine", "cgroup2", "nsdelegate", "cg")
			tr.write("cg/cgroup.controllers", "memory\n")
			tr.mountPart("/machine/other", "cgroup2", "nsdelegate", "part")
			tr.v2("/docker/"+idA, 10)
		}},
		{"more processes than fit one read", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			var gone strings.Builder
			for pid := 100_000; gone.Len() < 100_000; pid++ {
				fmt.Fprintln(&gone, pid)
			}
			tr.write("cg/docker/"+idA+"/cgroup.procs", gone.String()+"10\n")
		}},
		{"stopped, and not yet removed", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			tr.v2("/docker/" + idB)
		}},
		{"only zombies", "cgroup2", func(tr tree) {
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			tr.v2("/docker/"+idB, 30)
			tr.process(30, "z", "Z", 1, 5, "")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.process(10, "web", "S", 1, 500, "/web\x00--port\x0080\x00")
			tr.process(20, "other", "S", 1, 400, "other\x00")
			test.build(tr)
			path := tr.state(test.source, 10, counters{Containers: map[string]counter{
				idA: {CPUNS: 1e9, PID: 10, StartNS: 5e9},
			}})
			s := tr.run("--state", path)
			if s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			if h := s.host; h.Source != test.source || h.BootID != "this-boot" || h.CPUs != 3 || h.TotalMemoryKB != 1000000 || h.UsedMemoryKB != 700000 ||
				h.FreeMemoryKB != 300000 || h.AvailableMemoryKB != 600000 || h.IntervalMS == nil || *h.IntervalMS < 10_000 {
				t.Errorf("host: %s", s.stdout)
			}
			if len(s.containers) != 1 {
				t.Fatalf("got %s", s.stdout)
			}
			c := s.containers[0]
			pageKB := uint64(os.Getpagesize() / 1024)
			if c.ID != idA || c.Engine != "docker" || c.PID != 10 || c.Process != "web" || text(c.Cmdline) != "/web --port 80" || c.CmdlineTruncated || c.Processes != 1 ||
				c.MemoryKB != 6000 || c.RSSKB != 100*pageKB || c.VSZKB != 2000 || c.MemoryPercent != 0.6 ||
				c.CPUNS != 3e9 || !near(c.CPUPercent, c.IntervalMS, 20) {
				t.Errorf("got %s", s.stdout)
			}
		})
	}
}

// Memory is counted as Docker's client counts it: where the file cache is not less than all that is in use, which a
// kernel that counts late can say, it is not taken off.
func TestMemory(t *testing.T) {
	tests := []struct{ usage, inactive, want uint64 }{
		{8192000, 2048000, 6000},
		{8192000, 0, 8000},
		{8192000, 8191999, 0},
		{8192000, 8192000, 8000},
		{8192000, 8192001, 8000},
		{8192000, 1 << 40, 8000},
		{0, 4096, 0},
		{0, 0, 0},
		{2047, 0, 1},
	}
	for _, test := range tests {
		for _, version := range []string{"v1", "v2"} {
			t.Run(fmt.Sprintf("%s, %d less %d", version, test.usage, test.inactive), func(t *testing.T) {
				t.Parallel()
				tr := newTree(t)
				tr.process(10, "web", "S", 1, 500, "web\x00")
				dir := "cg/docker/" + idA
				if version == "v2" {
					tr.cgroup2()
					tr.v2("/docker/"+idA, 10)
					tr.write(dir+"/memory.current", fmt.Sprintln(test.usage))
					tr.write(dir+"/memory.stat", fmt.Sprintf("inactive_file %d\n", test.inactive))
				} else {
					tr.mount("cgroup", "memory,cpuacct", "cg")
					tr.v1("cg", "cg", "/docker/"+idA, 10)
					tr.write(dir+"/memory.usage_in_bytes", fmt.Sprintln(test.usage))
					tr.write(dir+"/memory.stat", fmt.Sprintf("inactive_file 77\ntotal_inactive_file %d\n", test.inactive))
				}
				s := tr.run()
				if s.err != nil || len(s.containers) != 1 || s.containers[0].MemoryKB != test.want {
					t.Errorf("want %d kB, got %v: %s", test.want, s.err, s.stdout)
				}
			})
		}
	}
}

func TestContainerOfManyProcesses(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 13)
	tr.v2("/docker/"+idA+"/work", 12, 11, 14, 13)
	tr.v2("/docker/" + idA + "/work/docker")
	tr.v2("/docker/"+idA+"/work/docker/"+idB, 15)
	tr.process(11, "late", "S", 1, 900, "late\x00")
	tr.process(12, "first", "R", 4, 500, "first\x00")
	tr.process(13, "tie", "S", 1, 500, "tie\x00")
	tr.process(14, "dead", "Z", 1, 100, "")
	tr.process(15, "leader gone", "Z", 3, 600, "")
	s := tr.run("--processes", "--state", tr.state("cgroup2", 10, counters{
		Processes: map[int]counter{12: {CPUNS: 5e8, PID: 12, StartNS: 5e9}, 13: {PID: 13, StartNS: 1}},
	}))
	if s.err != nil || s.stderr != "" || len(s.containers) != 1 {
		t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	pageKB := uint64(os.Getpagesize() / 1024)
	if c := s.containers[0]; c.ID != idA || c.PID != 12 || c.Process != "first" || c.Processes != 4 ||
		c.RSSKB != 400*pageKB || c.VSZKB != 8000 || c.CPUPercent != nil {
		t.Errorf("got %s", s.stdout)
	}
	var names []string
	for _, p := range s.processes {
		if p.ID != idA || p.CPUNS == nil || *p.CPUNS != 15e8 || p.RSSKB != 100*pageKB || p.MemoryPercent != 0.04*float64(pageKB)/4 {
			t.Errorf("process %+v", p)
		}
		names = append(names, p.Name)
	}
	if got := strings.Join(names, ","); got != "late,first,tie,leader gone" {
		t.Errorf("processes %s", got)
	}
	if !near(s.processes[1].CPUPercent, s.host.IntervalMS, 10) || s.processes[2].CPUPercent != nil {
		t.Errorf("rates: %s", s.stdout)
	}
}

func TestNoContainers(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	s := tr.run()
	if s.err != nil || s.stderr != "" || s.host.Containers != 0 || s.host.Source != "cgroup2" {
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	if s.host.CPUPressurePercent != nil || !strings.Contains(s.stdout, `"io_pressure_percent":null`) {
		t.Errorf("pressure without PSI: %s", s.stdout)
	}
	tr.write("proc/pressure/memory", "some avg10=1.25 avg60=0.50 avg300=0.00 total=99\nfull avg10=0.75 avg60=0 avg300=0 total=1\n")
	if p := tr.run().host.MemoryPressurePercent; p == nil || *p != 1.25 {
		t.Errorf("memory pressure %v", p)
	}
}

func TestUnusableCgroups(t *testing.T) {
	tests := []struct {
		name, want string
		build      func(tr tree)
	}{
		{"none", "no cgroup hierarchy with the memory controller is mounted", func(tr tree) {}},
		{"v1 without cpuacct", "the cpuacct controller is not mounted", func(tr tree) {
			tr.mount("cgroup", "memory", "memory")
		}},
		{"v2 without memory", "no memory controller", func(tr tree) {
			tr.cgroup2()
			tr.write("cg/cgroup.controllers", "cpu pids\n")
		}},
		{"no meminfo", "meminfo: no such file", func(tr tree) {
			tr.cgroup2()
			os.Remove(filepath.Join(tr.dir, "proc/meminfo"))
		}},
		{"mount point gone", "no such file", func(tr tree) {
			tr.mount("cgroup", "memory", "memory")
			tr.mount("cgroup", "cpuacct", "cpuacct")
			os.Remove(filepath.Join(tr.dir, "memory"))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			test.build(tr)
			s := tr.run()
			if s.err == nil || !strings.Contains(s.err.Error(), test.want) || s.stdout != "" {
				t.Errorf("got %v and %q", s.err, s.stdout)
			}
		})
	}
}

// A container that cannot be measured is named, and the others are printed.
func TestContainerThatCannotBeMeasured(t *testing.T) {
	tests := []struct {
		name, want string
		spoil      func(tr tree)
	}{
		{"not a number", "memory.current: no number", func(tr tree) { tr.write("cg/docker/"+idB+"/memory.current", "max\n") }},
		{"no usage", "cpu.stat: no number usage_usec", func(tr tree) { tr.write("cg/docker/"+idB+"/cpu.stat", "user_usec 1\n") }},
		{"not pids", `cgroup.procs: not a process id: "ten"`, func(tr tree) { tr.write("cg/docker/"+idB+"/cgroup.procs", "10\nten\n") }},
		{"a process's time is no number", `proc/20/stat: field 14 is not a whole number: "x"`, func(tr tree) {
			tr.write("proc/20/stat", "20 (b) S 1 1 1 0 -1 4194304 98 0 0 0 x 50 7 7 20 0 1 0 500 2048000 100")
		}},
		{"process torn", "proc/20/stat: ends too early", func(tr tree) { tr.write("proc/20/stat", "20 (b) S 1 1") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.process(10, "a", "S", 1, 500, "a\x00")
			tr.process(20, "b", "S", 1, 500, "b\x00")
			tr.v2("/docker/"+idA, 10)
			tr.v2("/docker/"+idB, 20)
			test.spoil(tr)
			s := tr.run()
			if s.err == nil || !strings.Contains(s.stderr, "container "+idB) || !strings.Contains(s.stderr, test.want) ||
				strings.Count(s.stderr, "\n") != 1 {
				t.Errorf("%v: %s", s.err, s.stderr)
			}
			if len(s.containers) != 1 || s.containers[0].ID != idA {
				t.Errorf("got %s", s.stdout)
			}
		})
	}
}

// A cgroup of v2 without the controllers that count for an engine is none that an engine made: it is named, is no
// failure, and is not waited for.
func TestUncounted(t *testing.T) {
	for _, file := range []string{"memory.current", "memory.stat", "cpu.stat"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.process(10, "a", "S", 1, 500, "a\x00")
			tr.process(20, "b", "S", 1, 500, "b\x00")
			tr.v2("/docker/"+idA, 10)
			tr.v2("/user.slice/docker-"+idB+".scope", 20)
			os.Remove(filepath.Join(tr.dir, "cg/user.slice/docker-"+idB+".scope", file))
			began := time.Now()
			s := tr.run("--span", "100ms")
			if s.err != nil || !strings.Contains(s.stderr, "container "+idB+": passed over") || len(s.containers) != 1 || s.containers[0].ID != idA {
				t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			if took := time.Since(began); took > cgroup.Patience {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A container that starts comes into one hierarchy of v1 after the other, and is waited for, whatever needs its files.
func TestContainerThatStarts(t *testing.T) {
	for _, from := range []string{"cgroup", "module"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.mount("cgroup", "cpuacct", "cpuacct")
			tr.mount("cgroup", "memory", "memory")
			tr.process(10, "web", "S", 1, 500, "web\x00")
			tr.v1("memory", "elsewhere", "/docker/"+idA, 10)
			document := strings.Replace(moduleDocument(cgroup.Boottime(), 3e9), `"memory_kb":6000,"cpu_ns":3000000000`, `"memory_kb":null,"cpu_ns":null`, 1)
			tr.write("proc/sysinfo_winnow", document)
			stat := "memory/docker/" + idA + "/memory.stat"
			tr.pipe(stat, func() string { // it has been read when the CPU time is missed
				tr.pipe(stat, func() string {
					tr.v1("elsewhere", "cpuacct", "/docker/"+idA, 10)
					tr.replace(stat, "total_inactive_file 2048000\n")
					return "total_inactive_file 2048000\n"
				})
				return "total_inactive_file 2048000\n"
			})
			s := tr.run("--source", from)
			if c := find(s, idA); s.err != nil || s.stderr != "" || c == nil || c.CPUNS != 3e9 || c.MemoryKB != 6000 {
				t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
		})
	}
}

// A process that ends while its container is read is not one that is hidden.
func TestProcessThatEnds(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 20)
	tr.pipe("cg/docker/"+idA+"/cgroup.procs", func() string {
		tr.pipe("cg/docker/"+idA+"/cgroup.procs", func() string {
			return "21\n" // another has begun since, and has ended too
		})
		return "20\n"
	})
	proc := tr.proc()
	files, err := cgroup.Open(proc)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	c, running, err := files.Measure(cgroup.Cgroup{ID: idA, Path: "docker/" + idA}, cgroup.Container{}, cgroup.Options{})
	if running || c.Hidden || err != nil {
		t.Errorf("got %+v, %v, %v", c, running, err)
	}
}

// With hidepid the processes are counted, and nothing else is known of them.
func TestHiddenProcesses(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 31, 30)
	s := tr.run("--processes")
	if s.err != nil || !strings.Contains(s.stderr, "does not show the processes of containers (1 of 1)") {
		t.Errorf("%v: %s", s.err, s.stderr)
	}
	if len(s.containers) != 1 || s.containers[0].PID != 30 || s.containers[0].Processes != 2 ||
		s.containers[0].MemoryKB != 6000 || s.containers[0].CPUPercent == nil {
		t.Errorf("got %s", s.stdout)
	}
}

// Each engine's containers are told apart by their cgroups, from the files and from a document alike.
func TestEngines(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	names := map[string]string{
		"docker":     "/system.slice/docker-%s.scope",
		"podman":     "/machine.slice/libpod-%s.scope",
		"containerd": "/kubepods/pod1/%s",
		"crio":       "/kubepods.slice/crio-%s.scope",
	}
	want := make(map[string]string)
	document := `{"format":1,"boottime_ns":5,"total_memory_kb":5,"containers":[`
	for engine, name := range names {
		id, pid := testID(len(want)), 100+len(want)
		want[id] = engine
		tr.v2(fmt.Sprintf(name, id), pid)
		tr.process(pid, "a", "S", 1, 5, "a\x00")
		document += fmt.Sprintf(`{"engine":%q,"id":%q,"memory_kb":1,"cpu_ns":1,"process_count":1,"processes":[]},`, engine, id)
	}
	tr.v2("/machine.slice/libpod-conmon-"+idB+".scope", 100)
	tr.write("document", strings.TrimSuffix(document, ",")+"]}")
	for _, source := range []string{"cgroup", filepath.Join(tr.dir, "document")} {
		s := tr.run("--source", source)
		if s.err != nil || len(s.containers) != len(names) {
			t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
		}
		for _, c := range s.containers {
			if c.Engine != want[c.ID] {
				t.Errorf("%s: %s is not of %q", source, c.ID, c.Engine)
			}
		}
	}
}
