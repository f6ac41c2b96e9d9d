package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/readsysinfo/cgroup"
)

// A container's own limits, as each version of the files tells them; null is none, and so is what lacks its controller.
func TestLimits(t *testing.T) {
	const none = -1
	tests := []struct {
		name   string
		v2     bool
		files  map[string]string // of the cgroup, by hierarchy on v1
		memory int64             // kB
		cpu    float64
	}{
		{"v2, both", true, map[string]string{"memory.max": "134217728\n", "cpu.max": "50000 100000\n"}, 131072, 50},
		{"v2, none", true, map[string]string{"memory.max": "max\n", "cpu.max": "max 100000\n"}, none, none},
		{"v2, no controllers", true, nil, none, none},
		{"v2, many cores, another period", true, map[string]string{"memory.max": "1023\n", "cpu.max": "33333 10000\n"}, 0, 333.33},
		{"v2, no period", true, map[string]string{"memory.max": "", "cpu.max": "33333 0\n"}, none, none},
		{"v1, both", false, map[string]string{
			"memory/memory.limit_in_bytes": "134217728\n",
			"cpu/cpu.cfs_quota_us":         "20000\n", "cpu/cpu.cfs_period_us": "100000\n",
		}, 131072, 20},
		{"v1, none", false, map[string]string{
			"memory/memory.limit_in_bytes": "9223372036854771712\n",
			"cpu/cpu.cfs_quota_us":         "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
		}, none, none},
		{"v1, the most", false, map[string]string{"memory/memory.limit_in_bytes": "4611686018427387903\n"}, 1<<52 - 1, none},
		{"v1, more than the most", false, map[string]string{"memory/memory.limit_in_bytes": "4611686018427387904\n"}, none, none},
		{"v1, no CPU controller", false, map[string]string{"memory/memory.limit_in_bytes": "8192\n"}, 8, none},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.process(10, "web", "S", 1, 500, "web\x00")
			if test.v2 {
				tr.cgroup2()
				tr.v2("/docker/"+idA, 10)
				for file, text := range test.files {
					tr.write("cg/docker/"+idA+"/"+file, text)
				}
			} else {
				tr.mount("cgroup", "cpuacct", "cpuacct")
				tr.mount("cgroup", "memory", "memory")
				tr.mount("cgroup", "cpu", "cpu")
				tr.v1("memory", "cpuacct", "/docker/"+idA, 10)
				for file, text := range test.files {
					hierarchy, file := filepath.Split(file)
					tr.write(hierarchy+"docker/"+idA+"/"+file, text)
				}
			}
			start := cgroup.Boottime()
			s := tr.run()
			if s.err != nil || s.stderr != "" || len(s.containers) != 1 {
				t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			c := s.containers[0]
			if (c.MemoryLimitKB == nil) != (test.memory == none) || c.MemoryLimitKB != nil && *c.MemoryLimitKB != uint64(test.memory) ||
				(c.CPULimitPercent == nil) != (test.cpu == none) || c.CPULimitPercent != nil && *c.CPULimitPercent != test.cpu {
				t.Errorf("got %s", s.stdout)
			}
			if c.AtNS == nil || *c.AtNS < start || *c.AtNS > cgroup.Boottime() {
				t.Errorf("at_ns: %s", s.stdout)
			}
		})
	}
}

// With a relative --cgroup-parent a container of v1 has a path of its own in each hierarchy, which its first process
// tells.
func TestOwnPaths(t *testing.T) {
	tests := []struct {
		name, told string // /proc/PID/cgroup; %s is the id
		want       bool
	}{
		{"each another", "4:memory:/session/a/lab/%s\n3:cpuacct:/b/lab/%[1]s\n2:cpu:/c/lab/%[1]s\n0::/\n", true},
		{"mounted together", "4:memory:/session/a/lab/%s\n3:x,cpu,cpuacct:/both/lab/%[1]s\n", true},
		{"in a cgroup of its own", "4:memory:/session/a/lab/%s/x\n3:cpuacct:/b/lab/%[1]s/x/y\n2:cpu:/c/lab/%[1]s/z\n", true},
		{"Docker in it", "3:cpuacct:/b/lab/%s/docker/" + idB + "\n2:cpu:/c/lab/%[1]s\n", true},
		{"not there yet", "3:cpuacct:/docker\n2:cpu:/docker\n", false},
		{"in another's", "3:cpuacct:/b/lab/" + idB + "/docker/%s\n2:cpu:/c/lab/" + idB + "\n", false},
		{"another controller", "3:cpuset:/b/lab/%s\n", false},
		{"nothing told", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.mount("cgroup", "cpuacct", "cpuacct")
			tr.mount("cgroup", "memory", "memory")
			tr.mount("cgroup", "cpu", "cpu")
			tr.v1("memory", "elsewhere", "/session/a/lab/"+idA, 10)
			for i, path := range []string{"/b/lab/" + idA, "/both/lab/" + idA} {
				tr.write("cpuacct"+path+"/cpuacct.usage", "3000000000\n")
				tr.write("cpu/"+[]string{"c", "both"}[i]+"/lab/"+idA+"/cpu.cfs_quota_us", "50000\n")
				tr.write("cpu/"+[]string{"c", "both"}[i]+"/lab/"+idA+"/cpu.cfs_period_us", "100000\n")
			}
			tr.write("cpuacct/b/lab/"+idB+"/cpuacct.usage", "77\n")
			tr.process(10, "web", "S", 1, 500, "web\x00")
			tr.write("proc/10/cgroup", fmt.Sprintf(test.told+"%.0[1]s", idA))
			document := strings.Replace(moduleDocument(cgroup.Boottime(), 3e9), `"memory_kb":6000,"cpu_ns":3000000000`, `"memory_kb":6000,"cpu_ns":null`, 1)
			tr.write("proc/sysinfo_winnow", document)
			for _, source := range []string{"cgroup", "module"} {
				s := tr.run("--source", source)
				c := find(s, idA)
				if !test.want {
					if s.err == nil || c != nil || !strings.Contains(s.stderr, "container "+idA) {
						t.Errorf("%s: %v: %s%s", source, s.err, s.stderr, s.stdout)
					}
					continue
				}
				if s.err != nil || s.stderr != "" || c == nil {
					t.Fatalf("%s: %v: %s%s", source, s.err, s.stderr, s.stdout)
				}
				if c.CPUNS != 3e9 || c.MemoryKB != 6000 || c.CPULimitPercent == nil || *c.CPULimitPercent != 50 {
					t.Errorf("%s: got %s", source, s.stdout)
				}
			}
		})
	}
}

// The same in the host's real hierarchies.
func TestOwnPathsForReal(t *testing.T) {
	g := newGround(t)
	if g.memory == g.cpu || !g.v1 {
		t.Skip("skipped: has one hierarchy")
	}
	cmd := sleeper("moved")
	g.start("/"+testID(1), cmd)
	for _, dir := range []string{"/lab", "/lab/" + testID(1)} {
		path := g.cpu + g.parent + dir
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove(path) }) // after its process has ended
	}
	t.Cleanup(func() { end(cmd) })
	if err := os.WriteFile(g.cpu+g.parent+"/lab/"+testID(1)+"/cgroup.procs", []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(g.cpu + g.parent + "/" + testID(1)); err != nil {
		t.Fatal(err)
	}
	s := capture(t, "--source=cgroup", "--span=300ms")            // its counters are read up to a patience apart
	if c := find(s, testID(1)); c == nil || c.CPUPercent == nil { // a sleeper may have used none since it moved
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	if err := os.Mkdir(g.cpu+g.parent+"/"+testID(1), 0o755); err != nil {
		t.Fatal(err) // for who removes it
	}
}

// crun, which Podman runs containers with, sets the limits below the cgroup that has the id. Both sources tell them; of
// another engine's container such a cgroup is its own affair.
func TestLimitsOfCrun(t *testing.T) {
	for name, test := range map[string]struct {
		path, below string
		own         string // memory.max of the cgroup with the id
		want        uint64 // kB
	}{
		"Podman":                {"/machine.slice/libpod-" + idA + ".scope", "container", "max\n", 102400},
		"Podman, by its scope":  {"/machine.slice/libpod-" + idA + ".scope", "container", "8192\n", 8},
		"Podman without a crun": {"/machine.slice/libpod-" + idA + ".scope", "init.scope", "max\n", 0},
		"Docker":                {"/docker/" + idA, "container", "max\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.process(10, "web", "S", 1, 500, "web\x00")
			tr.cgroup2()
			tr.v2(test.path, 10)
			tr.write("cg"+test.path+"/memory.max", test.own)
			tr.write("cg"+test.path+"/cpu.max", "max 100000\n")
			tr.write("cg"+test.path+"/"+test.below+"/memory.max", "104857600\n")
			tr.write("cg"+test.path+"/"+test.below+"/cpu.max", "50000 100000\n")
			engine := strings.ToLower(strings.Fields(name)[0])
			engine = strings.TrimSuffix(engine, ",")
			limit := "null"
			if test.own != "max\n" {
				limit = "8"
			}
			tr.write("proc/sysinfo_winnow", strings.Replace(moduleDocument(cgroup.Boottime(), 3e9), `"memory_kb":6000`,
				fmt.Sprintf(`"engine":%q,"memory_limit_kb":%s,"cpu_limit_percent":null,"memory_kb":6000`, engine, limit), 1))
			for _, source := range []string{"cgroup", "module"} {
				s := tr.run("--source", source)
				c := find(s, idA)
				if s.err != nil || c == nil {
					t.Fatalf("%s: %v: %s%s", source, s.err, s.stderr, s.stdout)
				}
				if (c.MemoryLimitKB == nil) != (test.want == 0) || c.MemoryLimitKB != nil && *c.MemoryLimitKB != test.want || (c.CPULimitPercent != nil) != (engine == "podman" && test.below == ofCrun) {
					t.Errorf("%s: got %s", source, s.stdout)
				}
				if source == "module" && (c.MemoryKB != 6000 || c.CPUNS != 3e9) {
					t.Errorf("the module's figures are %s", s.stdout)
				}
			}
		})
	}
}

const ofCrun = "container"
