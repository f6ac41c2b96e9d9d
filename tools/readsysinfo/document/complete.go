package document

import (
	"fmt"
	"sync"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

// Complete is the document's containers with what the cgroup files hold of what it left out, or measured of shims. Left
// out are those that are not there any more; but a shim's figures stay, without a rate. An error is that the cgroup
// files cannot be read.
func (d *Document) Complete(proc cgroup.Proc) (all cgroup.Measured, err error) {
	var files *cgroup.Files
	var found map[string][]cgroup.Cgroup
	look := sync.OnceValue(func() (err error) { // most documents need none
		if files, err = cgroup.Open(proc); err == nil {
			found, err = files.Find()
		}
		return err
	})
	defer func() { files.Close() }()
	all.Containers = make([]cgroup.Container, 0, len(d.Containers))
	want := cgroup.Options{Limits: true, Until: time.Now().Add(cgroup.Patience)}
	for left := d.Containers; len(left) > 0; {
		same := withOneID(left)
		left = left[len(same):]
		c := same[0]
		if len(same) == 1 && c.memoryKnown && c.cpuKnown {
			if c.Engine == record.EnginePodman && (c.MemoryLimitKB == nil || c.CPULimitPercent == nil) && look() == nil {
				c.findLimits(files, found[c.ID], want)
			}
			all.Containers = append(all.Containers, c.Container)
			continue
		}
		if err := look(); err != nil && !d.shims && len(same) == 1 {
			return cgroup.Measured{}, err
		}
		c, at, double := pick(files, same, found[c.ID])
		if double != "" {
			all.Doubles = append(all.Doubles, double)
		}
		if c == nil {
			continue
		}
		running, err := d.complete(c, files, at, want)
		if err != nil {
			all.Failed = append(all.Failed, fmt.Errorf("container %s: %w", c.ID, err))
		} else if running || d.shims {
			all.Containers = append(all.Containers, c.Container)
		}
	}
	return all, nil
}

// findLimits looks for those that crun has set below the cgroup that the document tells of.
func (c *Container) findLimits(files *cgroup.Files, among []cgroup.Cgroup, want cgroup.Options) {
	if len(among) != 1 {
		return
	}
	if measured, running, err := files.Measure(among[0], c.Container, want); err == nil && running {
		c.MemoryLimitKB, c.CPULimitPercent = measured.MemoryLimitKB, measured.CPULimitPercent
	}
}

// withOneID is what a list in the order of ids begins with that has one id.
func withOneID(list []*Container) []*Container {
	n := 1
	for n < len(list) && list[n].ID == list[0].ID {
		n++
	}
	return list[:n]
}

// complete measures what is not known of one container, whose cgroup is at, nil where it has none any more.
func (d *Document) complete(c *Container, files *cgroup.Files, at *cgroup.Cgroup, want cgroup.Options) (running bool, err error) {
	if c.memoryKnown && c.cpuKnown {
		return true, nil
	}
	if at == nil {
		return false, nil
	}
	measured, running, err := files.Measure(*at, c.Container, want)
	if err != nil || !running {
		return false, err
	}
	if !c.memoryKnown {
		c.MemoryKB = measured.MemoryKB
	}
	if !c.cpuKnown {
		c.CPUNS, c.AtNS, c.CPULimitPercent = measured.CPUNS, measured.AtNS, measured.CPULimitPercent
	}
	if d.shims {
		c.MemoryLimitKB = measured.MemoryLimitKB
	}
	return true, nil
}

// pick is which of a document's containers with one id counts, and its cgroup among those with the id. A document tells
// the cgroups by their inodes; nil is returned where that does not help.
func pick(files *cgroup.Files, same []*Container, among []cgroup.Cgroup) (c *Container, at *cgroup.Cgroup, said string) {
	c = same[0]
	if len(same) == 1 && len(among) == 0 {
		return c, nil, ""
	}
	if len(same) == 1 && len(among) == 1 {
		return c, &among[0], ""
	}
	told := make(map[uint64]*Container)
	for _, one := range same {
		told[one.cgroupID] = one
	}
	delete(told, 0)
	met := 0
	for _, cg := range among {
		if told[files.Inode(cg)] != nil {
			met++
		}
	}
	if (len(same) > 1 || c.cgroupID != 0) && met < len(same) {
		return nil, nil, fmt.Sprintf("container %s is left out: nothing tells which of %d is the one", c.ID, len(same))
	}
	if at, said = files.Own(among); at == nil {
		return nil, nil, said
	}
	if met > 0 {
		c = told[files.Inode(*at)] // nil where the engine's own has ended
	}
	return c, at, said
}
