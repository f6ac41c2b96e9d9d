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

	"winnow/tools/internal/jsonscan"
	"winnow/tools/internal/record"
)

// maxDocument is the longest document that is read, in bytes: tens of thousands
// of processes.
const maxDocument = 32 << 20

// document is a snapshot that something else took: winnow's kernel module, or
// one of the modules that winnow's forerunners were built on.
type document struct {
	boottimeNS int64 // 0 where it does not tell
	memory     memory
	shims      bool // what was measured of a container is its runtime's shim
	containers []*documentContainer
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

// parseDocument reads a whole document of either kind, and keeps the processes
// where that is asked. Unknown members are passed over. A format that is not
// named before the containers is not known.
func parseDocument(text []byte, keep bool) (*document, error) {
	p := parser{Scanner: jsonscan.Scanner{Text: text}, keep: keep}
	d := &document{}
	var format uint64
	var containers, shims []documentContainer
	listed := false
	p.object(func(name []byte) {
		switch string(name) {
		case "format":
			format = p.number()
		case "boottime_ns":
			d.boottimeNS = int64(p.number())
		case "total_memory_kb":
			d.memory.total = p.number()
		case "free_memory_kb":
			d.memory.free = p.number()
		case "available_memory_kb":
			d.memory.available = p.number()
		case "containers":
			if listed = true; format == 1 {
				containers = p.containers()
			} else {
				p.skip()
			}
		case "processes":
			shims = p.shims()
		default:
			p.skip()
		}
	})
	switch {
	case p.err != nil:
		return nil, p.err
	case d.memory.total == 0 || d.memory.free > d.memory.total:
		return nil, errors.New("has no total_memory_kb that is more than its free_memory_kb")
	case listed && format != 1:
		return nil, errors.New("is not of the format 1, which is the only one known")
	case listed && len(bytes.Trim(text[p.At:], " \t\r\n\x00")) > 0:
		return nil, errors.New("goes on after its end")
	case listed:
		d.setContainers(containers)
		return d, nil
	case shims == nil: // some of those modules leave rubbish after the end
		return nil, errors.New("has neither a list of containers nor one of processes")
	}
	d.shims = true
	d.memory.available = max(d.memory.available, d.memory.free)
	d.setContainers(shims)
	return d, nil
}

// setContainers puts the containers in the order of their ids. Where it does
// not tell when one was measured, that was at its beginning.
func (d *document) setContainers(containers []documentContainer) {
	d.containers = make([]*documentContainer, len(containers))
	for i := range containers {
		c := &containers[i]
		if !d.shims && c.atNS == 0 {
			c.atNS = d.boottimeNS
		}
		d.containers[i] = c
	}
	slices.SortFunc(d.containers, func(a, b *documentContainer) int { return strings.Compare(a.id, b.id) })
}

// leastText is about how much text the module writes of a container, in bytes,
// and at least.
const leastText = 256

// containers reads the module's.
func (p *parser) containers() []documentContainer {
	list := make([]documentContainer, 0, len(p.Text)/leastText+1)
	p.items('[', ']', func() {
		list = append(list, documentContainer{})
		c := &list[len(list)-1]
		c.engine = record.EngineDocker // the only one that the module knew before it told
		var count, rssKB, vszKB uint64
		p.object(func(name []byte) {
			switch string(name) {
			case "id":
				c.id = p.text()
			case "engine":
				c.engine = cut(p.text(), 32)
			case "cgroup_id":
				c.cgroupID = p.number()
			case "at_ns":
				c.atNS = int64(p.number())
			case "memory_kb":
				c.memoryKB, c.memoryKnown = p.numberOrNull()
			case "memory_limit_kb":
				if limit, ok := p.numberOrNull(); ok {
					c.memoryLimit = &limit
				}
			case "cpu_ns":
				c.cpuNS, c.cpuKnown = p.numberOrNull()
			case "cpu_limit_percent":
				c.cpuLimit = p.percentOrNull()
			case "process_count":
				count = p.number()
			case "rss_kb":
				rssKB = p.number()
			case "vsz_kb":
				vszKB = p.number()
			case "processes":
				p.items('[', ']', func() { c.add(p.process(), p.keep) })
			default:
				p.skip()
			}
		})
		c.count, c.rssKB, c.vszKB = int(count), rssKB, vszKB // they may not all be listed
		if !record.IsID(c.id) {
			p.fail("not a container's id")
		}
	})
	return list
}

// shims reads a list of the runtime's shims, one for each container. The id is
// among the shim's arguments; what was measured is the shim itself.
func (p *parser) shims() []documentContainer {
	list := []documentContainer{}
	index := make(map[string]int)
	p.items('[', ']', func() {
		one := p.process()
		namespace, rest, _ := strings.Cut(one.cmdline.text, " -id ")
		id, _, _ := strings.Cut(rest, " ")
		engine := record.EngineContainerd
		if strings.HasSuffix(namespace, " -namespace moby") {
			engine = record.EngineDocker
		}
		if !record.IsID(id) {
			return
		}
		i, ok := index[id]
		if !ok {
			i = len(list)
			index[id] = i
			list = append(list, documentContainer{container: container{id: id, engine: engine}})
		}
		c := &list[i]
		c.add(one, p.keep)
		c.memoryKB += one.rssKB
		c.cpuNS += one.cpuNS
	})
	return list
}

// process reads a process of either kind of document.
func (p *parser) process() (one process) {
	known, truncated := true, false
	p.object(func(name []byte) {
		switch string(name) {
		case "pid":
			one.pid = int(p.number())
		case "name":
			one.name = cut(p.text(), 256)
		case "state":
			one.state = cut(p.text(), 1)
		case "cmdline", "Cmdline":
			if text, ok := p.textOrNull(); ok {
				one.cmdline = shorten(strings.TrimRight(text, " "))
			}
		case "cmdline_truncated":
			truncated = p.flag()
		case "start_ns":
			one.startNS = p.number()
		case "cpu_ns", "Cpu_Utilizado":
			one.cpuNS, known = p.numberOrNull()
		case "vsz_kb":
			one.vszKB = p.number()
		case "rss_kb":
			one.rssKB = p.number()
		default:
			p.skip()
		}
	})
	one.cpuUnknown = !known
	one.cmdline.truncated = one.cmdline.truncated || truncated
	return one
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
	for same := range sameID(d.containers, func(c **documentContainer) string { return (*c).id }) {
		c := same[0]
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
func (g *cgroups) pick(same []*documentContainer, among []cgroup) (c *documentContainer, at *cgroup, double string) {
	c = same[0]
	if len(same) == 1 && len(among) == 0 {
		return c, nil, ""
	}
	if len(same) == 1 && len(among) == 1 {
		return c, &among[0], ""
	}
	told := make(map[uint64]*documentContainer)
	for _, one := range same {
		told[one.cgroupID] = one
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

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
