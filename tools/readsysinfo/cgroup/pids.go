package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// pids lists the processes of a container's cgroup as the procfs numbers them, in order, each once.
func (f *Files) pids(at dir, cg Cgroup) (pids []int, err error) {
	if f.located != nil {
		pids = f.located.in(cg)
	} else {
		pids, err = appendPids(nil, at)
	}
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// appendPids appends the processes of the cgroup and of those in it.
func appendPids(pids []int, at dir) ([]int, error) {
	text, err := at.keeping(nil).read("cgroup.procs")   // on v1 one that is read again within a second tells what it told before
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a threaded cgroup's are listed further up
		return pids, err
	}
	for line := range bytes.FieldsSeq(text) {
		pid, err := strconv.Atoi(string(line))
		if err != nil {
			return pids, fmt.Errorf("%s/cgroup.procs: not a process id: %.32q", at.path, line)
		}
		pids = append(pids, pid)
	}
	names, err := at.children()
	for _, name := range names {
		below, err := at.open(name)
		if err == nil {
			pids, err = appendPids(pids, below)
			below.close()
		}
		if err != nil && !gone(err) {
			return pids, err
		}
	}
	return pids, err
}

// located are the processes of containers by the procfs alone, by the containers' ids.
type located map[string][]member

type member struct {
	pid  int
	path string // of the container's cgroup, from wherever the kernel counts for us
}

// in lists those of one cgroup. Seen from a cgroup namespace its path is only the end of what it is.
func (l located) in(cg Cgroup) (pids []int) {
	for _, p := range l[cg.ID] {
		if strings.HasSuffix("/"+cg.Path, "/"+p.path) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// locate finds out where all processes are, if the procfs is of another PID namespace than we are in, as one may be that
// is mounted in a container: cgroup.procs has our numbers, and 0 for those that we have none for.
func (f *Files) locate() error {
	f.located = nil
	if !f.proc.foreign() {
		return nil
	}
	f.located = located{}
	controller := "memory"
	if f.Source == record.SourceCgroup2 {
		controller = "" // which is how v2's own line has none
	}
	names, err := f.proc.children()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if path, id := f.pathIn(controller, pid); id != "" {
			f.located[id] = append(f.located[id], member{pid, path})
		}
	}
	return err
}

// foreign tells whether this procfs numbers this process otherwise than it is numbered here.
func (p Proc) foreign() bool {
	var self [32]byte
	n, err := unix.Readlinkat(p.fd, "self", self[:])
	return err == nil && string(self[:n]) != strconv.Itoa(os.Getpid())
}
