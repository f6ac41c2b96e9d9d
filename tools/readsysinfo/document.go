package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

const (
	// maxDocument is the longest document that is read, in bytes: tens of
	// thousands of processes.
	maxDocument = 32 << 20
	// maxDepth bounds how deep a document nests: the validator recurses.
	maxDepth = 64
)

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

// parseDocument reads a whole document of either kind. Unknown members are
// passed over.
func parseDocument(text []byte) (*document, error) {
	end, err := objectEnd(text)
	if err != nil {
		return nil, err
	}
	object := string(text[:end])
	if !gjson.Valid(object) {
		return nil, errors.New("not valid JSON")
	}
	var d document
	var format uint64
	var containers, shims gjson.Result
	err = each(gjson.Parse(object), func(name string, v gjson.Result) (err error) {
		switch name {
		case "format":
			format, err = number(v)
		case "boottime_ns":
			var ns uint64
			ns, err = number(v)
			d.boottimeNS = int64(ns)
		case "total_memory_kb":
			d.memory.total, err = number(v)
		case "free_memory_kb":
			d.memory.free, err = number(v)
		case "available_memory_kb":
			d.memory.available, err = number(v)
		case "containers":
			containers, err = v, want(v.IsArray(), "an array")
		case "processes":
			shims, err = v, want(v.IsArray(), "an array")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if d.memory.total == 0 || d.memory.free > d.memory.total {
		return nil, errors.New("has no total_memory_kb that is more than its free_memory_kb")
	}
	switch {
	case containers.Exists() && format == 1:
		if len(bytes.Trim(text[end:], " \t\r\n\x00")) > 0 {
			return nil, errors.New("goes on after its end")
		}
		err = d.addContainers(containers)
	case containers.Exists():
		return nil, fmt.Errorf("of format %d, and only format 1 is known", format)
	case shims.Exists(): // some of those modules leave rubbish after the end
		err = d.addShims(shims)
	default:
		return nil, errors.New("has neither containers nor processes")
	}
	return &d, err
}

// objectEnd finds where the object that text begins with ends.
func objectEnd(text []byte) (int, error) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return 0, fmt.Errorf("nests deeper than %d", maxDepth)
			}
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return i + 1, nil
			}
		}
	}
	return 0, errors.New("ends before its end: it may be torn")
}

func (d *document) addContainers(list gjson.Result) error {
	seen := make(map[string]bool)
	return each(list, func(_ string, v gjson.Result) error {
		c := documentContainer{container: container{atNS: d.boottimeNS}}
		if err := each(v, c.member); err != nil {
			return fmt.Errorf("container %q: %w", c.id, err)
		}
		if !isID(c.id) || seen[c.id] {
			return fmt.Errorf("container %q: not an id of its own", c.id)
		}
		seen[c.id] = true
		d.containers = append(d.containers, c)
		return nil
	})
}

func (c *documentContainer) member(name string, v gjson.Result) (err error) {
	switch name {
	case "id":
		c.id = v.String()
	case "memory_kb":
		if c.memoryKnown = v.Type != gjson.Null; c.memoryKnown {
			c.memoryKB, err = number(v)
		}
	case "cpu_ns":
		if c.cpuKnown = v.Type != gjson.Null; c.cpuKnown {
			c.cpuNS, err = number(v)
		}
	case "processes":
		var sum container
		err = each(v, func(_ string, v gjson.Result) error {
			p, _, err := documentProcess(v)
			sum.add(p, true)
			return err
		})
		c.first, c.processes = sum.first, sum.processes
	case "process_count":
		var n uint64
		n, err = number(v)
		c.count = int(n)
	case "rss_kb":
		c.rssKB, err = number(v)
	case "vsz_kb":
		c.vszKB, err = number(v)
	}
	return err
}

// addShims takes a document that lists the runtime's shim of each container.
// The id is among the shim's arguments; what was measured is the shim itself.
func (d *document) addShims(list gjson.Result) error {
	d.shims = true
	d.memory.available = max(d.memory.available, d.memory.free)
	index := make(map[string]int)
	return each(list, func(_ string, v gjson.Result) error {
		p, id, err := documentProcess(v)
		if err != nil {
			return fmt.Errorf("process %d: %w", p.pid, err)
		}
		if id == "" {
			return nil
		}
		i, ok := index[id]
		if !ok {
			i = len(d.containers)
			index[id] = i
			d.containers = append(d.containers, documentContainer{container: container{id: id}})
		}
		c := &d.containers[i]
		c.add(p, true)
		c.memoryKB += p.rssKB
		c.cpuNS += p.cpuNS
		return nil
	})
}

// documentProcess reads a process of either kind of document; id is the
// container's where the process is a shim.
func documentProcess(v gjson.Result) (p process, id string, err error) {
	err = each(v, func(name string, v gjson.Result) (err error) {
		switch name {
		case "pid":
			var n uint64
			n, err = number(v)
			p.pid = int(n)
		case "name":
			p.name = cut(v.String(), 256)
		case "state":
			p.state = cut(v.String(), 1)
		case "cmdline", "Cmdline":
			p.cmdline = strings.TrimRight(cut(v.String(), maxCmdline), " ")
		case "start_ns":
			p.startNS, err = number(v)
		case "vsz_kb":
			p.vszKB, err = number(v)
		case "rss_kb":
			p.rssKB, err = number(v)
		case "cpu_ns", "Cpu_Utilizado":
			p.cpuNS, err = number(v)
		}
		return err
	})
	arguments := strings.Fields(p.cmdline)
	if i := slices.Index(arguments, "-id"); i >= 0 && i+1 < len(arguments) && isID(arguments[i+1]) {
		id = arguments[i+1]
	}
	return p, id, err
}

// complete takes from the cgroup files what the document leaves to them, and
// all that it measured of shims. Left out are containers that are not there any
// more; but a shim's figures stay, without a rate.
func (d *document) complete(proc procfs) ([]container, error) {
	done := make([]container, 0, len(d.containers))
	var files *cgroups
	var paths map[string]string
	var r reader
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
			if err == nil {
				defer files.close()
			}
		}
		path, ok := paths[c.id]
		if ok {
			err := c.take(files, &r, path)
			if err != nil && !gone(err) {
				return nil, fmt.Errorf("container %s: %w", c.id, err)
			}
			ok = err == nil
		}
		if ok || d.shims {
			done = append(done, c.container)
		}
	}
	slices.SortFunc(done, func(a, b container) int { return strings.Compare(a.id, b.id) })
	return done, nil
}

// take takes what is not known from the cgroup at path.
func (c *documentContainer) take(files *cgroups, r *reader, path string) error {
	at, err := files.memory.open(path)
	if err != nil {
		return err
	}
	defer at.close()
	memoryKB, cpuNS, atNS, err := files.usage(r, at, path)
	if err != nil {
		return err
	}
	if !c.memoryKnown {
		c.memoryKB = memoryKB
	}
	if !c.cpuKnown {
		c.cpuNS, c.atNS = cpuNS, atNS
	}
	return nil
}

// cgroupsByID finds the containers' cgroups; the map is never nil.
func cgroupsByID(proc procfs) (*cgroups, map[string]string, error) {
	paths := make(map[string]string)
	files, err := findCgroups(proc)
	if err != nil {
		return nil, paths, err
	}
	found, err := files.find()
	if err != nil {
		files.close()
		return nil, paths, err
	}
	for _, cg := range found {
		paths[cg.id] = cg.path
	}
	return files, paths, nil
}

// each calls f for the members of an object or the items of an array, until
// it fails. The error names the member.
func each(v gjson.Result, f func(name string, v gjson.Result) error) (err error) {
	v.ForEach(func(name, v gjson.Result) bool {
		if err = f(name.Str, v); err != nil && name.Str != "" {
			err = fmt.Errorf("%s: %w", name.Str, err)
		}
		return err == nil
	})
	return err
}

func number(v gjson.Result) (uint64, error) {
	n, err := strconv.ParseUint(v.Raw, 10, 63)
	return n, want(err == nil, "a whole number")
}

func want(ok bool, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("not %s", what)
}

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
