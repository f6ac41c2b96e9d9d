package cgroup

import "winnow/tools/internal/record"

// Container is what is known of one container, in the fields that its line has: without percentages but for its limit,
// and with its AtNS nil where it is not known when the CPU time was read.
type Container struct {
	record.Container
	StartNS uint64    // when its first process began, since the host's boot
	Listed  []Process // its processes, where they were asked for
	Hidden  bool      // procfs does not show its processes
}

// Measured is what was measured of all containers, which are in the order of their ids.
type Measured struct {
	Containers []Container
	Failed     []error  // why containers are missing that do run
	Doubles    []string // which cgroups do not count, since others have the same id
}

// Add counts a process in, and lists it where that is asked. The one that has run longest is the container's first.
func (c *Container) Add(p Process, list bool) {
	c.Processes++
	c.RSSKB += p.RSSKB
	c.VSZKB += p.VSZKB
	if c.PID == 0 || p.StartNS < c.StartNS || p.StartNS == c.StartNS && p.PID < c.PID {
		c.PID, c.Process, c.StartNS = p.PID, p.Name, p.StartNS
		c.Cmdline, c.CmdlineTruncated = p.Cmdline, p.CmdlineTruncated
	}
	if list {
		c.Listed = append(c.Listed, p)
	}
}
