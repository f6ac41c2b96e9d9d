// Package cgroup measures containers by the host's cgroup files, of version 1 or 2, and by what a procfs shows of their
// processes. It needs no container engine: a container is known by the name of its cgroup, which find.go reads, and of
// several with one id it tells the engine's own.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"winnow/tools/internal/record"
)

// Files is the host's cgroup files: where they are and how their version calls them.
type Files struct {
	Source string // which version: record.SourceCgroup1 or record.SourceCgroup2
	names

	proc        Proc
	memory, cpu dir // the hierarchies' roots; the same one on v2
	quota       dir // that with the limits of CPU time

	located located // the last Find's; nil where cgroup.procs tells who is in a cgroup

	kept map[string]*kept // what stays open, by the containers' paths; nil where nothing does
	room *atomic.Int64    // for how many files more there is
}

// names is how a version of cgroups calls what is read.
type names struct {
	usageFile       string // the memory in use
	inactiveKey     string // in memory.stat: the file cache that is not in use
	limitFile       string // of memory
	cpuFile, cpuKey string // cpuKey is "" where the file is one number
	cpuUnitNS       uint64
	quotaFiles      []string // of CPU time: its words are the quota and the period
}

var (
	names1 = names{
		"memory.usage_in_bytes", "total_inactive_file ", "memory.limit_in_bytes",
		"/cpuacct.usage", "", 1, []string{"/cpu.cfs_quota_us", "/cpu.cfs_period_us"},
	}
	names2 = names{"memory.current", "inactive_file ", "memory.max", "/cpu.stat", "usage_usec ", 1000, []string{"/cpu.max"}}
)

// Open looks up the mounted hierarchies. Where v1 has the memory controller, v2 does not have it, whatever else it has.
func Open(proc Proc) (*Files, error) {
	mounts, err := proc.mounts()
	if err != nil {
		return nil, err
	}
	f := &Files{Source: record.SourceCgroup1, names: names1, proc: proc}
	memory, cpu, quota := hierarchy(mounts, "cgroup", "memory"), hierarchy(mounts, "cgroup", "cpuacct"), hierarchy(mounts, "cgroup", "cpu")
	switch {
	case memory == "":
		if memory, err = findCgroup2(mounts); err != nil {
			return nil, err
		}
		cpu, quota = memory, memory
		f.Source, f.names = record.SourceCgroup2, names2
	case cpu == "":
		return nil, errors.New("cgroup v1 has the memory controller, but the cpuacct controller is not mounted")
	case quota == "":
		quota = cpu // where nothing is found: no limit
	}
	for path, into := range map[*dir]string{&f.memory: memory, &f.cpu: cpu, &f.quota: quota} {
		if *path, err = openDir(into); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// Close closes the hierarchies. A nil Files has none.
func (f *Files) Close() {
	if f != nil {
		f.keepFor(nil)
		f.memory.close()
		f.cpu.close()
		f.quota.close()
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

// hierarchy is the mount point of a cgroup hierarchy, with the controller if one is named; a mount of all of it goes
// before a mount of a part.
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
