package main

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/readsysinfo/cgroup"
)

// documentAt is a document's time in the tests that need no real one.
const documentAt = int64(5000e9)

// kept is a sample of the states that tests make up: its age in seconds, and the counter of idA and of its process that
// it holds, if any.
type kept struct {
	age float64
	a   *counter
}

// used is a counter of idA, as it was when it had that many seconds less.
func used(seconds float64) *counter {
	return &counter{CPUNS: uint64((1000 - seconds) * 1e9), PID: 10, StartNS: 5e9}
}

func ring(samples ...kept) (st state) {
	st.BootID, st.Source = "this-boot", "file"
	for _, k := range samples {
		s := counters{}
		if k.a != nil {
			s.Containers = map[string]counter{idA: *k.a}
			s.Processes = map[int]counter{k.a.PID: *k.a}
		}
		st.Samples = append(st.Samples, s.at(documentAt-int64(math.Round(k.age*1e9))))
	}
	return st
}

// A rate is taken from the newest sample that is at least the span old and holds the container as it runs now, or else
// from the oldest that does. A document tells its time, so all of it is exact.
func TestRates(t *testing.T) {
	restarted := func(seconds float64) *counter { return &counter{CPUNS: used(seconds).CPUNS, PID: 11, StartNS: 5e9} }
	reused := func(seconds float64) *counter {
		return &counter{CPUNS: used(seconds).CPUNS, PID: 10, StartNS: 5e9 - 1e7}
	}
	otherBoot, otherSource := ring(kept{10, used(2)}), ring(kept{10, used(2)})
	otherBoot.BootID, otherSource.Source = "earlier", "cgroup2"
	otherBoot.Source = "file"
	tests := []struct {
		name     string
		span     string
		state    state
		host     int64 // ms; 0 for null
		interval int64 // ms, of idA; 0 for null
		rate     float64
	}{
		{"one", "5s", ring(kept{10, used(2)}), 10_000, 10_000, 20},
		{"the newest that is old enough", "5s", ring(kept{20, used(19)}, kept{7, used(6)}, kept{5, used(2)}, kept{3, used(1.5)}, kept{1, used(1)}), 5000, 5000, 40},
		{"one that is nearly old enough", "5s", ring(kept{20, used(18)}, kept{8, used(2)}, kept{4.999999999, used(2)}), 8000, 8000, 25},
		{"another span", "2s", ring(kept{20, used(19)}, kept{7, used(6)}, kept{3, used(1.5)}, kept{1, used(1)}), 3000, 3000, 50},
		{"a young container", "5s", ring(kept{20, nil}, kept{6, nil}, kept{3, used(0.3)}, kept{1, used(0.2)}), 6000, 3000, 10},
		{"a new one", "5s", ring(kept{10, nil}), 10_000, 0, 0},
		{"one that was left out", "5s", ring(kept{20, used(18)}, kept{9, used(1.8)}, kept{6, nil}, kept{2, used(1)}), 6000, 9000, 20},
		{"restarted", "5s", ring(kept{9, restarted(5)}, kept{6, restarted(3)}, kept{3, used(0.3)}), 6000, 3000, 10},
		{"restarted with the same process id", "5s", ring(kept{9, reused(5)}, kept{6, reused(3)}, kept{3, used(0.3)}), 6000, 3000, 10},
		{"restarted just now", "5s", ring(kept{9, restarted(5)}, kept{6, reused(3)}), 6000, 0, 0},
		{"a counter that shrank", "5s", ring(kept{9, used(-1)}), 9000, 0, 0},
		{"a counter that stood", "5s", ring(kept{9, used(0)}), 9000, 9000, 0},
		{"many cores", "5s", ring(kept{9, used(576)}), 9000, 9000, 6400},
		{"the shortest", "5s", ring(kept{0.1, used(0.05)}), 100, 100, 50},
		{"shorter than the shortest", "5s", ring(kept{0.0999, used(0.05)}), 0, 0, 0},
		{"a span below the shortest", "1ms", ring(kept{0.5, used(0.05)}, kept{0.09, used(0.05)}), 500, 500, 10},
		{"of now", "5s", ring(kept{0, used(0)}), 0, 0, 0},
		{"all are young", "5s", ring(kept{4, used(2)}, kept{2, used(0)}), 4000, 4000, 50},
		{"the oldest", "5s", ring(kept{600, used(60)}), 600_000, 600_000, 10},
		{"too old", "5s", ring(kept{600.001, used(60)}), 0, 0, 0},
		{"too old and young", "5s", ring(kept{601, used(60)}, kept{4, used(2)}), 4000, 4000, 50},
		{"of the future", "5s", ring(kept{4, used(2)}, kept{-1, used(0)}), 4000, 4000, 50},
		{"the longest span", "10m", ring(kept{1199, used(119.9)}, kept{599, used(50)}), 1_199_000, 1_199_000, 10},
		{"too old for the longest span", "10m", ring(kept{1201, used(10)}, kept{500, used(50)}), 500_000, 500_000, 10},
		{"other boot", "5s", otherBoot, 0, 0, 0},
		{"other source", "5s", otherSource, 0, 0, 0},
		{"nothing", "5s", ring(), 0, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			path := filepath.Join(tr.dir, "document")
			tr.write("document", strings.Replace(moduleDocument(documentAt, 1000e9), `"cpu_ns":1000000000}`, `"cpu_ns":1000000000000}`, 1))
			if test.state.Source == "file" {
				test.state.Source = "file:" + path
			}
			s := tr.run("--source", path, "--processes", "--span", test.span, "--state", tr.keep(test.state))
			if s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			check := func(what string, got *int64, want int64) {
				if (got == nil) != (want == 0) || got != nil && *got != want {
					t.Errorf("%s: want interval_ms %d in %s", what, want, s.stdout)
				}
			}
			check("host", s.host.IntervalMS, test.host)
			a, p := s.containers[0], s.processes[1]
			check("container", a.IntervalMS, test.interval)
			if a.CPUPercent != nil && *a.CPUPercent != test.rate {
				t.Errorf("rate %v, want %v", *a.CPUPercent, test.rate)
			}
			if (p.CPUPercent == nil) != (test.interval == 0) || p.CPUPercent != nil && *p.CPUPercent != test.rate {
				t.Errorf("process %s, want a rate of %v", s.stdout, test.rate)
			}
			if s.containers[1].CPUPercent != nil || s.processes[0].CPUPercent != nil {
				t.Errorf("a rate of what is new: %s", s.stdout)
			}
		})
	}
}

// What later runs do not need is dropped when the state is written.
func TestWhatIsKept(t *testing.T) {
	tests := []struct {
		name, span string
		before     []float64 // the samples' ages
		after      []float64
	}{
		{"a call every ten seconds", "5s", []float64{20, 10}, []float64{10, 0}},
		{"the newest of the old", "5s", []float64{30, 9, 6, 5}, []float64{5, 0}},
		{"none is old", "5s", []float64{4, 2}, []float64{4, 2, 0}},
		{"thinned", "5s", []float64{8, 6, 5.9, 5.5, 4.8, 4.7, 4.17, 2, 0.7}, []float64{5.5, 4.8, 4.17, 2, 0.7, 0}},
		{"thinned at the end", "5s", []float64{7, 0.6}, []float64{7, 0.6}},
		{"a longer span", "60s", []float64{70, 65, 55, 50, 7.5, 5}, []float64{65, 55, 7.5, 0}},
		{"too old", "5s", []float64{601, 602}, []float64{0}},
		{"of the future", "5s", []float64{6, -3}, []float64{6, 0}},
		{"nothing", "5s", nil, []float64{0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			document := filepath.Join(tr.dir, "document")
			tr.write("document", moduleDocument(documentAt, 1000e9))
			var st state
			slices.SortFunc(test.before, func(a, b float64) int { return int(b*1e3 - a*1e3) })
			for _, age := range test.before {
				st.Samples = append(st.Samples, ring(kept{age, used(age)}).Samples...)
			}
			st.BootID, st.Source = "this-boot", "file:"+document
			path := tr.keep(st)
			if s := tr.run("--source", document, "--span", test.span, "--state", path); s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			st, err := readState(path)
			var after []float64
			for _, s := range st.Samples {
				after = append(after, float64(documentAt-s.AtNS)/1e9)
				if c := s.Containers[idA]; c.AtNS != s.AtNS || c.PID != 10 || c.StartNS != 5e9 ||
					math.Abs(float64(1000e9-c.CPUNS)-float64(documentAt-s.AtNS)) > 1 {
					t.Errorf("kept %+v of %d", c, s.AtNS)
				}
			}
			if err != nil || !slices.Equal(after, test.after) {
				t.Errorf("kept %v, want %v; %v", after, test.after, err)
			}
		})
	}
}

// However a state is called with, rates are exact, over at least the span where the container is that old, and the
// state stays small.
func TestAnyCadence(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 6 {
		tr := newTree(t)
		document, path := filepath.Join(tr.dir, "document"), filepath.Join(tr.dir, "kept")
		cadence := math.Pow(10, random.Float64()*3.5-2) // 10 ms to half a minute
		at, cpu := documentAt, uint64(0)
		history := map[int64]uint64{}
		for range 150 {
			step := int64(cadence * (0.5 + random.Float64()) * 1e9)
			at += step
			cpu += uint64(random.Int64N(2 * step))
			history[at] = cpu
			tr.write("document", moduleDocument(at, cpu))
			s := tr.run("--source", document, "--span", "5s", "--state", path)
			if s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			c := s.containers[0]
			age := time.Duration(at - slices.Min(sorted(history)))
			if c.CPUPercent == nil {
				if age >= minInterval {
					t.Fatalf("cadence %.3f s: none of a container %v old", cadence, age)
				}
				continue
			}
			interval := time.Duration(*c.IntervalMS) * time.Millisecond
			if *c.IntervalMS != *s.host.IntervalMS || interval < min(age.Truncate(time.Millisecond), 5*time.Second) ||
				interval > 5*time.Second*5/4+time.Duration(3*cadence*1e9) {
				t.Fatalf("cadence %.3f s: a container %v old has a rate over %v", cadence, age, interval)
			}
			exact := false
			for then, had := range history {
				if (at-then)/1e6 == *c.IntervalMS && round(float64(cpu-had)/float64(at-then)*100) == *c.CPUPercent {
					exact = true
				}
			}
			if !exact {
				t.Fatalf("cadence %.3f s: no two samples have the rate in %s", cadence, s.stdout)
			}
		}
		if st, err := readState(path); err != nil || len(st.Samples) > 10 {
			t.Errorf("cadence %.3f s: %d samples are kept, %v", cadence, len(st.Samples), err)
		}
	}
}

func sorted(history map[int64]uint64) (times []int64) {
	for at := range history {
		times = append(times, at)
	}
	return times
}

// Where no sample that is kept is old enough, one is waited for, and not for longer than that takes.
func TestWaits(t *testing.T) {
	same := map[string]counter{idA: {CPUNS: 1e9, PID: 10, StartNS: 5e9}}
	const span = 400 * time.Millisecond
	tests := []struct {
		name   string
		ages   []time.Duration // of the state's samples
		span   time.Duration
		boot   string
		source string
		over   time.Duration // what the rate is over, and what the run took more
		rise   float64       // of idA's counter, in s
	}{
		{"no state", nil, span, "this-boot", "cgroup2", span, 0},
		{"other boot", []time.Duration{10 * time.Second}, span, "earlier", "cgroup2", span, 0},
		{"other source", []time.Duration{10 * time.Second}, span, "this-boot", "cgroup1", span, 0},
		{"old", []time.Duration{601 * time.Second}, span, "this-boot", "cgroup2", span, 0},
		{"of the future", []time.Duration{-20 * time.Second}, span, "this-boot", "cgroup2", span, 0},
		{"old enough", []time.Duration{10 * time.Second}, span, "this-boot", "cgroup2", 10 * time.Second, 2},
		{"nearly old enough", []time.Duration{100 * time.Second}, 100*time.Second + span, "this-boot", "cgroup2", 100*time.Second + span, 2},
		{"the oldest is nearly old enough", []time.Duration{100 * time.Second, time.Second}, 100*time.Second + span, "this-boot", "cgroup2", 100*time.Second + span, 2},
		{"taken just now", []time.Duration{0}, minInterval, "this-boot", "cgroup2", minInterval, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTreeOfOne(t)
			start := cgroup.Boottime()
			st := state{BootID: test.boot, Source: test.source}
			for _, age := range test.ages {
				st.Samples = append(st.Samples, counters{Containers: same}.at(start-int64(age)))
			}
			s := tr.run("--span", test.span.String(), "--state", tr.keep(st))
			took := cgroup.Boottime() - start
			if s.err != nil || s.stderr != "" {
				t.Fatalf("%v: %s", s.err, s.stderr)
			}
			for _, got := range []*int64{s.host.IntervalMS, s.containers[0].IntervalMS} {
				if got == nil || *got < test.over.Milliseconds() || *got > test.over.Milliseconds()+took/1e6 {
					t.Fatalf("the run took %v, want a span of %v in %s", time.Duration(took), test.over, s.stdout)
				}
			}
			ms := float64(*s.containers[0].IntervalMS)
			if got, most := *s.containers[0].CPUPercent, test.rise*1e5/ms; got > most+0.005 || got < test.rise*1e5/(ms+1)-0.005 {
				t.Errorf("rate %v, want %v", got, most)
			}
			if test.span > time.Second && took > int64(test.span)/2 {
				t.Errorf("took %v", time.Duration(took))
			}
		})
	}
}

func TestSpanOutOfBounds(t *testing.T) {
	for _, span := range []string{"0s", "-1s", "10m1ms", "5", "x", ""} {
		tr := newTree(t)
		tr.cgroup2()
		s := tr.run("--span", span)
		if s.err == nil || !strings.Contains(s.err.Error(), "--span") || s.stdout != "" {
			t.Errorf("%q: got %v and %q", span, s.err, s.stdout)
		}
	}
}
