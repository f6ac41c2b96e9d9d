package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"winnow/tools/internal/record"
)

// Patience is how long a container that starts may take until all its files are there: on v1 it comes into one
// hierarchy after the other.
const Patience = 200 * time.Millisecond

// ErrUncounted is a cgroup without the controllers that count for an engine: on v2 whoever may make cgroups can give
// one the name of a container.
var ErrUncounted = errors.New("passed over, since its cgroup counts no memory")

// Options is what is measured besides memory and CPU time, and until when a container that starts is waited for.
type Options struct {
	Processes bool // each is listed
	Limits    bool
	Until     time.Time
}

// MeasureAll measures all running containers. One that cannot be measured, or cannot be told from others, costs itself
// alone.
func (f *Files) MeasureAll(want Options) (all Measured, err error) {
	found, err := f.Find()
	if err != nil {
		return Measured{}, err
	}
	var cgroups []Cgroup
	for _, id := range slices.Sorted(maps.Keys(found)) {
		same := found[id]
		own := &same[0]
		if len(same) > 1 {
			var said string
			own, said = f.Own(same)
			all.Doubles = append(all.Doubles, said)
		}
		if own != nil {
			cgroups = append(cgroups, *own)
		}
	}

	f.keepFor(cgroups)
	type result struct {
		Container
		running bool
		err     error
	}
	results := make([]result, len(cgroups))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 8) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(cgroups)); i = next.Add(1) - 1 {
				r, cg := &results[i], cgroups[i]
				known := Container{Container: record.Container{ID: cg.ID, Engine: cg.Engine}}
				r.Container, r.running, r.err = f.Measure(cg, known, want)
			}
		})
	}
	workers.Wait()

	all.Containers = make([]Container, 0, len(results))
	for i := range results {
		if r := &results[i]; r.err != nil {
			all.Failed = append(all.Failed, fmt.Errorf("container %s: %w", cgroups[i].ID, r.err))
		} else if r.running {
			all.Containers = append(all.Containers, r.Container)
		}
	}
	return all, nil
}

// Measure adds to what is known of a container its figures, and its processes where none is known. running is false
// where it has ended.
func (f *Files) Measure(cg Cgroup, known Container, want Options) (c Container, running bool, err error) {
	kept := f.kept[cg.Path]
	defer kept.close(false)
	for {
		again := kept.any()
		c, running, err = f.measureOnce(cg, known, want)
		if again && (err != nil || !running) { // it may have been started anew, with files of the same names
			kept.close(true)
			continue
		}
		if !gone(err) {
			return c, running, err
		}
		if f.Source == record.SourceCgroup2 {
			return c, running, fmt.Errorf("%w: %w", ErrUncounted, err)
		}
		if time.Now().After(want.Until) {
			return c, running, err
		}
		time.Sleep(Patience / 20)
	}
}

// measureOnce is Measure without patience: err is that a file is missing where the container still runs.
func (f *Files) measureOnce(cg Cgroup, c Container, want Options) (now Container, running bool, err error) {
	kept := f.kept[cg.Path]
	at, err := f.memory.keeping(kept).open(cg.Path)
	if gone(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	defer at.close()
	if c.Processes == 0 {
		if err := f.processes(at, cg, &c, want.Processes); c.Processes == 0 || err != nil {
			return c, false, err
		}
	}
	err = f.usage(at, cg, &c)
	if err == nil && want.Limits {
		err = f.limits(at, cg, &c)
	}
	if gone(err) { // with the container, or is it the file that is missing?
		if pids, _ := f.pids(at, cg); len(pids) == 0 {
			return c, false, nil
		}
	}
	return c, err == nil, err
}

// processes reads those of a container that live.
func (f *Files) processes(at dir, cg Cgroup, c *Container, list bool) error {
	pids, err := f.pids(at, cg)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var unseen []int
	proc := Proc{f.proc.keeping(at.kept)}
	for _, pid := range pids {
		p, live, err := proc.process(pid)
		switch {
		case gone(err):
			unseen = append(unseen, pid)
		case err != nil:
			return err
		case live:
			c.Add(p, list)
		}
	}
	if c.Processes == 0 && len(unseen) > 0 {
		still, err := f.pids(at, cg)
		if err == nil {
			c.addHidden(unseen, still)
		}
	}
	return nil
}

// addHidden counts those of the unseen processes that are still there, but that procfs does not show: it is mounted
// with hidepid, or they are in another PID namespace. A process that ends leaves its cgroup before it leaves procfs.
func (c *Container) addHidden(unseen, still []int) {
	for _, pid := range unseen {
		if _, listed := slices.BinarySearch(still, pid); listed {
			c.Add(Process{Process: record.Process{PID: pid}}, false)
			c.Hidden = true
		}
	}
}
