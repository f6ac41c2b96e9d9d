package document

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/jsonscan"
	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

// decoder reads a document's values one after the other, in one pass: a document of a thousand containers would take three
// times as long with gjson, which goes over the text of a member again for each level that it nests. err is what was
// wrong first, and names the members that it lies in; from then on nothing is read.
type decoder struct {
	scan          jsonscan.Scanner
	withProcesses bool // each is listed
	err           error
}

// leastText is about how much text the module writes of a container, in bytes, and at least.
const leastText = 400

// containers reads the list of them that the module gives.
func (d *decoder) containers() []Container {
	containers := make([]Container, 0, len(d.scan.Text)/leastText+1)
	d.items(func() {
		from := d.scan.At
		containers = append(containers, Container{})
		c := &containers[len(containers)-1]
		c.Engine = record.EngineDocker // the only one that the module knew before it told
		var count, rssKB, vszKB uint64
		d.members(func(name []byte) {
			switch string(name) {
			case "id":
				from := d.scan.At
				if c.ID = d.text(); !record.IsID(c.ID) {
					d.fail(d.scan.Text[from:d.scan.At], "a container's id")
				}
			case "engine":
				c.Engine = cut(d.text(), 32)
			case "cgroup_id":
				c.cgroupID = d.number()
			case "at_ns":
				if at := int64(d.number()); at != 0 {
					c.AtNS = &at
				}
			case "memory_kb":
				if n := d.numberOrNull(); n != nil {
					c.MemoryKB, c.memoryKnown = *n, true
				}
			case "memory_limit_kb":
				c.MemoryLimitKB = d.numberOrNull()
			case "cpu_ns":
				if n := d.numberOrNull(); n != nil {
					c.CPUNS, c.cpuKnown = *n, true
				}
			case "cpu_limit_percent":
				c.CPULimitPercent = d.percentOrNull()
			case "process_count":
				count = d.number()
			case "rss_kb":
				rssKB = d.number()
			case "vsz_kb":
				vszKB = d.number()
			case "processes":
				d.items(func() {
					from := d.scan.At
					one := d.process()
					if one.PID == 0 {
						d.fail(d.scan.Text[from:d.scan.At], "a process with a pid")
					}
					c.Add(one, d.withProcesses)
				})
			default:
				d.value()
			}
		})
		c.Processes, c.RSSKB, c.VSZKB = int(count), rssKB, vszKB // they may not all be listed
		if c.ID == "" {
			d.fail(d.scan.Text[from:d.scan.At], "a container with an id")
		}
	})
	return containers
}

// shims reads a list of the runtime's shims, one for each container. The id is among the shim's arguments; what was
// measured is the shim itself.
func (d *decoder) shims() (containers []Container) {
	index := make(map[string]int)
	d.items(func() {
		one := d.process()
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
func (d *decoder) process() (one cgroup.Process) {
	one.CPUNS = new(uint64(0))
	truncated := false
	d.members(func(name []byte) {
		switch string(name) {
		case "pid":
			one.PID = int(d.number())
		case "name":
			one.Name = cut(d.text(), 256)
		case "state":
			one.State = cut(d.text(), 1)
		case "cmdline", "Cmdline":
			if !d.null() {
				text, cut := cgroup.ShortenCmdline(strings.TrimRight(d.text(), " "))
				one.Cmdline, truncated = &text, truncated || cut
			}
		case "cmdline_truncated":
			truncated = d.flag() || truncated
		case "start_ns":
			one.StartNS = d.number()
		case "cpu_ns", "Cpu_Utilizado":
			one.CPUNS = d.numberOrNull()
		case "vsz_kb":
			one.VSZKB = d.number()
		case "rss_kb":
			one.RSSKB = d.number()
		default:
			d.value()
		}
	})
	one.CmdlineTruncated = truncated
	return one
}

// members calls read with the name of each of an object's; it reads the value.
func (d *decoder) members(read func(name []byte)) {
	d.walk('{', '}', "an object", func() {
		name := d.quoted()
		d.scan.Space()
		if d.err == nil && !d.scan.Take(':') {
			d.broken()
		}
		d.scan.Space()
		if d.err != nil {
			return
		}
		if read(name); d.err != nil {
			d.err = fmt.Errorf("%.64s: %w", name, d.err)
		}
	})
}

// items calls read at each of a list's; it reads it.
func (d *decoder) items(read func()) { d.walk('[', ']', "a list", read) }

// walk goes over what stands between two brackets.
func (d *decoder) walk(open, end byte, what string, read func()) {
	d.scan.Space()
	if d.err != nil || !d.scan.Take(open) {
		d.fail(d.value(), what)
		return
	}
	d.scan.Space()
	for first := true; d.err == nil && !d.scan.Take(end); first = false {
		if !first && !d.scan.Take(',') {
			d.broken()
			return
		}
		d.scan.Space()
		if read(); d.err == nil {
			d.scan.Space()
		}
	}
}

// value reads a value of any kind, and gives it as it stands.
func (d *decoder) value() []byte {
	from := d.scan.At
	if d.err == nil && !d.scan.Value(maxDepth) {
		d.broken()
	}
	if d.err != nil {
		return nil
	}
	return d.scan.Text[from:d.scan.At]
}

// number reads a whole number below 2^63.
func (d *decoder) number() uint64 {
	text := d.value()
	n, err := strconv.ParseUint(string(text), 10, 63)
	if err != nil {
		d.fail(text, "a whole number")
	}
	return n
}

func (d *decoder) numberOrNull() *uint64 {
	if d.null() {
		return nil
	}
	return new(d.number())
}

// percentOrNull reads a number that may have decimals.
func (d *decoder) percentOrNull() *float64 {
	if d.null() {
		return nil
	}
	text := d.value()
	x, err := strconv.ParseFloat(string(text), 64)
	if err != nil || x < 0 {
		d.fail(text, "a number from 0 up")
	}
	return &x
}

// null reads a null, if that is next.
func (d *decoder) null() bool {
	is := d.scan.At < len(d.scan.Text) && d.scan.Text[d.scan.At] == 'n'
	if is {
		d.value()
	}
	return is
}

func (d *decoder) flag() bool {
	text := string(d.value())
	if text != "true" && text != "false" {
		d.fail([]byte(text), "true or false")
	}
	return text == "true"
}

func (d *decoder) text() string { return string(d.quoted()) }

// quoted reads a string, of which the bytes are the document's where they can be.
func (d *decoder) quoted() []byte {
	d.scan.Escaped = false
	text := d.value()
	switch {
	case len(text) == 0 || text[0] != '"':
		d.fail(text, "a string")
		return nil
	case d.scan.Escaped:
		return []byte(gjson.ParseBytes(text).Str)
	}
	return text[1 : len(text)-1]
}

func (d *decoder) fail(value []byte, want string) {
	if d.err == nil {
		d.err = fmt.Errorf("not %s: %.64s", want, value)
	}
}

func (d *decoder) broken() {
	if d.err == nil {
		d.err = fmt.Errorf("byte %d: not JSON, cut short, or nested deeper than %d", d.scan.At, maxDepth)
	}
}

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
