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
	quota           dir    // that with the limits of CPU time
	usageFile       string // the memory in use
	inactiveKey     string // in memory.stat: the file cache that is not in use
	cpuFile, cpuKey string // cpuKey is "" where the file is one number
	cpuUnitNS       uint64
	limitFile       string // of memory
	quotaFile       string // of CPU time; on v1 the period is in another one
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
		g.limitFile, g.quotaFile = "memory.max", "/cpu.max"
	case cpu == "":
		return nil, errors.New("cgroup v1 has the memory controller, but the cpuacct controller is not mounted")
	default:
		g.source = record.SourceCgroup1
		g.usageFile, g.inactiveKey = "memory.usage_in_bytes", "total_inactive_file "
		g.cpuFile, g.cpuUnitNS = "/cpuacct.usage", 1
		g.limitFile, g.quotaFile = "memory.limit_in_bytes", "/cpu.cfs_quota_us"
	}
	if g.memory, err = openDir(memory); err != nil {
		return nil, err
	}
	if g.cpu, err = openDir(cpu); err != nil {
		g.memory.close()
		return nil, err
	}
	g.quota = g.cpu
	if quota := hierarchy(mounts, "cgroup", "cpu"); g.source == record.SourceCgroup1 && quota != "" && quota != cpu {
		if g.quota, err = openDir(quota); err != nil {
			g.quota = g.cpu
			g.close()
			return nil, err
		}
	}
	return g, nil
}

func (g *cgroups) close() {
	if g == nil {
		return
	}
	g.memory.close()
	g.cpu.close()
	if g.quota != g.cpu {
		g.quota.close()
	}
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

// take measures all running containers, and keeps the processes of each where
// that is asked. Without limits it measures what rates are taken from.
func (g *cgroups) take(now *sample, processes, limits bool) error {
	found, err := g.find()
	if err != nil {
		return err
	}
	found, now.doubles = g.oneEach(found)
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
				res, c := &results[i], container{id: found[i].id, engine: found[i].engine}
				res.container, res.running, res.err = g.measureBy(deadline, &r, found[i].path, c, processes, limits)
			}
		})
	}
	workers.Wait()

	for i := range results {
		switch res := &results[i]; {
		case res.err != nil:
			now.failed = append(now.failed, fmt.Errorf("container %s: %w", found[i].id, res.err))
		case res.running:
			now.containers = append(now.containers, res.container)
		}
	}
	return nil
}

// patience is how long a container that starts may take until all its files are
// there: on v1 it comes into one hierarchy after the other.
const patience = 200 * time.Millisecond

// errUncounted is a cgroup without the controllers that count for an engine: on
// v2 whoever may make cgroups can give one the name of a container.
var errUncounted = errors.New("passed over, since its cgroup counts no memory")

// measureBy measures a container, and again until the deadline where a file of
// it is missing.
func (g *cgroups) measureBy(deadline time.Time, r *reader, path string, c container, keep, limits bool) (now container, running bool, err error) {
	for {
		now, running, err = g.measure(r, path, c, keep, limits)
		if !gone(err) {
			return now, running, err
		}
		if g.source == record.SourceCgroup2 {
			return now, running, fmt.Errorf("%w: %w", errUncounted, err)
		}
		if time.Now().After(deadline) {
			return now, running, err
		}
		time.Sleep(patience / 20)
	}
}

// measure reads a container's figures, and its processes where c has none;
// running is false where it has ended.
func (g *cgroups) measure(r *reader, path string, c container, keep, limits bool) (now container, running bool, err error) {
	at, err := g.memory.open(path)
	if gone(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	defer at.close()
	if c.count == 0 {
		if err := g.processes(r, at, &c, keep); c.count == 0 || err != nil {
			return c, false, err
		}
	}
	err = g.usage(r, at, path, &c)
	if err == nil && limits {
		err = g.limits(r, at, path, &c)
	}
	if gone(err) { // with the container, or is it the file that is missing?
		if pids, _ := pidsOf(r, at); len(pids) == 0 {
			return c, false, nil
		}
	}
	return c, err == nil, err
}

// processes reads those of a container that live.
func (g *cgroups) processes(r *reader, at dir, c *container, keep bool) error {
	pids, err := pidsOf(r, at)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var unseen []int
	for _, pid := range pids {
		p, live, err := g.proc.process(r, pid)
		switch {
		case gone(err):
			unseen = append(unseen, pid)
		case err != nil:
			return err
		case live:
			c.add(p, keep)
		}
	}
	if c.count == 0 && len(unseen) > 0 {
		c.addHidden(r, unseen, at)
	}
	return nil
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
func (g *cgroups) usage(r *reader, at dir, path string, c *container) error {
	usage, err := value(r, at, g.usageFile, "")
	if err != nil {
		return err
	}
	inactive, err := value(r, at, "memory.stat", g.inactiveKey)
	if err != nil {
		return err
	}
	if inactive < usage {
		usage -= inactive
	}
	cpu, err := value(r, g.cpu, path+g.cpuFile, g.cpuKey)
	if gone(err) {
		if own, ok := g.pathIn("cpuacct", r, c); ok {
			cpu, err = value(r, g.cpu, own+g.cpuFile, g.cpuKey)
		}
	}
	c.memoryKB, c.cpuNS, c.atNS = usage>>10, cpu*g.cpuUnitNS, boottime()
	return err
}

// limits reads the cgroup's own. Without the controller it has no file of it,
// and no limit; "max" and -1 are none either.
func (g *cgroups) limits(r *reader, at dir, path string, c *container) error {
	memory, err := words(r, at, g.limitFile)
	if err != nil {
		return err
	}
	if bytes, ok := wholeNumber(memory, 0); ok && bytes < 1<<62 {
		c.memoryLimit = new(bytes >> 10)
	}
	quota, err := words(r, g.quota, path+g.quotaFile)
	if quota == nil && err == nil {
		if own, ok := g.pathIn("cpu", r, c); ok {
			path = own
			quota, err = words(r, g.quota, path+g.quotaFile)
		}
	}
	if _, ok := wholeNumber(quota, 0); ok && err == nil && g.source == record.SourceCgroup1 {
		var period []string
		period, err = words(r, g.quota, path+"/cpu.cfs_period_us")
		quota = append(quota, period...)
	}
	if time, ok := wholeNumber(quota, 0); ok {
		if period, ok := wholeNumber(quota, 1); ok && period > 0 {
			c.cpuLimit = new(percent(time, period))
		}
	}
	return err
}

// pathIn is where in a hierarchy of v1 the container's first process is: with a
// relative --cgroup-parent a container has another path in each.
func (g *cgroups) pathIn(controller string, r *reader, c *container) (path string, ok bool) {
	if g.source != record.SourceCgroup1 {
		return "", false
	}
	text, err := r.read(g.proc.dir, strconv.Itoa(c.first.pid)+"/cgroup", noLimit)
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(text)) {
		_, line, _ = strings.Cut(line, ":")
		controllers, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if slices.Contains(strings.Split(controllers, ","), controller) {
			path, id := containerIn(strings.TrimPrefix(path, "/"))
			return path, id == c.id
		}
	}
	return "", false
}

// words reads a small file, nil where there is none.
func words(r *reader, at dir, name string) ([]string, error) {
	text, err := r.read(at, name, noLimit)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

func wholeNumber(words []string, i int) (n uint64, ok bool) {
	if i >= len(words) {
		return 0, false
	}
	n, err := strconv.ParseUint(words[i], 10, 64)
	return n, err == nil
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
