package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
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

// parseDocument reads a whole document of either kind, and keeps the processes
// where that is asked. Unknown members are passed over.
func parseDocument(text []byte, keep bool) (*document, error) {
	end, err := objectEnd(text)
	if err != nil {
		return nil, err
	}
	if !gjson.ValidBytes(text[:end]) {
		return nil, errors.New("not valid JSON")
	}
	var top fields
	top.read(gjson.ParseBytes(text[:end]))
	d := &document{
		boottimeNS: int64(top.number("boottime_ns")),
		memory:     memory{top.number("total_memory_kb"), top.number("free_memory_kb"), top.number("available_memory_kb")},
	}
	format, containers, shims := top.number("format"), top.get("containers"), top.get("processes")
	switch {
	case top.err != nil:
		return nil, top.err
	case d.memory.total == 0 || d.memory.free > d.memory.total:
		return nil, errors.New("has no total_memory_kb that is more than its free_memory_kb")
	case containers.IsArray() && format == 1:
		if len(bytes.Trim(text[end:], " \t\r\n\x00")) > 0 {
			return nil, errors.New("goes on after its end")
		}
		return d, d.addContainers(containers, keep)
	case containers.Exists():
		return nil, errors.New("is not of the format 1, which is the only one known")
	case shims.IsArray(): // some of those modules leave rubbish after the end
		return d, d.addShims(shims, keep)
	}
	return nil, errors.New("has neither a list of containers nor one of processes")
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

func (d *document) addContainers(list gjson.Result, keep bool) (err error) {
	seen := make(map[string]bool)
	var f, in fields
	list.ForEach(func(_, v gjson.Result) bool {
		f.read(v)
		c := documentContainer{container: container{id: f.get("id").String(), atNS: d.boottimeNS}}
		f.get("processes").ForEach(func(_, v gjson.Result) bool {
			p, _ := in.process(v)
			c.add(p, keep)
			return true
		})
		c.count, c.rssKB, c.vszKB = int(f.number("process_count")), f.number("rss_kb"), f.number("vsz_kb")
		if c.memoryKnown = f.get("memory_kb").Type != gjson.Null; c.memoryKnown {
			c.memoryKB = f.number("memory_kb")
		}
		if c.cpuKnown = f.get("cpu_ns").Type != gjson.Null; c.cpuKnown {
			c.cpuNS = f.number("cpu_ns")
		}
		switch bad := cmp.Or(f.err, in.err); {
		case bad != nil:
			err = fmt.Errorf("container %q: %w", cut(c.id, 64), bad)
		case !isID(c.id) || seen[c.id]:
			err = fmt.Errorf("container %q: not an id of its own", cut(c.id, 64))
		}
		seen[c.id] = true
		d.containers = append(d.containers, c)
		return err == nil
	})
	return err
}

// addShims takes a document that lists the runtime's shim of each container.
// The id is among the shim's arguments; what was measured is the shim itself.
func (d *document) addShims(list gjson.Result, keep bool) (err error) {
	d.shims = true
	d.memory.available = max(d.memory.available, d.memory.free)
	index := make(map[string]int)
	var f fields
	list.ForEach(func(_, v gjson.Result) bool {
		p, id := f.process(v)
		if f.err != nil {
			err = fmt.Errorf("process %d: %w", p.pid, f.err)
			return false
		}
		if id == "" {
			return true
		}
		i, ok := index[id]
		if !ok {
			i = len(d.containers)
			index[id] = i
			d.containers = append(d.containers, documentContainer{container: container{id: id}})
		}
		c := &d.containers[i]
		c.add(p, keep)
		c.memoryKB += p.rssKB
		c.cpuNS += p.cpuNS
		return true
	})
	return err
}

// fields is the members of the object read last, and the first error of all.
type fields struct {
	members []record.Member
	err     error
}

func (f *fields) read(object gjson.Result) {
	f.members = f.members[:0]
	object.ForEach(func(name, value gjson.Result) bool {
		f.members = append(f.members, record.Member{Name: name.Str, Value: value})
		return true
	})
}

func (f *fields) get(name string) gjson.Result {
	for i := range f.members {
		if f.members[i].Name == name {
			return f.members[i].Value
		}
	}
	return gjson.Result{}
}

// number is a member, 0 where there is none.
func (f *fields) number(name string) uint64 {
	v := f.get(name)
	if !v.Exists() {
		return 0
	}
	n, err := strconv.ParseUint(v.Raw, 10, 63)
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: not a whole number", name)
	}
	return n
}

// process reads a process of either kind of document; id is the container's
// where the process is a shim.
func (f *fields) process(v gjson.Result) (p process, id string) {
	f.read(v)
	p = process{
		pid: int(f.number("pid")), name: cut(f.get("name").String(), 256), state: cut(f.get("state").String(), 1),
		cmdline: strings.TrimRight(cut(f.get("cmdline").String()+f.get("Cmdline").String(), maxCmdline), " "),
		startNS: f.number("start_ns"), cpuNS: f.number("cpu_ns") + f.number("Cpu_Utilizado"),
		vszKB: f.number("vsz_kb"), rssKB: f.number("rss_kb"),
	}
	_, rest, _ := strings.Cut(p.cmdline, " -id ")
	if id, _, _ = strings.Cut(rest, " "); !isID(id) {
		id = ""
	}
	return p, id
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
			defer files.close()
		}
		now, running := container{}, false
		if path, ok := paths[c.id]; ok {
			var err error
			if now, running, err = files.measure(&r, cgroup{c.id, path}, false); err != nil {
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
	slices.SortFunc(done, func(a, b container) int { return strings.Compare(a.id, b.id) })
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
