package cgroup

import (
	"bytes"
	"strconv"
)

// Group is the processes of the process group that this one is in, as this procfs numbers them.
func (p Proc) Group() (all []Process, err error) {
	text, err := p.read("self/stat")
	if err != nil {
		return nil, err
	}
	own, _, err := parseStat(text)
	if err != nil || own.Group <= 0 {
		return nil, err
	}
	names, err := p.children()
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if one, live, err := p.process(pid); err == nil && live && one.Group == own.Group {
			all = append(all, one)
		}
	}
	return all, err
}

// PeakKB is the most memory of a process that ever was resident; nil where that is not told.
func (p Proc) PeakKB(pid int) *uint64 {
	text, err := p.read(strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	_, peak, _ := bytes.Cut(text, []byte("\nVmHWM:"))
	if numbers := wholeNumbers(peak); len(numbers) > 0 {
		return &numbers[0]
	}
	return nil
}
