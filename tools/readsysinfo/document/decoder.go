package document

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

// decoder reads the values of a document that is known to be JSON. err is what was wrong first, and names the members
// that it lies in; from then on nothing is read.
type decoder struct {
	withProcesses bool // each is listed
	err           error
}

// containers reads the list of them that the module gives.
func (d *decoder) containers(list gjson.Result) (containers []Container) {
	d.items(list, func(object gjson.Result) {
		containers = append(containers, Container{})
		c := &containers[len(containers)-1]
		c.Engine = record.EngineDocker // the only one that the module knew before it told
		var count, rssKB, vszKB uint64
		d.members(object, func(name string, value gjson.Result) {
			switch name {
			case "id":
				if c.ID = d.text(value); !record.IsID(c.ID) {
					d.fail(value, "a container's id")
				}
			case "engine":
				c.Engine = cut(d.text(value), 32)
			case "cgroup_id":
				c.cgroupID = d.number(value)
			case "at_ns":
				if at := int64(d.number(value)); at != 0 {
					c.AtNS = &at
				}
			case "memory_kb":
				if n := d.numberOrNull(value); n != nil {
					c.MemoryKB, c.memoryKnown = *n, true
				}
			case "memory_limit_kb":
				c.MemoryLimitKB = d.numberOrNull(value)
			case "cpu_ns":
				if n := d.numberOrNull(value); n != nil {
					c.CPUNS, c.cpuKnown = *n, true
				}
			case "cpu_limit_percent":
				c.CPULimitPercent = d.percentOrNull(value)
			case "process_count":
				count = d.number(value)
			case "rss_kb":
				rssKB = d.number(value)
			case "vsz_kb":
				vszKB = d.number(value)
			case "processes":
				d.items(value, func(object gjson.Result) {
					one := d.process(object)
					if one.PID == 0 {
						d.fail(object, "a process with a pid")
					}
					c.Add(one, d.withProcesses)
				})
			}
		})
		c.Processes, c.RSSKB, c.VSZKB = int(count), rssKB, vszKB // they may not all be listed
		if c.ID == "" {
			d.fail(object, "a container with an id")
		}
	})
	return containers
}

// shims reads a list of the runtime's shims, one for each container. The id is among the shim's arguments; what was
// measured is the shim itself.
func (d *decoder) shims(list gjson.Result) (containers []Container) {
	index := make(map[string]int)
	d.items(list, func(object gjson.Result) {
		one := d.process(object)
		if one.Cmdline == nil {
			return
		}
		namespace, rest, _ := strings.Cut(*one.Cmdline, " -id ")
		id, _, _ := strings.Cut(rest, " ")
		if !record.IsID(id) {
			return
		}
		i, ok := index[id]
		if !ok {
			i = len(containers)
			index[id] = i
			containers = append(containers, Container{})
		}
		c := &containers[i]
		if c.ID, c.Engine = id, record.EngineContainerd; strings.HasSuffix(namespace, " -namespace moby") {
			c.Engine = record.EngineDocker
		}
		c.Add(one, d.withProcesses)
		c.MemoryKB += one.RSSKB
		if one.CPUNS != nil {
			c.CPUNS += *one.CPUNS
		}
	})
	return containers
}

// process reads a process of either kind of document.
func (d *decoder) process(object gjson.Result) (one cgroup.Process) {
	one.CPUNS = new(uint64(0))
	truncated := false
	d.members(object, func(name string, value gjson.Result) {
		switch name {
		case "pid":
			one.PID = int(d.number(value))
		case "name":
			one.Name = cut(d.text(value), 256)
		case "state":
			one.State = cut(d.text(value), 1)
		case "cmdline", "Cmdline":
			if value.Type != gjson.Null {
				text, cut := cgroup.ShortenCmdline(strings.TrimRight(d.text(value), " "))
				one.Cmdline, truncated = &text, truncated || cut
			}
		case "cmdline_truncated":
			truncated = d.flag(value) || truncated
		case "start_ns":
			one.StartNS = d.number(value)
		case "cpu_ns", "Cpu_Utilizado":
			one.CPUNS = d.numberOrNull(value)
		case "vsz_kb":
			one.VSZKB = d.number(value)
		case "rss_kb":
			one.RSSKB = d.number(value)
		}
	})
	one.CmdlineTruncated = truncated
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

func (d *decoder) numberOrNull(value gjson.Result) *uint64 {
	if value.Type == gjson.Null {
		return nil
	}
	return new(d.number(value))
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
