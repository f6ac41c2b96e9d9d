package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// cgroups is the host's cgroup files: where they are and how their version
// calls them.
type cgroups struct {
	proc   procfs
	source string // as in record.Host

	memoryRoot, cpuRoot string // mount points; one and the same on v2
	usageFile, statFile string // memory in use, and what it is made of
	inactiveKey         string // of the file cache in statFile that is not in use
	cpuFile, cpuKey     string // cpuKey is "" where the file is one number
	cpuUnitNS           uint64
}

// findCgroups looks up the mounted hierarchies. Where v1 has the memory
// controller, v2 does not have it, whatever else it has.
func findCgroups(proc procfs) (*cgroups, error) {
	mounts, err := proc.mounts(&reader{})
	if err != nil {
		return nil, err
	}
	memory := hierarchy(mounts, "cgroup", "memory")
	if memory == "" {
		return findCgroup2(proc, mounts)
	}
	cpu := hierarchy(mounts, "cgroup", "cpuacct")
	if cpu == "" {
		return nil, errors.New("cgroup v1 has the memory controller, but the cpuacct controller is not mounted")
	}
	return &cgroups{
		proc: proc, source: record.SourceCgroup1, memoryRoot: memory, cpuRoot: cpu,
		usageFile: "/memory.usage_in_bytes", statFile: "/memory.stat", inactiveKey: "total_inactive_file ",
		cpuFile: "/cpuacct.usage", cpuUnitNS: 1,
	}, nil
}

func findCgroup2(proc procfs, mounts []mount) (*cgroups, error) {
	root := hierarchy(mounts, "cgroup2", "")
	if root == "" {
		return nil, errors.New("no cgroup hierarchy with the memory controller is mounted")
	}
	controllers, err := os.ReadFile(root + "/cgroup.controllers")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		return nil, fmt.Errorf("%s: the memory controller is missing: it may be switched off on the kernel's command line", root)
	}
	return &cgroups{
		proc: proc, source: record.SourceCgroup2, memoryRoot: root, cpuRoot: root,
		usageFile: "/memory.current", statFile: "/memory.stat", inactiveKey: "inactive_file ",
		cpuFile: "/cpu.stat", cpuKey: "usage_usec ", cpuUnitNS: 1000,
	}, nil
}

// hierarchy is the mount point of a cgroup hierarchy, with the controller if
// one is named; a mount of all of it goes before a mount of a part.
func hierarchy(mounts []mount, kind, controller string) string {
	found := ""
	for _, m := range mounts {
		if m.kind != kind || controller != "" && !slices.Contains(strings.Split(m.options, ","), controller) {
			continue
		}
		if m.root == "/" {
			return m.point
		}
		if found == "" {
			found = m.point
		}
	}
	return found
}

// cgroup is a container's: path is below the hierarchies' mount points.
type cgroup struct{ id, path string }

// containerID takes the id from the name that one of Docker's drivers gave a
// container's cgroup: the id for cgroupfs, docker-<id>.scope for systemd.
func containerID(name string) (string, bool) {
	if scope, ok := strings.CutSuffix(name, ".scope"); ok {
		if name, ok = strings.CutPrefix(scope, "docker-"); !ok {
			return "", false
		}
	}
	return name, isID(name)
}

func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// find lists the cgroups that are named as containers', by id. What lies in
// one of them belongs to it.
func (g *cgroups) find() ([]cgroup, error) {
	var found []cgroup
	var walk func(path string) error
	walk = func(path string) error {
		names, err := children(g.memoryRoot + path)
		for _, name := range names {
			below := path + "/" + name
			if id, ok := containerID(name); ok {
				found = append(found, cgroup{id, below})
			} else if err := walk(below); err != nil {
				return err
			}
		}
		if gone(err) && path != "" || errors.Is(err, unix.ENAMETOOLONG) {
			return nil // nested beyond what Docker can reach either
		}
		return err
	}
	err := walk("")
	slices.SortFunc(found, func(a, b cgroup) int { return strings.Compare(a.id, b.id) })
	return found, err
}

// children names the cgroups right below a directory. Most have none, which
// their link count tells without reading them.
func children(dir string) ([]string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if stat.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// take measures all running containers, and keeps the processes of each where
// that is asked. Why one could not be measured is in failed.
func (g *cgroups) take(processes bool) (running []container, failed []error, err error) {
	found, err := g.find()
	if err != nil {
		return nil, nil, err
	}
	type result struct {
		container
		running bool
		err     error
	}
	results := make([]result, len(found))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		workers.Go(func() {
			var r reader
			for i := next.Add(1) - 1; i < int64(len(found)); i = next.Add(1) - 1 {
				res := &results[i]
				res.container, res.running, res.err = g.measure(&r, found[i], processes)
			}
		})
	}
	workers.Wait()

	for i := range results {
		switch res := &results[i]; {
		case res.err != nil:
			failed = append(failed, fmt.Errorf("container %s: %w", found[i].id, res.err))
		case res.running:
			running = append(running, res.container)
		}
	}
	return running, failed, nil
}

// measure reads one container; running is false where no process of it lives.
func (g *cgroups) measure(r *reader, cg cgroup, keep bool) (c container, running bool, err error) {
	c.id = cg.id
	pids, err := g.pids(r, cg)
	if gone(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	for _, pid := range pids {
		p, live, err := g.proc.process(r, pid)
		if err != nil && !gone(err) {
			return c, false, err
		}
		if live {
			c.add(p, keep)
		}
	}
	if c.count == 0 && len(pids) > 0 {
		c.addHidden(g, r, cg)
	}
	if c.count == 0 {
		return c, false, nil
	}
	c.memoryKB, c.cpuNS, c.atNS, err = g.usage(r, cg)
	if gone(err) && !g.populated(r, cg) {
		return c, false, nil
	}
	return c, err == nil, err
}

// pids lists the processes of a container, in order, each once.
func (g *cgroups) pids(r *reader, cg cgroup) ([]int, error) {
	pids, err := pidsBelow(r, g.memoryRoot+cg.path, nil)
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// pidsBelow appends the processes of the cgroup and of those in it.
func pidsBelow(r *reader, dir string, pids []int) ([]int, error) {
	text, err := r.read(dir+"/cgroup.procs", noLimit)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a threaded cgroup's are listed further up
		return nil, err
	}
	for line := range bytes.FieldsSeq(text) {
		pid, err := strconv.Atoi(string(line))
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	names, err := children(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		more, err := pidsBelow(r, dir+"/"+name, pids)
		if err != nil && !gone(err) {
			return nil, err
		}
		if err == nil {
			pids = more
		}
	}
	return pids, nil
}

// populated tells whether the cgroup still has a process.
func (g *cgroups) populated(r *reader, cg cgroup) bool {
	pids, err := g.pids(r, cg)
	return err == nil && len(pids) > 0
}

// addHidden counts processes that are there, but that procfs does not show:
// it is mounted with hidepid, or they are in another PID namespace. A process
// that has ended leaves its cgroup before it leaves procfs.
func (c *container) addHidden(g *cgroups, r *reader, cg cgroup) {
	pids, err := g.pids(r, cg)
	if err != nil {
		return
	}
	for _, pid := range pids {
		if _, _, err := g.proc.process(r, pid); gone(err) {
			c.add(process{pid: pid}, false)
			c.hidden = true
		}
	}
}

// usage reads the cgroup's memory and CPU time, and when that was. Memory is
// counted as Docker's client does: less the file cache that is not in use.
func (g *cgroups) usage(r *reader, cg cgroup) (memoryKB, cpuNS uint64, atNS int64, err error) {
	usage, err := value(r, g.memoryRoot+cg.path+g.usageFile, "")
	if err != nil {
		return 0, 0, 0, err
	}
	inactive, err := value(r, g.memoryRoot+cg.path+g.statFile, g.inactiveKey)
	if err != nil {
		return 0, 0, 0, err
	}
	if inactive < usage {
		usage -= inactive
	}
	cpu, err := value(r, g.cpuRoot+cg.path+g.cpuFile, g.cpuKey)
	return usage >> 10, cpu * g.cpuUnitNS, boottime(), err
}

// value reads the number on the line of the file that begins with key.
func value(r *reader, path, key string) (uint64, error) {
	text, err := r.read(path, noLimit)
	if err != nil {
		return 0, err
	}
	n, ok := lineValue(text, key)
	if !ok {
		return 0, fmt.Errorf("%s: no number %s", path, key)
	}
	return n, nil
}
