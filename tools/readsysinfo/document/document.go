// Package document reads the snapshots that something else took: winnow's kernel module, or one of the modules that
// winnow's forerunners were built on, which measured each container's shim. What a document leaves out of a container
// is taken from its cgroup files. The text is not trusted: it costs no more memory than some times its length.
package document

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"winnow/tools/internal/jsonscan"
	"winnow/tools/readsysinfo/cgroup"
)

// MaxLength is the longest document that is to be read, in bytes: tens of thousands of processes.
const MaxLength = 32 << 20

// maxDepth bounds how deep a document nests.
const maxDepth = 64

// Document is a snapshot.
type Document struct {
	BoottimeNS                   int64 // when it was begun, since the host's boot; 0 where it does not tell
	TotalKB, FreeKB, AvailableKB uint64
	Containers                   []*Container // in the order of their ids
	shims                        bool         // what was measured of a container is its runtime's shim
}

// Container is one of a document's.
type Container struct {
	cgroup.Container
	memoryKnown, cpuKnown bool   // else they are in the cgroup files
	cgroupID              uint64 // the inode of its cgroup's directory; 0 where it does not tell
}

// Parse reads a whole document of either kind, with the containers' processes where that is asked. Unknown members are
// passed over. A format that is not named before the containers is not known. An error names the member that is wrong.
func Parse(text []byte, withProcesses bool) (*Document, error) {
	in := decoder{scan: jsonscan.Scanner{Text: text}, withProcesses: withProcesses}
	d := &Document{}
	var format uint64
	var containers []Container
	var listed bool
	in.members(func(name []byte) {
		switch string(name) {
		case "format":
			format = in.number()
		case "boottime_ns":
			d.BoottimeNS = int64(in.number())
		case "total_memory_kb":
			d.TotalKB = in.number()
		case "free_memory_kb":
			d.FreeKB = in.number()
		case "available_memory_kb":
			d.AvailableKB = in.number()
		case "containers":
			if listed = true; format == 1 {
				containers = in.containers()
			} else {
				in.value()
			}
		case "processes":
			d.shims = true
			d.order(in.shims())
		default:
			in.value()
		}
	})
	rest := bytes.Trim(text[in.scan.At:], " \t\r\n\x00")
	switch {
	case in.err != nil:
		return nil, in.err
	case d.TotalKB == 0 || d.FreeKB > d.TotalKB:
		return nil, errors.New("has no total_memory_kb that is more than its free_memory_kb")
	case listed && format != 1:
		return nil, errors.New("is not of the format 1, which is the only one known")
	case listed && len(rest) > 0: // some of the forerunners leave rubbish there
		return nil, errors.New("goes on after its end")
	case listed:
		d.shims = false
		d.order(containers)
		d.setTimes()
	case d.shims:
		d.AvailableKB = max(d.AvailableKB, d.FreeKB)
	default:
		return nil, errors.New("has neither a list of containers nor one of processes")
	}
	return d, nil
}

// order sets the containers, in the order of their ids.
func (d *Document) order(containers []Container) {
	d.Containers = make([]*Container, len(containers))
	for i := range containers {
		d.Containers[i] = &containers[i]
	}
	slices.SortFunc(d.Containers, func(a, b *Container) int { return strings.Compare(a.ID, b.ID) })
}

// setTimes sets when the CPU time of a container was read where the module did not tell: after it began.
func (d *Document) setTimes() {
	for _, c := range d.Containers {
		if c.AtNS == nil && d.BoottimeNS != 0 {
			c.AtNS = &d.BoottimeNS
		}
	}
}
