package main

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

func TestStateIsKept(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	path := filepath.Join(tr.dir, "kept")
	start := cgroup.Boottime()
	if s := tr.run("--state", path, "--processes"); s.err != nil {
		t.Fatal(s.err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	st, err := readState(path)
	if err != nil || st.BootID != "this-boot" || st.Source != "cgroup2" || len(st.Samples) != 2 {
		t.Fatalf("%+v, %v", st, err)
	}
	for _, s := range st.Samples {
		a, p := s.Containers[idA], s.Processes[10]
		if s.AtNS < start || s.AtNS > cgroup.Boottime() || a != (counter{3e9, a.AtNS, 10, 5e9}) || p != (counter{15e8, a.AtNS, 10, 5e9}) ||
			a.AtNS < start || a.AtNS > s.AtNS {
			t.Errorf("%+v", s)
		}
	}
	// Who reads the state meanwhile has it whole: it is another file from now on.
	if err := os.Link(path, path+".reader"); err != nil {
		t.Fatal(err)
	}
	tr.write("cg/docker/"+idA+"/cpu.stat", "usage_usec 3100000\n")
	s := tr.run("--state", path)
	if c := s.containers[0]; c.CPUPercent == nil || *c.CPUPercent > 1e4/float64(*c.IntervalMS)+0.005 || *c.CPUPercent < 1e4/float64(*c.IntervalMS+1)-0.005 {
		t.Errorf("100 ms of CPU time: %s", s.stdout)
	}
	if before, err := readState(path + ".reader"); err != nil || !reflect.DeepEqual(before, st) {
		t.Errorf("was written over: %+v, %v", before, err)
	}
}

// An unusable state file costs no snapshot, and what is said of it is in words.
func TestBadStateFiles(t *testing.T) {
	const head = `readsysinfo 2 "this-boot" "cgroup2"` + "\n"
	text := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		said string
	}{
		{"garbage", text("\x00\xffgarbage"), "kept: not a state of readsysinfo\n"},
		{"torn", text(head + "at 5\n" + idA + " 1 2 3 4"), "cut short"},
		{"torn in a sample's time", text(head + "at 5"), "cut short"},
		{"wrong types", text(head + "at 5\n" + idA + " 1 2 3 x\n"), `not a whole number: "x"`},
		{"negative", text(head + "at 5\n" + idA + " 1 -2 3 4\n"), `not a whole number: "-2"`},
		{"too large", text(head + "at 5\n" + idA + " 9223372036854775808 2 3 4\n"), "not a whole number"},
		{"too long", text(head + "at 5\n" + idA + " 1 2 3 4 5\n"), "too long"},
		{"no sample", text(head + idA + " 1 2 3 4\n"), "of no sample"},
		{"out of order", text(head + "at 5\nat 5\n"), "older than the sample before it"},
		{"no boot id", text("readsysinfo 2\n"), "not a state of readsysinfo\n"},
		{"more than a boot id", text(head[:len(head)-1] + " 5\n"), "not a state of readsysinfo\n"},
		{"empty", text(""), "not a state of readsysinfo\n"},
		{"of the first version", text(`readsysinfo 1 "this-boot" "cgroup2" 5` + "\n" + idA + " 1 2 3 4\n"), "an older winnow wrote the state: it is of version 1, and this one keeps version 2"},
		{"older yet", text(`{"boot_id":"this-boot","source":"cgroup2","boottime_ns":5,"containers":{}}` + "\n"), "not a state of readsysinfo\n"},
		{"too large a file", func(t *testing.T, path string) {
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxState+1)); err != nil {
				t.Fatal(err)
			}
		}, "longer than"},
		{"endless", func(t *testing.T, path string) {
			if err := os.Symlink("/dev/zero", path); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			path := filepath.Join(tr.dir, "kept")
			test.make(t, path)
			s := tr.run("--state", path)
			if s.err != nil || !strings.HasPrefix(s.stderr, "readsysinfo: passing over the state: "+path+": ") ||
				!strings.Contains(s.stderr, test.said) || strings.Count(s.stderr, "\n") != 1 {
				t.Errorf("%v: %s", s.err, s.stderr)
			}
			if s.stdout == "" || s.host.IntervalMS == nil {
				t.Errorf("no snapshot, or without rates: %s", s.stdout)
			}
			if st, err := readState(path); err != nil || st.BootID != "this-boot" || len(st.Samples) != 2 {
				t.Errorf("the state was not replaced: %+v, %v", st, err)
			}
		})
	}
}

// That of a newer winnow is left as it is.
func TestNewerState(t *testing.T) {
	tr := newTree(t)
	tr.cgroup2()
	path := filepath.Join(tr.dir, "kept")
	const text = "readsysinfo 3 {}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--state", path}, {"--state", path, "--every", "100ms"}} {
		if s := tr.run(args...); !errors.Is(s.err, errNewer) || s.stdout != "" {
			t.Errorf("%v: %v, %q", args, s.err, s.stdout)
		}
	}
	if got, err := os.ReadFile(path); string(got) != text || err != nil {
		t.Errorf("it is now %q, %v", got, err)
	}
}

// What is no file is neither waited for nor replaced, as /dev/null would be.
func TestStateThatIsNoFile(t *testing.T) {
	tests := []struct {
		name string
		make func(path string) error
		mode fs.FileMode
	}{
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, fs.ModeDir},
		{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, fs.ModeNamedPipe},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			path := filepath.Join(tr.dir, "kept")
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			s := tr.run("--state", path)
			if s.err == nil || !strings.Contains(s.stderr, "state not kept: "+path+": not a regular file") || s.stdout == "" {
				t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode().Type() != test.mode {
				t.Errorf("became %v, %v", info, err)
			}
		})
	}
}

func TestStateThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	s := tr.run("--state", filepath.Join(tr.dir, "no/such/dir/state"))
	if s.err == nil || !strings.Contains(s.stderr, "state not kept: ") || s.stdout == "" {
		t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
	}
	path := filepath.Join(tr.dir, "kept")
	long := state{BootID: strings.Repeat("b", maxState)}
	if err := long.write(path); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("wrote what cannot be read: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	path := filepath.Join(tr.dir, "kept")
	var runs sync.WaitGroup
	for range 4 {
		runs.Go(func() {
			for range 10 {
				s := tr.run("--state", path)
				if s.err != nil || s.stderr != "" || s.containers[0].CPUPercent == nil {
					t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
				}
			}
		})
	}
	runs.Wait()
	if st, err := readState(path); err != nil || st.BootID != "this-boot" || len(st.Samples) == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	if left, _ := filepath.Glob(filepath.Join(tr.dir, ".kept*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte("readsysinfo 2 \"b\" \"cgroup2\"\nat 5\n" + idA + " 1 1 10 2\n- 1 1 10 2\nat 7\n"))
	f.Add([]byte("readsysinfo 2 \"b\" \"file:a\\n\\xff\"\nat 1\n" + idA + " 0 9223372036854775807 10 2\n"))
	f.Add([]byte("readsysinfo 2 \"b\" \"cgroup2\"\nat 995000000000\n" + idA + " 1000000000 995000000000 10 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := parseState(text)
		if err != nil {
			if strings.Contains(err.Error(), "strconv") || strings.Contains(err.Error(), "parsing") {
				t.Error(err)
			}
			return
		}
		if again, err := parseState(st.text()); err != nil || !reflect.DeepEqual(st, again) {
			t.Errorf("%q became %+v, and that %+v, %v", text, st, again, err)
		}
		const now = int64(1e12)
		c := &cgroup.Container{Container: record.Container{ID: idA, CPUNS: 5e9, AtNS: new(now), PID: 10}, StartNS: 2}
		samples := st.usable("b", "cgroup2", now, 5*time.Second)
		b := newBases(samples, now, 5*time.Second)
		percent, interval := b.ofContainer(c)
		if (percent == nil) != (interval == nil) {
			t.Errorf("%q gave %v and %v", text, percent, interval)
		}
		if percent != nil && (*percent < 0 || math.IsInf(*percent, 0) || math.IsNaN(*percent) || *interval < 100) {
			t.Errorf("%q gave a rate of %v over %d ms", text, *percent, *interval)
		}
		if ms := b.interval(now); ms != nil && (*ms < 100 || *ms > maxInterval.Milliseconds()) {
			t.Errorf("%q gave %d ms", text, *ms)
		}
		if left := thin(samples, now, 5*time.Second); len(left) > 1+8+int(maxInterval/time.Second) || len(samples) > 0 && left[0].AtNS > now {
			t.Errorf("%q left %d", text, len(left))
		}
	})
}
