package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/jsonscan"
)

// maxDocument is the longest document that is read, in bytes: tens of thousands
// of processes.
const maxDocument = 32 << 20

// document is a snapshot that something else took: winnow's kernel module, or
// one of the modules that winnow's forerunners were built on.
type document struct {
	boottimeNS int64 // 0 where it does not tell
	memory     memory
	shims      bool                // what was measured of a container is its runtime's shim
	containers []documentContainer // in the order of their ids
}

type documentContainer struct {
	container
	memoryKnown, cpuKnown bool   // else they are in the cgroup files
	cgroupID              uint64 // the inode of its cgroup's directory; 0 where it does not tell
}

// readBounded reads a file of at most limit bytes; it need not have an end.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // the module's document tells it too
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		size = 256 << 10 // a pipe
	}
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), limit)) + bytes.MinRead) // with room to find the end in
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b.Bytes(), nil
}

// parseDocument reads a whole document of either kind, with the containers'
// processes where that is asked. Unknown members are passed over. A format that
// is not named before the containers is not known.
func parseDocument(text []byte, withProcesses bool) (*document, error) {
	scan := jsonscan.Scanner{Text: text}
	scan.Space()
	from := scan.At
	if !scan.Value(maxDepth) {
		return nil, fmt.Errorf("byte %d: not JSON, cut short, or nested deeper than %d", scan.At, maxDepth)
	}
	rest := bytes.Trim(text[scan.At:], " \t\r\n\x00")

	p := decoder{withProcesses: withProcesses}
	d := &document{}
	var format uint64
	var containers []documentContainer
	var listed, shims bool
	p.members(gjson.ParseBytes(text[from:scan.At]), func(name string, value gjson.Result) {
		switch name {
		case "format":
			format = p.number(value)
		case "boottime_ns":
			d.boottimeNS = int64(p.number(value))
		case "total_memory_kb":
			d.memory.total = p.number(value)
		case "free_memory_kb":
			d.memory.free = p.number(value)
		case "available_memory_kb":
			d.memory.available = p.number(value)
		case "containers":
			if listed = true; format == 1 {
				containers = p.containers(value)
			}
		case "processes":
			shims = true
			d.containers = p.shims(value)
		}
	})
	switch {
	case p.err != nil:
		return nil, p.err
	case d.memory.total == 0 || d.memory.free > d.memory.total:
		return nil, errors.New("has no total_memory_kb that is more than its free_memory_kb")
	case listed && format != 1:
		return nil, errors.New("is not of the format 1, which is the only one known")
	case listed && len(rest) > 0: // some of the forerunners leave rubbish there
		return nil, errors.New("goes on after its end")
	case listed:
		d.containers = containers
	case shims:
		d.shims = true
		d.memory.available = max(d.memory.available, d.memory.free)
	default:
		return nil, errors.New("has neither a list of containers nor one of processes")
	}
	for i := range d.containers {
		if c := &d.containers[i]; !d.shims && c.atNS == 0 {
			c.atNS = d.boottimeNS // when the document was begun
		}
	}
	slices.SortFunc(d.containers, func(a, b documentContainer) int { return strings.Compare(a.id, b.id) })
	return d, nil
}

// complete gives the sample the containers, and takes from the cgroup files what
// the document leaves to them, and all that it measured of shims. Left out are
// containers that are not there any more; but a shim's figures stay, without a
// rate.
func (d *document) complete(proc procfs, now *sample) error {
	var files *cgroups
	var found map[string][]cgroup
	look := sync.OnceValue(func() (err error) {
		files, found, err = cgroupsByID(proc)
		return err
	})
	defer func() { files.close() }()
	var r reader
	deadline := time.Now().Add(patience)
	now.containers = make([]container, 0, len(d.containers))
	for same := range sameID(d.containers, func(c *documentContainer) string { return c.id }) {
		c := &same[0]
		if len(same) == 1 && c.memoryKnown && c.cpuKnown {
			now.containers = append(now.containers, c.container)
			continue
		}
		if err := look(); err != nil && !d.shims && len(same) == 1 {
			return err
		}
		c, at, double := files.pick(same, found[c.id])
		if double != "" {
			now.doubles = append(now.doubles, double)
		}
		if c == nil {
			continue
		}
		var measured container
		running := c.memoryKnown && c.cpuKnown
		if !running && at != nil {
			var err error
			if measured, running, err = files.measureBy(deadline, &r, at.path, c.container, false, true); err != nil {
				now.failed = append(now.failed, fmt.Errorf("container %s: %w", c.id, err))
				continue
			}
		}
		if running && !c.memoryKnown {
			c.memoryKB = measured.memoryKB
		}
		if running && !c.cpuKnown {
			c.cpuNS, c.atNS, c.cpuLimit = measured.cpuNS, measured.atNS, measured.cpuLimit
		}
		if running && d.shims {
			c.memoryLimit = measured.memoryLimit
		}
		if running || d.shims {
			now.containers = append(now.containers, c.container)
		}
	}
	return nil
}

// pick is which of a document's containers with one id counts, and its cgroup
// among those with the id. A document tells the cgroups by their inodes; nil is
// returned where that does not help.
func (g *cgroups) pick(same []documentContainer, among []cgroup) (c *documentContainer, at *cgroup, double string) {
	c = &same[0]
	if len(same) == 1 && len(among) == 0 {
		return c, nil, ""
	}
	if len(same) == 1 && len(among) == 1 {
		return c, &among[0], ""
	}
	told := make(map[uint64]*documentContainer)
	for i := range same {
		told[same[i].cgroupID] = &same[i]
	}
	delete(told, 0)
	met := 0
	for i := range among {
		if told[g.stat(&among[i]).Ino] != nil {
			met++
		}
	}
	if (len(same) > 1 || c.cgroupID != 0) && met < len(same) {
		return nil, nil, fmt.Sprintf("container %s is left out: nothing tells which of %d is the one", c.id, len(same))
	}
	if at, double = g.own(among); at == nil {
		return nil, nil, double
	}
	if met > 0 {
		c = told[g.stat(at).Ino] // nil where the engine's own has ended
	}
	return c, at, double
}

// cgroupsByID finds the paths of the containers' cgroups; the map is never nil.
func cgroupsByID(proc procfs) (*cgroups, map[string][]cgroup, error) {
	all := make(map[string][]cgroup)
	files, err := findCgroups(proc)
	if err != nil {
		return nil, all, err
	}
	found, err := files.find()
	for _, cg := range found {
		all[cg.id] = append(all[cg.id], cg)
	}
	return files, all, err
}
