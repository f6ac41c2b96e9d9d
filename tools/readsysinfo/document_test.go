package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/readsysinfo/cgroup"
)

// moduleDocument is as the kernel module prints it on cgroup v2.
func moduleDocument(boottimeNS int64, cpuNS uint64) string {
	return fmt.Sprintf(`{"format":1,"cgroup":2,"boottime_ns":%d,"total_memory_kb":1000000,"free_memory_kb":300000,`+
		`"used_memory_kb":700000,"available_memory_kb":600000,"unknown":[{"a":null}],"containers":[`+
		`{"id":"`+idB+`","memory_kb":0,"cpu_ns":0,"process_count":1,"rss_kb":1,"vsz_kb":2,"processes":[`+
		`{"pid":30,"start_ns":1,"name":"b","state":"R","cmdline":"b","vsz_kb":2,"rss_kb":1,"memory_percent":0.00,"cpu_ns":0}]},`+
		`{"id":"`+idA+`","memory_kb":6000,"cpu_ns":%d,"process_count":2,"rss_kb":500,"vsz_kb":4000,"processes":[`+
		`{"pid":20,"start_ns":9000000000,"name":"late","state":"S","cmdline":"late","vsz_kb":2000,"rss_kb":100,"memory_percent":0.01,"cpu_ns":7},`+
		`{"pid":10,"start_ns":5000000000,"name":"we\"b\u00e9","state":"S","cmdline":"/web \"q\" \u0001","vsz_kb":2000,"rss_kb":400,"memory_percent":0.04,"cpu_ns":1000000000}]}]}`+"\n",
		boottimeNS, cpuNS)
}

func TestModule(t *testing.T) {
	for _, from := range []string{"auto", "module"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			kept := tr.state("module", 10, counters{
				Containers: map[string]counter{idA: {CPUNS: 1e9, PID: 10, StartNS: 5e9}},
				Processes:  map[int]counter{10: {CPUNS: 0, PID: 10, StartNS: 5e9}},
			})
			tr.write("proc/sysinfo_winnow", moduleDocument(cgroup.Boottime(), 3e9))
			s := tr.run("--source", from, "--processes", "--state", kept)
			if s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			if h := s.host; h.Source != "module" || h.CPUs != 3 || h.UsedMemoryKB != 700000 || h.AvailableMemoryKB != 600000 || *h.IntervalMS < 10_000 {
				t.Errorf("host: %s", s.stdout)
			}
			a := s.containers[0]
			if a.ID != idA || a.PID != 10 || a.Process != "we\"bé" || a.Engine != "docker" || text(a.Cmdline) != "/web \"q\" \x01" || a.Processes != 2 || a.MemoryKB != 6000 ||
				a.RSSKB != 500 || a.VSZKB != 4000 || a.MemoryPercent != 0.6 || a.CPUNS != 3e9 || !near(a.CPUPercent, a.IntervalMS, 20) {
				t.Errorf("got %s", s.stdout)
			}
			if b := s.containers[1]; b.ID != idB || b.MemoryKB != 0 || b.CPUPercent != nil {
				t.Errorf("got %s", s.stdout)
			}
			if p := s.processes; len(p) != 3 || p[0].PID != 20 || p[1].MemoryPercent != 0.04 || !near(p[1].CPUPercent, a.IntervalMS, 10) || p[2].ID != idB {
				t.Errorf("processes: %s", s.stdout)
			}
		})
	}
}

// The module's file is made anew at each read, so it is worth waiting for.
func TestModuleIsWaitedFor(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.write("proc/sysinfo_winnow", moduleDocument(cgroup.Boottime(), 3e9))
	start := cgroup.Boottime()
	s := tr.run("--span", "10.3s", "--state", tr.keep(state{"this-boot", "module", []counters{{AtNS: start - 10e9}}}))
	if took := cgroup.Boottime() - start; s.err != nil || took < 300e6 || took > 10e9 {
		t.Errorf("took %d ms, %v", took/1e6, s.err)
	}
}

func TestModuleIsNotThere(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	if s := tr.run("--source=module"); s.err == nil || !strings.Contains(s.err.Error(), "is the kernel module loaded?") || s.stdout != "" {
		t.Errorf("got %v, %s", s.err, s.stdout)
	}
	// One that cannot be read: a loop of links stands for it, root reads all else.
	if err := os.Symlink("sysinfo_winnow", filepath.Join(tr.dir, "proc/sysinfo_winnow")); err != nil {
		t.Fatal(err)
	}
	s := tr.run("--source=auto")
	if s.err != nil || s.host.Source != "cgroup2" || !strings.Contains(s.stderr, "reading the cgroup files instead") {
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
}

// On cgroup v1 the module leaves memory and CPU time to the cgroup files.
func TestModuleOnCgroup1(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.mount("cgroup", "cpuacct", "cpuacct")
	tr.mount("cgroup", "memory", "memory")
	tr.v1("memory", "cpuacct", "/docker/"+idA, 10)
	tr.process(10, "web", "S", 1, 500, "web\x00")
	document := strings.Replace(moduleDocument(cgroup.Boottime(), 3e9), `"memory_kb":6000,"cpu_ns":3000000000`, `"memory_kb":null,"cpu_ns":null`, 1)
	document = strings.Replace(document, `"memory_kb":0,"cpu_ns":0`, `"memory_kb":null,"cpu_ns":null`, 1)
	tr.write("proc/sysinfo_winnow", document)
	s := tr.run("--state", tr.state("module", 10, counters{Containers: map[string]counter{idA: {CPUNS: 1e9, PID: 10, StartNS: 5e9}}}))
	if s.err != nil || s.stderr != "" || len(s.containers) != 1 { // idB has gone
		t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	if c := s.containers[0]; c.ID != idA || c.MemoryKB != 6000 || c.CPUNS != 3e9 || !near(c.CPUPercent, c.IntervalMS, 20) || c.RSSKB != 500 {
		t.Errorf("got %s", s.stdout)
	}
}

// What the module tells of a container alone is printed as it stands, and its rate is over the time between its own two
// readings.
func TestModuleFigures(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	now := cgroup.Boottime()
	document := func(beganNS, atNS int64, cpuNS uint64) string {
		return strings.Replace(moduleDocument(beganNS, cpuNS), `"memory_kb":6000`,
			fmt.Sprintf(`"engine":"podman","cgroup_id":7,"at_ns":%d,"memory_limit_kb":131072,"cpu_limit_percent":50.00,"memory_kb":6000`, atNS), 1)
	}
	// Both are stalled, by another time: CPU time was used steadily at 50 %.
	tr.write("document", strings.Replace(document(now-25e9, now-20e9, 10e9), `"cpu_ns":1000000000}`, `"cpu_ns":0}`, 1))
	args := []string{"--source", filepath.Join(tr.dir, "document"), "--processes", "--state", filepath.Join(tr.dir, "kept")}
	if s := tr.run(args...); s.err != nil {
		t.Fatal(s.err)
	}
	tr.write("document", strings.Replace(document(now-15e9, now-5e9, 17.5e9), `"cpu_ns":1000000000}`, `"cpu_ns":null}`, 1))
	s := tr.run(args...)
	if s.err != nil || s.stderr != "" {
		t.Fatalf("%v: %s", s.err, s.stderr)
	}
	a, b, p := s.containers[0], s.containers[1], s.processes[1]
	if *a.CPUPercent != 50 || *a.IntervalMS != 15_000 || *a.AtNS != now-5e9 || a.Engine != "podman" || *a.MemoryLimitKB != 131072 || *a.CPULimitPercent != 50 {
		t.Errorf("got %s", s.stdout)
	}
	if *b.AtNS != now-15e9 || b.Engine != "docker" || b.MemoryLimitKB != nil || b.CPULimitPercent != nil {
		t.Errorf("of an older module: %s", s.stdout)
	}
	if p.PID != 10 || p.CPUNS != nil || p.CPUPercent != nil || s.processes[0].CPUNS == nil {
		t.Errorf("processes: %s", s.stdout)
	}
	st, err := readState(filepath.Join(tr.dir, "kept"))
	if err != nil || len(st.Samples) != 2 {
		t.Fatalf("kept %+v, %v", st, err)
	}
	if _, kept := st.Samples[1].Processes[10]; kept {
		t.Errorf("kept %+v", st.Samples[1])
	}
}

// The document that is kept beside the module as an example is taken whole.
func TestExample(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	s := tr.run("--source", "../../kernel/testdata/sysinfo.json", "--processes")
	if s.err != nil || s.stderr != "" || len(s.containers) != 3 || len(s.processes) != 4 {
		t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	for _, c := range s.containers {
		if c.Engine != "docker" || c.Cmdline == nil || c.AtNS == nil || *c.AtNS < 128351319585 || (c.MemoryLimitKB == nil) != (c.CPULimitPercent == nil) {
			t.Errorf("got %+v", c)
		}
	}
}

// What the module leaves out of a single container is in the container's own files, on v2 too, and one that has none
// there costs itself alone.
func TestModuleLeavesToTheFiles(t *testing.T) {
	tests := []struct{ name, figures string }{
		{"both", `"at_ns":3,"memory_kb":null,"memory_limit_kb":9000,"cpu_ns":null,"cpu_limit_percent":null`},
		{"memory", `"at_ns":3,"memory_kb":null,"memory_limit_kb":9000,"cpu_ns":3000000000,"cpu_limit_percent":25.00`},
		{"CPU time", `"at_ns":3,"memory_kb":6000,"memory_limit_kb":9000,"cpu_ns":null,"cpu_limit_percent":null`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			tr.v2("/user.slice/"+idA, 10)
			tr.v2("/docker/"+idC, 11)
			os.Remove(filepath.Join(tr.dir, "cg/docker", idC, "memory.current"))
			tr.write("cg/docker/"+idA+"/cpu.max", "25000 100000\n")
			start := cgroup.Boottime()
			document := strings.Replace(moduleDocument(start, 3e9), `"memory_kb":6000,"cpu_ns":3000000000`, test.figures, 1)
			document = strings.Replace(document, `"containers":[`, `"containers":[{"id":"`+idC+`","memory_kb":null,"cpu_ns":null,"process_count":1,"processes":[{"pid":11}]},`, 1)
			tr.write("document", document)
			s := tr.run("--source", filepath.Join(tr.dir, "document"))
			a := find(s, idA)
			if s.err != nil || !strings.Contains(s.stderr, "container "+idC+": passed over") || find(s, idC) != nil || find(s, idB) == nil || a == nil {
				t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			if a.MemoryKB != 6000 || a.CPUNS != 3e9 || *a.MemoryLimitKB != 9000 || a.CPULimitPercent == nil || *a.CPULimitPercent != 25 {
				t.Errorf("got %s", s.stdout)
			}
			if fromFiles := *a.AtNS >= start; fromFiles != strings.Contains(test.figures, `"cpu_ns":null`) {
				t.Errorf("at_ns: %s", s.stdout)
			}
		})
	}
}

// A file is sampled once: its rates come from the state or are null.
func TestFile(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	now := cgroup.Boottime()
	tr.write("document", moduleDocument(now-15e9, 3e9))
	path := filepath.Join(tr.dir, "document")
	args := []string{"--source", path, "--state", filepath.Join(tr.dir, "kept")}
	for range 2 { // the second time it is the same sample, over no time
		s := tr.run(args...)
		if s.err != nil || s.stderr != "" || s.host.Source != "file" || s.host.IntervalMS != nil || s.containers[0].CPUPercent != nil {
			t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
		}
	}
	tr.write("document", moduleDocument(now-5e9, 8e9))
	if s := tr.run(args...); *s.host.IntervalMS != 10_000 || *s.containers[0].CPUPercent != 50 || *s.containers[0].IntervalMS != 10_000 {
		t.Errorf("got %s", s.stdout)
	}
}

const shimID = "eb6abad8623bcc65c361059d0338589cce5fe432d9951742525d1e1fe3f5089c"

// The document that a course project's module prints, as published.
func TestShims(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+shimID, 10)
	tr.process(10, "web", "S", 1, 500, "web\x00")
	published, err := os.ReadFile("testdata/shims.json")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--source", filepath.Join(tr.dir, "document"), "--state", filepath.Join(tr.dir, "kept")}
	for _, after := range []string{"", "\n\n", "\x00\x00", " ```\nthe end"} {
		tr.write("document", string(published)+after)
		s := tr.run(args...)
		if s.err != nil || s.stderr != "" || len(s.containers) != 4 {
			t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
		}
		if h := s.host; h.Source != "file" || h.TotalMemoryKB != 7934100 || h.UsedMemoryKB != 7613060 || h.AvailableMemoryKB != 321040 {
			t.Errorf("host: %s", s.stdout)
		}
		lost := s.containers[0] // has no cgroup here: the shim's figures
		if !strings.HasPrefix(lost.ID, "163787") || lost.PID != 35826 || lost.Process != "containerd-shim" || lost.Processes != 1 ||
			lost.MemoryKB != 13820 || lost.RSSKB != 13820 || lost.VSZKB != 1238168 || lost.CPUNS != 2e6 || lost.CPUPercent != nil {
			t.Errorf("got %+v", lost)
		}
		here := s.containers[3]
		if here.ID != shimID || here.PID != 4841 || here.MemoryKB != 6000 || here.RSSKB != 13468 || here.CPUNS != 3e9 ||
			!strings.HasSuffix(text(here.Cmdline), "containerd.sock") {
			t.Errorf("got %+v", here)
		}
	}
	st, err := readState(filepath.Join(tr.dir, "kept"))
	if err != nil || len(st.Samples) == 0 || len(st.Samples[0].Containers) != 1 {
		t.Fatalf("kept %+v, %v", st, err)
	}
	earlier := st.Samples[0].at(cgroup.Boottime() - 10e9)
	c := earlier.Containers[shimID]
	c.CPUNS = 1e9
	earlier.Containers[shimID] = c
	st.Samples = []counters{earlier}
	if err := st.write(filepath.Join(tr.dir, "kept")); err != nil {
		t.Fatal(err)
	}
	if s := tr.run(args...); !near(s.containers[3].CPUPercent, s.containers[3].IntervalMS, 20) || s.containers[0].CPUPercent != nil {
		t.Errorf("rates: %s", s.stdout)
	}
}

func TestBadDocuments(t *testing.T) {
	good := moduleDocument(5, 3e9)
	tests := []struct{ name, text, want string }{
		{"empty", "", "byte 0: not JSON, cut short"},
		{"garbage", "\x01\x02", "byte 0: not JSON"},
		{"not JSON", "{a}", "byte 1: not JSON"},
		{"an array", "[]", "not an object: []"},
		{"an empty object", "{}", "has no total_memory_kb"},
		{"another's", `{"total_memory_kb":5,"free_memory_kb":1}`, "has neither"},
		{"more free than there is", `{"total_memory_kb":5,"free_memory_kb":6}`, "has no total_memory_kb"},
		{"a later format", strings.Replace(good, `"format":1`, `"format":2`, 1), "not of the format 1"},
		{"no format", strings.Replace(good, `"format":1,`, ``, 1), "not of the format 1"},
		{"goes on", good + "{}", "goes on"},
		{"deep", `{"a":` + strings.Repeat("[", 1<<20), "nested deeper than 64"},
		{"deep, and whole", `{"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + "}", "nested deeper than 64"},
		{"text for a number", strings.Replace(good, `"total_memory_kb":1000000`, `"total_memory_kb":"1000000"`, 1), `total_memory_kb: not a whole number: "1000000"`},
		{"null for a number", strings.Replace(good, `"total_memory_kb":1000000`, `"total_memory_kb":null`, 1), `total_memory_kb: not a whole number: null`},
		{"negative", strings.Replace(good, `"pid":10`, `"pid":-10`, 1), "containers: processes: pid: not a whole number: -10"},
		{"too large", strings.Replace(good, `"pid":10`, `"pid":9223372036854775808`, 1), "pid: not a whole number: 9223372036854775808"},
		{"broken number", strings.Replace(good, `"rss_kb":500`, `"rss_kb":500.5`, 1), "containers: rss_kb: not a whole number: 500.5"},
		{"not an id", strings.Replace(good, idA, "../../etc", 1), `containers: id: not a container's id: "../../etc"`},
		{"no id", strings.Replace(good, `"id":"`+idA+`",`, "", 1), "containers: not a container with an id: {"},
		{"containers no list", `{"format":1,"total_memory_kb":5,"containers":{}}`, "containers: not a list: {}"},
		{"a container that is none", `{"format":1,"total_memory_kb":5,"containers":[7]}`, "containers: not an object: 7"},
		{"a name that is none", strings.Replace(good, `"name":"b"`, `"name":7`, 1), "containers: processes: name: not a string: 7"},
		{"a comma too many", strings.Replace(good, `"cpu_ns":0}]`, `"cpu_ns":0},]`, 1), "byte 446: not JSON"},
		{"no comma", strings.Replace(good, `"rss_kb":1,`, `"rss_kb":1`, 1), "byte 305: not JSON"},
		{"no colon", strings.Replace(good, `"rss_kb":1,`, `"rss_kb" 1,`, 1), "byte 304: not JSON"},
		{"a shim's bad pid", `{"total_memory_kb":5,"processes":[{"pid":"x"}]}`, `processes: pid: not a whole number: "x"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := newTree(t)
			tr.write("document", test.text)
			s := tr.run("--source", filepath.Join(tr.dir, "document"))
			if s.err == nil || !strings.Contains(s.err.Error(), test.want) || s.stdout != "" {
				t.Errorf("got %v and %q", s.err, s.stdout)
			}
		})
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	tr := newTree(t)
	huge := filepath.Join(tr.dir, "huge")
	tr.write("huge", "")
	if err := os.Truncate(huge, 100<<20); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{"/dev/zero": "longer than", huge: "longer than", tr.dir: "is a directory", tr.dir + "/none": "no such file"}
	for path, want := range tests {
		if s := tr.run("--source", path); s.err == nil || !strings.Contains(s.err.Error(), want) || s.stdout != "" {
			t.Errorf("%s: got %v and %q", path, s.err, s.stdout)
		}
	}
}
