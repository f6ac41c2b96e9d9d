package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// usage reads the memory and CPU time of a cgroup, whose directory in the memory hierarchy is at, and when that was.
// Memory is counted as Docker's client counts it: less the file cache that is not in use.
func (f *Files) usage(at dir, cg Cgroup, c *Container) error {
	usage, err := number(at.read, f.usageFile, "")
	if err != nil {
		return err
	}
	inactive, err := number(at.read, "memory.stat", f.inactiveKey)
	if err != nil {
		return err
	}
	if inactive < usage {
		usage -= inactive
	}
	cpu, err := number(func(name string) ([]byte, error) { return f.readIn(f.cpu, "cpuacct", cg, c.PID, name) }, f.cpuFile, f.cpuKey)
	c.MemoryKB, c.CPUNS, c.AtNS = usage>>10, cpu*f.cpuUnitNS, new(Boottime())
	return err
}

// ofCrun is where crun, which Podman runs containers with, has them on v2: below the cgroup that has their id.
const ofCrun = "container"

// limits reads the cgroup's own, or those of the one below it that is crun's.
func (f *Files) limits(at dir, cg Cgroup, c *Container) error {
	if err := f.limitsIn(at, cg, "", c); err != nil || cg.Engine != record.EnginePodman || f.Source != record.SourceCgroup2 {
		return err
	}
	return f.limitsIn(at, cg, ofCrun+"/", c)
}

// limitsIn reads those that are not known yet in a cgroup below. Without the controller it has no file of it, and no limit;
// "max" and -1 are none either.
func (f *Files) limitsIn(at dir, cg Cgroup, below string, c *Container) error {
	if c.MemoryLimitKB == nil {
		text, err := at.read(below + f.limitFile)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if memory := wholeNumbers(text); len(memory) == 1 && memory[0] < 1<<62 { // v1 has a number for none
			c.MemoryLimitKB = new(memory[0] >> 10)
		}
	}
	if c.CPULimitPercent != nil {
		return nil
	}
	var words []byte
	for _, file := range f.quotaFiles {
		text, err := f.readIn(f.quota, "cpu", cg, c.PID, "/"+below+strings.TrimPrefix(file, "/"))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		words = append(words, text...)
	}
	if quota := wholeNumbers(words); len(quota) == 2 && quota[1] > 0 { // the quota and the period
		c.CPULimitPercent = new(math.Round(float64(quota[0])/float64(quota[1])*100*100) / 100)
	}
	return nil
}

// readIn reads a file of the container's in the hierarchy of a controller. With a relative --cgroup-parent a container
// of v1 has another path in each, which its process with that pid tells.
func (f *Files) readIn(hierarchy dir, controller string, cg Cgroup, pid int, file string) ([]byte, error) {
	hierarchy = hierarchy.keeping(f.kept[cg.Path])
	text, err := hierarchy.read(cg.Path + file)
	if gone(err) && f.Source == record.SourceCgroup1 {
		if own, id := f.pathIn(controller, pid); id == cg.ID {
			return hierarchy.read(own + file)
		}
	}
	return text, err
}

// pathIn is the path of the container that a process belongs to in the hierarchy of a controller, and its id; both are
// "" where there is none.
func (f *Files) pathIn(controller string, pid int) (path, id string) {
	text, err := f.proc.read(strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(text)) {
		_, line, _ = strings.Cut(line, ":")
		controllers, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if slices.Contains(strings.Split(controllers, ","), controller) {
			path = strings.TrimPrefix(path, "/")
			for strings.HasPrefix(path, "../") { // out of a cgroup namespace
				path = path[len("../"):]
			}
			return containerIn(path)
		}
	}
	return "", ""
}

// wholeNumbers are the text's first words that are such.
func wholeNumbers(text []byte) (numbers []uint64) {
	for word := range bytes.FieldsSeq(text) {
		n, err := strconv.ParseUint(string(word), 10, 64)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// number reads the number on the line of a file that begins with key.
func number(read func(name string) ([]byte, error), name, key string) (uint64, error) {
	text, err := read(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 64); err == nil {
				return n, nil
			}
			break
		}
	}
	return 0, fmt.Errorf("%s: no number %s", strings.TrimPrefix(name, "/"), key)
}
