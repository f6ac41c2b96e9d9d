package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/readsysinfo/cgroup"
	"winnow/tools/readsysinfo/document"
)

// Whatever is wrong with the module's file, the cgroup files serve instead within the same snapshot, which says so
// once; but not where the module was asked for by name.
func TestFallBack(t *testing.T) {
	good := moduleDocument(5, 3e9)
	tests := []struct {
		name, text, said string
	}{
		{"empty", "", "cut short"},
		{"cut short", good[:len(good)/2], "cut short"},
		{"the end is cut", strings.TrimSpace(good)[:len(good)-3], "cut short"},
		{"goes on", good + "{}", "goes on after its end"},
		{"a later format", strings.Replace(good, `"format":1`, `"format":2`, 1), "not of the format 1"},
		{"not a number", strings.Replace(good, `"pid":10`, `"pid":"x"`, 1), "not a whole number"},
		{"a limit that is none", strings.Replace(good, `"memory_kb":6000`, `"memory_kb":6000,"cpu_limit_percent":"x"`, 1), "not a number from 0 up"},
		{"truncated, or what", strings.Replace(good, `"cmdline":"b"`, `"cmdline":"b","cmdline_truncated":1`, 1), "not true or false"},
		{"not an id", strings.Replace(good, idA, "../../etc", 1), "not a container's id"},
		{"too long", strings.Repeat(" ", document.MaxLength) + good, "longer than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTreeOfOne(t)
			tr.write("proc/sysinfo_winnow", test.text)
			s := tr.run("--source=auto")
			if s.err != nil || s.host.Source != "cgroup2" || len(s.containers) != 1 || s.containers[0].CPUPercent == nil || text(s.containers[0].Cmdline) != "web" {
				t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			if !strings.HasPrefix(s.stderr, "readsysinfo: reading the cgroup files instead of the module's: ") || !strings.Contains(s.stderr, test.said) ||
				strings.Count(s.stderr, "\n") != 1 {
				t.Errorf("said %s", s.stderr)
			}
			s = tr.run("--source=module")
			if s.err == nil || !strings.Contains(s.err.Error(), test.said) || s.stdout != "" {
				t.Errorf("module: %v: %s", s.err, s.stdout)
			}
		})
	}
}

// After it fell back no rate is from what the module counted, whenever that was: there is one from the state of the
// cgroup files, or it waits for one.
func TestRatesAfterFallBack(t *testing.T) {
	counted := func(seconds uint64) counters {
		return counters{Containers: map[string]counter{idA: {CPUNS: seconds * 1e9, PID: 10, StartNS: 5e9}}}
	}
	tests := []struct {
		name, source string
		seconds      int64 // the state's age
		want         float64
		least, most  int64 // the span in ms
	}{
		{"a state of the cgroup files", "cgroup2", 10, 20, 10_000, 20_000},
		{"a state of the module", "module", 10, 0, 100, 5_000},
		{"an old state of the module", "module", 601, 0, 100, 5_000},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTreeOfOne(t)
			tr.write("proc/sysinfo_winnow", "{")
			path := tr.state(test.source, test.seconds, counted(1))
			s := tr.run("--source=auto", "--state", path)
			if s.err != nil || strings.Count(s.stderr, "\n") != 1 || s.containers[0].CPUPercent == nil {
				t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			c := s.containers[0]
			if exact := test.want * 1e4 / float64(*c.IntervalMS); *c.CPUPercent > exact+0.01 || *c.CPUPercent < exact-0.01 {
				t.Errorf("%v %%, not %v", *c.CPUPercent, exact)
			}
			for _, ms := range []*int64{c.IntervalMS, s.host.IntervalMS} {
				if ms == nil || *ms < test.least || *ms > test.most {
					t.Errorf("a span of %v ms", ms)
				}
			}
			st, err := readState(path)
			if err != nil || st.Source != "cgroup2" {
				t.Errorf("kept %+v, %v", st, err)
			}
			// The module's counters are good again, but are others.
			tr.write("proc/sysinfo_winnow", moduleDocument(cgroup.Boottime(), 900e9))
			s = tr.run("--source=auto", "--state", path)
			if s.err != nil || s.host.Source != "module" || s.stderr != "" {
				t.Fatalf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			if c := find(s, idA); c.CPUPercent != nil && *c.CPUPercent > 0 {
				t.Errorf("a rate of two sources: %s", s.stdout)
			}
		})
	}
}

// A snapshot of the module is one open of its file, which is what takes it.
func TestModuleIsOpenedOnce(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	kept := tr.state("module", 10, counters{})
	opened := make(chan bool, 1)
	tr.pipe("proc/sysinfo_winnow", func() string {
		tr.pipe("proc/sysinfo_winnow", func() string { opened <- true; return "" })
		return moduleDocument(cgroup.Boottime(), 3e9)
	})
	s := tr.run("--source=auto", "--state", kept)
	if s.err != nil || s.stderr != "" || s.host.Source != "module" || len(s.containers) != 2 {
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	// The second pipe's writer waits for a reader, and shall have waited in vain.
	select {
	case <-opened:
		t.Error("opened again")
	default:
	}
	if f, err := os.Open(filepath.Join(tr.dir, "proc/sysinfo_winnow")); err == nil {
		f.Close()
	}
}

// A module that is unloaded between two samples is not worth a word.
func TestModuleGoes(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	tr.pipe("proc/sysinfo_winnow", func() string {
		os.Remove(filepath.Join(tr.dir, "proc/sysinfo_winnow"))
		return moduleDocument(cgroup.Boottime(), 900e9)
	})
	s := tr.run("--source=auto")
	if s.err != nil || s.stderr != "" || s.host.Source != "cgroup2" || len(s.containers) != 1 ||
		s.containers[0].CPUPercent == nil || *s.containers[0].CPUPercent != 0 {
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
}
