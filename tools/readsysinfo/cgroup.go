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
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// cgroups is the host's cgroup files: where they are and how their version
// calls them.
type cgroups struct {
	proc   procfs
	source string // as in record.Host

	memory, cpu     dir    // the hierarchies' roots; the same one on v2
	usageFile       string // the memory in use
	inactiveKey     string // in memory.stat: the file cache that is not in use
	cpuFile, cpuKey string // cpuKey is "" where the file is one number
	cpuUnitNS       uint64
}

// findCgroups looks up the mounted hierarchies. Where v1 has the memory
// controller, v2 does not have it, whatever else it has.
func findCgroups(proc procfs) (*cgroups, error) {
	mounts, err := proc.mounts(&reader{})
	if err != nil {
		return nil, err
	}
	g := &cgroups{proc: proc}
	memory := hierarchy(mounts, "cgroup", "memory")
	cpu := hierarchy(mounts, "cgroup", "cpuacct")
	switch {
	case memory == "":
		if memory, err = findCgroup2(mounts); err != nil {
			return nil, err
		}
		cpu = memory
		g.source = record.SourceCgroup2
		g.usageFile, g.inactiveKey = "memory.current", "inactive_file "
		g.cpuFile, g.cpuKey, g.cpuUnitNS = "/cpu.stat", "usage_usec ", 1000
	case cpu == "":
		return nil, errors.New("cgroup v1 has the memory controller, but the cpuacct controller is not mounted")
	default:
		g.source = record.SourceCgroup1
		g.usageFile, g.inactiveKey = "memory.usage_in_bytes", "total_inactive_file "
		g.cpuFile, g.cpuUnitNS = "/cpuacct.usage", 1
	}
	if g.memory, err = openDir(memory); err != nil {
		return nil, err
	}
	if g.cpu, err = openDir(cpu); err != nil {
		g.memory.close()
		return nil, err
	}
	return g, nil
}

func (g *cgroups) close() {
	if g == nil {
		return
	}
	g.memory.close()
	g.cpu.close()
}

// findCgroup2 is v2's mount point.
func findCgroup2(mounts []mount) (string, error) {
	root := hierarchy(mounts, "cgroup2", "")
	if root == "" {
		return "", errors.New("no cgroup hierarchy with the memory controller is mounted")
	}
	controllers, err := os.ReadFile(root + "/cgroup.controllers")
	if err != nil {
		return "", err
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		return "", fmt.Errorf("%s: no memory controller: it may be switched off on the kernel's command line", root)
	}
	return root, nil
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

// cgroup is a container's; path is below the hierarchies' roots.
type cgroup struct{ id, path string }

// containerID takes the id from the name that one of Docker's drivers gave a
// container's cgroup: the id for cgroupfs, docker-<id>.scope for systemd.
func containerID(name string) (string, bool) {
	if scope, ok := strings.CutSuffix(name, ".scope"); ok {
		if name, ok = strings.CutPrefix(scope, "docker-"); !ok {
			return "", false
		}
	}
	return name, record.IsID(name)
}

// find lists the cgroups that are named as containers', by id. What lies in
// one of them belongs to it.
func (g *cgroups) find() ([]cgroup, error) {
	var found []cgroup
	var walk func(at dir, path string) error
	walk = func(at dir, path string) error {
		names, err := at.children()
		for _, name := range names {
			if id, ok := containerID(name); ok {
				found = append(found, cgroup{id, path + name})
				continue
			}
			below, err := at.open(name)
			if gone(err) {
				continue
			}
			if err != nil {
				return err
			}
			err = walk(below, path+name+"/")
			below.close()
			if err != nil && !gone(err) && !errors.Is(err, unix.ENAMETOOLONG) { // deeper than Docker goes
				return err
			}
		}
		return err
	}
	err := walk(g.memory, "")
	slices.SortFunc(found, func(a, b cgroup) int { return strings.Compare(a.id, b.id) })
	return found, err
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
	deadline := time.Now().Add(patience)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		workers.Go(func() {
			var r reader
			for i := next.Add(1) - 1; i < int64(len(found)); i = next.Add(1) - 1 {
				res := &results[i]
				res.container, res.running, res.err = g.measureBy(deadline, &r, found[i], processes)
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

// patience is how long a container that starts may take until all its files are
// there: on v1 it comes into one hierarchy after the other.
const patience = 200 * time.Millisecond

// measureBy measures a container, and again until the deadline where a file of
// it is missing.
func (g *cgroups) measureBy(deadline time.Time, r *reader, cg cgroup, keep bool) (c container, running bool, err error) {
	for {
		if c, running, err = g.measure(r, cg, keep); !gone(err) || time.Now().After(deadline) {
			return c, running, err
		}
		time.Sleep(patience / 20)
	}
}

// measure reads one container; running is false where no process of it lives.
func (g *cgroups) measure(r *reader, cg cgroup, keep bool) (c container, running bool, err error) {
	c.id = cg.id
	at, err := g.memory.open(cg.path)
	if gone(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	defer at.close()
	pids, err := pidsOf(r, at)
	if gone(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	var unseen []int
	for _, pid := range pids {
		p, live, err := g.proc.process(r, pid)
		switch {
		case gone(err):
			unseen = append(unseen, pid)
		case err != nil:
			return c, false, err
		case live:
			c.add(p, keep)
		}
	}
	if c.count == 0 && len(unseen) > 0 {
		c.addHidden(r, unseen, at)
	}
	if c.count == 0 {
		return c, false, nil
	}
	c.memoryKB, c.cpuNS, c.atNS, err = g.usage(r, at, cg.path)
	if gone(err) { // with the container, or is it the file that is missing?
		if pids, _ := pidsOf(r, at); len(pids) == 0 {
			return c, false, nil
		}
	}
	return c, err == nil, err
}

// pidsOf lists the processes of a container's cgroup, in order, each once.
func pidsOf(r *reader, at dir) ([]int, error) {
	pids, err := appendPids(nil, r, at)
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// appendPids appends the processes of the cgroup and of those in it.
func appendPids(pids []int, r *reader, at dir) ([]int, error) {
	text, err := r.read(at, "cgroup.procs", noLimit)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a threaded cgroup's are listed further up
		return pids, err
	}
	for line := range bytes.FieldsSeq(text) {
		pid, err := strconv.Atoi(string(line))
		if err != nil {
			return pids, fmt.Errorf("%s/cgroup.procs: not a process id: %q", at.path, cut(string(line), 32))
		}
		pids = append(pids, pid)
	}
	names, err := at.children()
	for _, name := range names {
		below, err := at.open(name)
		if err == nil {
			pids, err = appendPids(pids, r, below)
			below.close()
		}
		if err != nil && !gone(err) {
			return pids, err
		}
	}
	return pids, err
}

// addHidden counts those of the unseen processes that are still there, but that
// procfs does not show: it is mounted with hidepid, or they are in another PID
// namespace. A process that ends leaves its cgroup before it leaves procfs.
func (c *container) addHidden(r *reader, unseen []int, at dir) {
	still, err := pidsOf(r, at)
	if err != nil {
		return
	}
	for _, pid := range unseen {
		if _, listed := slices.BinarySearch(still, pid); listed {
			c.add(process{pid: pid}, false)
			c.hidden = true
		}
	}
}

// usage reads the memory and CPU time of the cgroup at path, whose directory in
// the memory hierarchy is at, and when that was. Memory is counted as Docker's
// client counts it: less the file cache that is not in use.
func (g *cgroups) usage(r *reader, at dir, path string) (memoryKB, cpuNS uint64, atNS int64, err error) {
	usage, err := value(r, at, g.usageFile, "")
	if err != nil {
		return 0, 0, 0, err
	}
	inactive, err := value(r, at, "memory.stat", g.inactiveKey)
	if err != nil {
		return 0, 0, 0, err
	}
	if inactive < usage {
		usage -= inactive
	}
	cpu, err := value(r, g.cpu, path+g.cpuFile, g.cpuKey)
	return usage >> 10, cpu * g.cpuUnitNS, boottime(), err
}

// value reads the number on the line of the file that begins with key.
func value(r *reader, at dir, name, key string) (uint64, error) {
	text, err := r.read(at, name, noLimit)
	if err != nil {
		return 0, err
	}
	n, ok := lineValue(text, key)
	if !ok {
		return 0, fmt.Errorf("%s/%s: no number %s", at.path, name, key)
	}
	return n, nil
}
