package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// maxDepth bounds how deep a document nests.
const maxDepth = 64

// decoder reads the values of a document that is known to be JSON. err is what
// was wrong first, and names the members that it lies in; from then on nothing
// is read.
type decoder struct {
	withProcesses bool
	err           error
}

// containers reads the list of them that the module gives.
func (d *decoder) containers(list gjson.Result) (containers []documentContainer) {
	d.items(list, func(object gjson.Result) {
		containers = append(containers, documentContainer{})
		c := &containers[len(containers)-1]
		c.engine = record.EngineDocker // the only one that the module knew before it told
		var count, rssKB, vszKB uint64
		d.members(object, func(name string, value gjson.Result) {
			switch name {
			case "id":
				if c.id = d.text(value); !record.IsID(c.id) {
					d.fail(value, "a container's id")
				}
			case "engine":
				c.engine = cut(d.text(value), 32)
			case "cgroup_id":
				c.cgroupID = d.number(value)
			case "at_ns":
				c.atNS = int64(d.number(value))
			case "memory_kb":
				c.memoryKB, c.memoryKnown = d.numberOrNull(value)
			case "memory_limit_kb":
				if limit, ok := d.numberOrNull(value); ok {
					c.memoryLimit = &limit
				}
			case "cpu_ns":
				c.cpuNS, c.cpuKnown = d.numberOrNull(value)
			case "cpu_limit_percent":
				c.cpuLimit = d.percentOrNull(value)
			case "process_count":
				count = d.number(value)
			case "rss_kb":
				rssKB = d.number(value)
			case "vsz_kb":
				vszKB = d.number(value)
			case "processes":
				d.items(value, func(one gjson.Result) { c.add(d.process(one), d.withProcesses) })
			}
		})
		c.count, c.rssKB, c.vszKB = int(count), rssKB, vszKB // they may not all be listed
		if c.id == "" {
			d.fail(object, "a container with an id")
		}
	})
	return containers
}

// shims reads a list of the runtime's shims, one for each container. The id is
// among the shim's arguments; what was measured is the shim itself.
func (d *decoder) shims(list gjson.Result) (containers []documentContainer) {
	index := make(map[string]int)
	d.items(list, func(object gjson.Result) {
		one := d.process(object)
		namespace, rest, _ := strings.Cut(one.cmdline.text, " -id ")
		id, _, _ := strings.Cut(rest, " ")
		if !record.IsID(id) {
			return
		}
		engine := record.EngineContainerd
		if strings.HasSuffix(namespace, " -namespace moby") {
			engine = record.EngineDocker
		}
		i, ok := index[id]
		if !ok {
			i = len(containers)
			index[id] = i
			containers = append(containers, documentContainer{container: container{id: id, engine: engine}})
		}
		c := &containers[i]
		c.add(one, d.withProcesses)
		c.memoryKB += one.rssKB
		c.cpuNS += one.cpuNS
	})
	return containers
}

// process reads a process of either kind of document.
func (d *decoder) process(object gjson.Result) (one process) {
	truncated := false
	d.members(object, func(name string, value gjson.Result) {
		switch name {
		case "pid":
			one.pid = int(d.number(value))
		case "name":
			one.name = cut(d.text(value), 256)
		case "state":
			one.state = cut(d.text(value), 1)
		case "cmdline", "Cmdline":
			if value.Type != gjson.Null {
				one.cmdline = shorten(strings.TrimRight(d.text(value), " "))
			}
		case "cmdline_truncated":
			truncated = d.flag(value)
		case "start_ns":
			one.startNS = d.number(value)
		case "cpu_ns", "Cpu_Utilizado":
			var known bool
			one.cpuNS, known = d.numberOrNull(value)
			one.cpuUnknown = !known
		case "vsz_kb":
			one.vszKB = d.number(value)
		case "rss_kb":
			one.rssKB = d.number(value)
		}
	})
	one.cmdline.truncated = one.cmdline.truncated || truncated
	return one
}

// members calls read with each of an object's.
func (d *decoder) members(object gjson.Result, read func(name string, value gjson.Result)) {
	if !object.IsObject() {
		d.fail(object, "an object")
		return
	}
	object.ForEach(func(name, value gjson.Result) bool {
		if read(name.Str, value); d.err != nil {
			d.err = fmt.Errorf("%.64s: %w", name.Str, d.err)
		}
		return d.err == nil
	})
}

// items calls read with each of a list's.
func (d *decoder) items(list gjson.Result, read func(value gjson.Result)) {
	if !list.IsArray() {
		d.fail(list, "a list")
		return
	}
	list.ForEach(func(_, value gjson.Result) bool {
		read(value)
		return d.err == nil
	})
}

// number reads a whole number below 2^63.
func (d *decoder) number(value gjson.Result) uint64 {
	n, err := strconv.ParseUint(value.Raw, 10, 63)
	if err != nil {
		d.fail(value, "a whole number")
	}
	return n
}

func (d *decoder) numberOrNull(value gjson.Result) (n uint64, known bool) {
	if value.Type == gjson.Null {
		return 0, false
	}
	return d.number(value), true
}

// percentOrNull reads a number that may have decimals.
func (d *decoder) percentOrNull(value gjson.Result) *float64 {
	if value.Type == gjson.Null {
		return nil
	}
	x, err := strconv.ParseFloat(value.Raw, 64)
	if err != nil || x < 0 {
		d.fail(value, "a number from 0 up")
	}
	return &x
}

func (d *decoder) flag(value gjson.Result) bool {
	if !value.IsBool() {
		d.fail(value, "true or false")
	}
	return value.Bool()
}

func (d *decoder) text(value gjson.Result) string {
	if value.Type != gjson.String {
		d.fail(value, "a string")
	}
	return value.Str
}

func (d *decoder) fail(value gjson.Result, want string) {
	if d.err == nil {
		d.err = fmt.Errorf("not %s: %.64s", want, value.Raw)
	}
}

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
