package main

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// With a state that serves, one sample is taken, and the rates are over the
// time since; else two are taken half a second apart.
func TestState(t *testing.T) {
	const two = 500 // ms between two samples
	same := map[string]counter{idA: {CPUNS: 1e9, PID: 10, StartNS: 5e9}}
	tests := []struct {
		name     string
		seconds  int64 // since the state's sample
		source   string
		state    state
		interval int64    // in ms
		rate     *float64 // nil for null
	}{
		{"serves", 10, "cgroup2", state{Containers: same}, 10_000, new(20.0)},
		{"new container", 10, "cgroup2", state{}, 10_000, nil},
		{"counter shrank", 10, "cgroup2", state{Containers: map[string]counter{idA: {CPUNS: 4e9, PID: 10, StartNS: 5e9}}}, 10_000, nil},
		{"restarted", 10, "cgroup2", state{Containers: map[string]counter{idA: {CPUNS: 1e9, PID: 10, StartNS: 4e9}}}, 10_000, nil},
		{"other boot", 10, "cgroup2", state{BootID: "earlier", Containers: same}, two, new(0.0)},
		{"other source", 10, "cgroup1", state{Containers: same}, two, new(0.0)},
		{"old", 601, "cgroup2", state{Containers: same}, two, new(0.0)},
		{"of the future", -10, "cgroup2", state{Containers: same}, two, new(0.0)},
		{"young", 0, "cgroup2", state{Containers: same}, 100, new(2000.0)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.v2("/docker/"+idA, 10)
			tr.process(10, "web", "S", 1, 500, "web\x00")
			s := tr.run("--state", tr.state(test.source, test.seconds, test.state))
			if s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			// Time goes on while the test does, and a busy machine takes its own.
			if got := *s.host.IntervalMS; got < test.interval || got > test.interval+5000 {
				t.Errorf("interval %d ms, want %d", got, test.interval)
			}
			got := s.containers[0].CPUPercent
			if (got == nil) != (test.rate == nil) || got != nil && (*got > *test.rate*1.01 || *got < *test.rate/50) {
				t.Errorf("rate in %s, want %v", s.stdout, test.rate)
			}
		})
	}
}

func TestStateIsKept(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.v2("/docker/"+idA, 10)
	tr.process(10, "web", "S", 1, 500, "web\x00")
	path := filepath.Join(tr.dir, "kept")
	if s := tr.run("--state", path, "--processes"); s.err != nil {
		t.Fatal(s.err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	st, err := readState(path)
	if err != nil || st.BootID != "this-boot" || st.Source != "cgroup2" || st.BoottimeNS == 0 ||
		st.Containers[idA].CPUNS != 3e9 || st.Processes[10].CPUNS != 15e8 {
		t.Fatalf("%+v, %v", st, err)
	}
	tr.write("cg/docker/"+idA+"/cpu.stat", "usage_usec 3100000\n")
	s := tr.run("--state", path)
	if got := s.containers[0].CPUPercent; got == nil || *got <= 0 || *got > 100.5 {
		t.Errorf("100 ms of CPU time in at least 100 ms: %s", s.stdout)
	}
}

// An unusable state file costs no snapshot.
func TestBadStateFiles(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		said string
		fail bool
	}{
		{"garbage", func(t *testing.T, path string) { os.WriteFile(path, []byte("\x00\xffgarbage"), 0o600) }, "passing over the state: not a state", false},
		{"torn", func(t *testing.T, path string) {
			os.WriteFile(path, []byte(`readsysinfo 1 "this-boot" "cgroup2" 5`+"\n"+idA+" 1 2 3 4"), 0o600)
		}, "cut short", false},
		{"wrong types", func(t *testing.T, path string) {
			os.WriteFile(path, []byte(`readsysinfo 1 "this-boot" "cgroup2" 5`+"\n"+idA+" 1 2 3 x\n"), 0o600)
		}, `parsing "x"`, false},
		{"empty", func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) }, "passing over the state", false},
		{"of an earlier version", func(t *testing.T, path string) {
			os.WriteFile(path, []byte(`{"boot_id":"this-boot","source":"cgroup2","boottime_ns":5,"containers":{}}`+"\n"), 0o600)
		}, "passing over the state: not a state", false},
		{"endless", func(t *testing.T, path string) { os.Symlink("/dev/zero", path) }, "longer than", false},
		{"a directory", func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, "state not kept: ", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			path := filepath.Join(tr.dir, "kept")
			test.make(t, path)
			s := tr.run("--state", path)
			if (s.err != nil) != test.fail || !strings.Contains(s.stderr, test.said) || (test.said == "") != (s.stderr == "") {
				t.Errorf("%v: %s", s.err, s.stderr)
			}
			if s.stdout == "" {
				t.Error("no snapshot")
			}
			if test.fail {
				return
			}
			if st, err := readState(path); err != nil || st == nil || st.BootID != "this-boot" {
				t.Errorf("the state was not replaced: %+v, %v", st, err)
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
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	path := filepath.Join(tr.dir, "kept")
	var runs sync.WaitGroup
	for range 8 {
		runs.Go(func() {
			if s := tr.run("--state", path); s.err != nil || s.stderr != "" {
				t.Errorf("%v: %s", s.err, s.stderr)
			}
		})
	}
	runs.Wait()
	if st, err := readState(path); err != nil || st.BootID != "this-boot" {
		t.Errorf("%+v, %v", st, err)
	}
	if left, _ := filepath.Glob(filepath.Join(tr.dir, ".kept*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte("readsysinfo 1 \"b\" \"cgroup2\" 5\n" + idA + " 1 1 10 2\n- 1 1 10 2\n"))
	f.Add([]byte("readsysinfo 1 \"b\" \"file:a\\n\\xff\" -1\n" + idA + " 0 9223372036854775808 10 2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := parseState(text)
		if err != nil {
			return
		}
		st.serves("b", "cgroup2", 1e12)
		c := &container{id: idA, cpuNS: 5e9, atNS: 1e12, first: process{pid: 10, startNS: 2}}
		rate := st.containerRate(c)
		if rate != nil && (*rate < 0 || math.IsInf(*rate, 0) || math.IsNaN(*rate)) {
			t.Errorf("%q gave a rate of %v", text, *rate)
		}
		if again, err := parseState(st.text()); err != nil || !reflect.DeepEqual(st, again) {
			t.Errorf("%q became %+v, and that %+v, %v", text, st, again, err)
		}
	})
}
