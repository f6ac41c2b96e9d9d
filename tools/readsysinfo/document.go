package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
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
	containers []documentContainer
}

type documentContainer struct {
	container
	memoryKnown, cpuKnown bool // else they are in the cgroup files
}

// readBounded reads a file of at most limit bytes; it need not have an end.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	b.Grow(256 << 10)
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
		return d, d.setContainers(containers)
	case shims == nil: // some of those modules leave rubbish after the end
		return nil, errors.New("has neither a list of containers nor one of processes")
	}
	d.shims = true
	d.memory.available = max(d.memory.available, d.memory.free)
	return d, d.setContainers(shims)
}

// setContainers puts the containers in the order of their ids.
func (d *document) setContainers(containers []documentContainer) error {
	slices.SortFunc(containers, func(a, b documentContainer) int { return strings.Compare(a.id, b.id) })
	for i := range containers {
		c := &containers[i]
		if i > 0 && c.id == containers[i-1].id {
			return fmt.Errorf("container %s: is there twice", c.id)
		}
		if !d.shims {
			c.atNS = d.boottimeNS
		}
	}
	d.containers = containers
	return nil
}

// containers reads the module's.
func (p *parser) containers() []documentContainer {
	list := []documentContainer{}
	p.items('[', ']', func() {
		list = append(list, documentContainer{})
		c := &list[len(list)-1]
		var count, rssKB, vszKB uint64
		p.object(func(name []byte) {
			switch string(name) {
			case "id":
				c.id = p.text()
			case "memory_kb":
				c.memoryKB, c.memoryKnown = p.numberOrNull()
			case "cpu_ns":
				c.cpuNS, c.cpuKnown = p.numberOrNull()
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
		_, rest, _ := strings.Cut(one.cmdline, " -id ")
		id, _, _ := strings.Cut(rest, " ")
		if !record.IsID(id) {
			return
		}
		i, ok := index[id]
		if !ok {
			i = len(list)
			index[id] = i
			list = append(list, documentContainer{container: container{id: id}})
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
	p.object(func(name []byte) {
		switch string(name) {
		case "pid":
			one.pid = int(p.number())
		case "name":
			one.name = cut(p.text(), 256)
		case "state":
			one.state = cut(p.text(), 1)
		case "cmdline", "Cmdline":
			one.cmdline = strings.TrimRight(cut(p.text(), maxCmdline), " ")
		case "start_ns":
			one.startNS = p.number()
		case "cpu_ns", "Cpu_Utilizado":
			one.cpuNS = p.number()
		case "vsz_kb":
			one.vszKB = p.number()
		case "rss_kb":
			one.rssKB = p.number()
		default:
			p.skip()
		}
	})
	return one
}

// complete takes from the cgroup files what the document leaves to them, and
// all that it measured of shims. Left out are containers that are not there any
// more; but a shim's figures stay, without a rate.
func (d *document) complete(proc procfs) ([]container, error) {
	done := make([]container, 0, len(d.containers))
	var files *cgroups
	var paths map[string]string
	var r reader
	deadline := time.Now().Add(patience)
	for _, c := range d.containers {
		if c.memoryKnown && c.cpuKnown {
			done = append(done, c.container)
			continue
		}
		if paths == nil {
			var err error
			files, paths, err = cgroupsByID(proc)
			if err != nil && !d.shims {
				return nil, err
			}
			defer files.close()
		}
		now, running := container{}, false
		if path, ok := paths[c.id]; ok {
			var err error
			if now, running, err = files.measureBy(deadline, &r, cgroup{c.id, path}, false); err != nil {
				return nil, fmt.Errorf("container %s: %w", c.id, err)
			}
		}
		if running && !c.memoryKnown {
			c.memoryKB = now.memoryKB
		}
		if running && !c.cpuKnown {
			c.cpuNS, c.atNS = now.cpuNS, now.atNS
		}
		if running || d.shims {
			done = append(done, c.container)
		}
	}
	return done, nil
}

// cgroupsByID finds the paths of the containers' cgroups; the map is never nil.
func cgroupsByID(proc procfs) (*cgroups, map[string]string, error) {
	paths := make(map[string]string)
	files, err := findCgroups(proc)
	if err != nil {
		return nil, paths, err
	}
	found, err := files.find()
	for _, cg := range found {
		paths[cg.id] = cg.path
	}
	return files, paths, err
}

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
