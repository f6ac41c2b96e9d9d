package main

import (
	"os"
	"testing"
	"time"

	"winnow/tools/readsysinfo/cgroup"
)

// What stays open between samples never stands for another container: each sample is as one that opens all anew, also
// where a process ended or a container was started anew under its name. What has ended leaves nothing open.
func TestKeptOpen(t *testing.T) {
	g := newGround(t)
	proc, err := cgroup.OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	files, err := cgroup.Open(proc)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	opened := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	files.KeepOpen()
	measure := func(n int) *cgroup.Container {
		t.Helper()
		all, err := files.MeasureAll(cgroup.Options{Limits: true, Until: time.Now().Add(cgroup.Patience)})
		if err != nil || len(all.Failed) > 0 {
			t.Fatal(err, all.Failed)
		}
		for i := range all.Containers {
			if all.Containers[i].ID == testID(n) {
				return &all.Containers[i]
			}
		}
		return nil
	}
	measure(1) // what others there are on this host
	before := opened()
	first := sleeper("first")
	stop := g.start("/"+testID(1), first)
	for range 3 {
		if c := measure(1); c == nil || c.PID != first.Process.Pid {
			t.Fatalf("got %+v", c)
		}
	}
	if opened() <= before {
		t.Error("nothing stays open")
	}
	stop()
	if c := measure(1); c != nil {
		t.Errorf("has ended: %+v", c)
	}
	for range 3 { // with a new cgroup of the name each time
		g.remove("/" + testID(1))
		again := sleeper("again")
		stop := g.start("/"+testID(1), again)
		for range 2 {
			if c := measure(1); c == nil || c.PID != again.Process.Pid {
				t.Errorf("started anew: got %+v", c)
			}
		}
		stop()
	}
	g.remove("/" + testID(1))
	if c := measure(1); c != nil {
		t.Errorf("is gone: %+v", c)
	}
	if now := opened(); now > before {
		t.Errorf("%d files are open, and were %d", now, before)
	}
}
