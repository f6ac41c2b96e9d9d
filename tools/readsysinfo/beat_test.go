package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

// looped is a loop that runs, and what it has printed.
type looped struct {
	t      *testing.T
	came   chan snapshot
	unread func() // closes the reader's end
	stop   context.CancelFunc
	ended  chan error
	said   *said
}

// said is what was said on stderr so far.
type said struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (s *said) Write(text []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.text.Write(text)
}

func (s *said) String() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.text.String()
}

// loop runs the tool on the tree, with a pipe as its stdout.
func (tr tree) loop(args ...string) *looped {
	tr.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		tr.t.Fatal(err)
	}
	l := tr.loopTo(w, args...)
	l.unread = func() { r.Close() }
	tr.t.Cleanup(func() { r.Close(); w.Close() })
	go l.read(r)
	return l
}

// loopTo runs the tool with another stdout, which nobody reads.
func (tr tree) loopTo(stdout io.Writer, args ...string) *looped {
	ctx, stop := context.WithTimeout(tr.t.Context(), time.Minute)
	l := &looped{t: tr.t, came: make(chan snapshot, 1000), stop: stop, ended: make(chan error, 1), said: new(said)}
	go func() {
		l.ended <- run(ctx, append([]string{"--proc-root", filepath.Join(tr.dir, "proc")}, args...), nil, stdout, l.said)
	}()
	return l
}

// read reads snapshots: lines up to one of type end.
func (l *looped) read(from io.Reader) {
	defer close(l.came)
	var s snapshot
	for line, err := range record.Lines(from) {
		if err != nil {
			return // the reader's end was closed
		}
		s.stdout += line.Text() + "\n"
		if line.Type() == record.TypeHost {
			if err := line.Decode(&s.host); err != nil {
				l.t.Error(err)
			}
		}
		if line.Type() == record.TypeEnd {
			l.came <- s
			s = snapshot{}
		}
	}
}

// next is the next snapshot.
func (l *looped) next() snapshot {
	l.t.Helper()
	select {
	case s, ok := <-l.came:
		if ok {
			return s
		}
	case <-time.After(20 * time.Second):
	}
	l.t.Fatalf("no snapshot came: %s", l.said)
	return snapshot{}
}

// end stops the loop, and is its error.
func (l *looped) end() error {
	l.t.Helper()
	l.stop()
	return l.wait()
}

func (l *looped) wait() error {
	l.t.Helper()
	select {
	case err := <-l.ended:
		return err
	case <-time.After(20 * time.Second):
		l.t.Fatal("does not end")
		return nil
	}
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: waited in vain", what)
		}
	}
}

// The first snapshot comes at once, the others on the beat from there on, and rates as soon as there can be some.
func TestBeat(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	l := tr.loop("--every=200ms")
	first := l.next()
	if first.host.IntervalMS != nil || first.host.Cause != record.CauseClock || first.host.Containers != 1 {
		t.Errorf("first %s", first.stdout)
	}
	for n := 1; n <= 4; n++ {
		s := l.next()
		since := s.host.Time.Sub(first.host.Time)
		if since < time.Duration(n)*200*time.Millisecond-50*time.Millisecond { // the first may have begun late
			t.Errorf("snapshot %d came after %v", n, since)
		}
		if ms := s.host.IntervalMS; ms == nil || *ms < since.Milliseconds()-5 || *ms > since.Milliseconds()+5 {
			t.Errorf("after %v rates are over %v", since, ms)
		}
		if s.host.Cause != record.CauseClock || !strings.Contains(s.stdout, `"cpu_percent":0,`) {
			t.Errorf("got %s", s.stdout)
		}
	}
	if err := l.end(); err != nil {
		t.Errorf("ended with %v: %s", err, l.said)
	}
}

func TestBeatsThatPass(t *testing.T) {
	start := time.Now()
	b := beat{start: start, every: time.Second}
	for _, test := range []struct {
		at   time.Duration
		more int64
		next time.Duration
	}{{0, 0, 1}, {999 * time.Millisecond, 0, 1}, {time.Second, 1, 2}, {1500 * time.Millisecond, 0, 2}, {4200 * time.Millisecond, 3, 5}} {
		if more := b.pass(start.Add(test.at)); more != test.more || !b.next().Equal(start.Add(test.next*time.Second)) {
			t.Errorf("at %v: %d more, next at %v", test.at, more, b.next().Sub(start))
		}
	}
}

// A beat that comes while a snapshot is taken, or is not read, is skipped; that is said, with what was in its way.
func TestSkippedBeats(t *testing.T) {
	t.Run("a slow sample", func(t *testing.T) {
		t.Parallel()
		tr := newTreeOfOne(t)
		l := tr.loop("--every=100ms")
		l.next()
		tr.pipe("proc/meminfo", func() string {
			time.Sleep(350 * time.Millisecond)
			tr.replace("proc/meminfo", meminfo)
			return meminfo
		})
		want := regexp.MustCompile(`(?m)^readsysinfo: skipped \d+ beats: a snapshot took \d+(\.\d+)?m?s$`)
		until(t, "skipped", func() bool { return want.MatchString(l.said.String()) })
		l.next()
		if err := l.end(); err != nil {
			t.Errorf("%v: %s", err, l.said)
		}
	})
	t.Run("a slow reader", func(t *testing.T) {
		t.Parallel()
		tr := newTreeOfOne(t)
		r, w := io.Pipe()
		l := tr.loopTo(w, "--every=100ms")
		time.Sleep(450 * time.Millisecond)
		go l.read(r)
		want := regexp.MustCompile(`(?m)^readsysinfo: skipped \d+ beats: its reader took a snapshot only after \d+(\.\d+)?m?s$`)
		until(t, "skipped", func() bool { return want.MatchString(l.said.String()) })
		for range 3 {
			l.next()
		}
		if err := l.end(); err != nil {
			t.Errorf("%v: %s", err, l.said)
		}
	})
}

// However it ends, it ends at once, and the state is kept.
func TestLoopEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(l *looped, governing string)
		want string // of the error
	}{
		{"its reader is gone", func(l *looped, _ string) { l.unread() }, ""},
		{"it is stopped", func(l *looped, _ string) { l.stop() }, ""},
		{"told by --while", func(l *looped, governing string) { os.Remove(governing) }, "told to stop by --while"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTreeOfOne(t)
			tr.pressure(1, 2, 3)
			tr.write("governing", "")
			governing, kept := filepath.Join(tr.dir, "governing"), filepath.Join(tr.dir, "kept")
			l := tr.loop("--every=1h", "--state", kept, "--while", governing)
			l.next()
			began := time.Now()
			test.end(l, governing)
			err := l.wait()
			if test.want == "" && err != nil || err == nil && test.want != "" || err != nil && !strings.Contains(err.Error(), test.want) || l.said.String() != "" {
				t.Errorf("%v: %s", err, l.said)
			}
			if took := time.Since(began); took > time.Second { // a fifth of it, but on a busy machine
				t.Errorf("took %v", took)
			}
			st, err := readState(kept)
			if err != nil || len(st.Samples) != 1 || st.Samples[0].Containers[idA].CPUNS != 3e9 || st.Samples[0].Stalls.total != [3]uint64{1, 2, 3} {
				t.Errorf("kept %+v, %v", st, err)
			}
		})
	}
}

// A reader that is there but reads nothing does not hold up the end.
func TestLoopEndsUnread(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	r, w := io.Pipe()
	defer r.Close()
	l := tr.loopTo(w, "--every=1h")
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.end(); err != nil {
		t.Errorf("%v: %s", err, l.said)
	}
}

// The first snapshot has the rates that the state gives, and is not waited for.
func TestLoopTakesTheState(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	path := tr.state("cgroup2", 10, counters{Containers: map[string]counter{idA: {CPUNS: 1e9, PID: 10, StartNS: 5e9}}})
	l := tr.loop("--every=1h", "--state", path)
	s := l.next()
	if ms := s.host.IntervalMS; ms == nil || *ms < 10_000 || strings.Contains(s.stdout, `"cpu_percent":null`) {
		t.Errorf("got %s", s.stdout)
	}
	if err := l.end(); err != nil {
		t.Error(err)
	}
}

// Beats that are further apart than what else is too old for a rate still give one.
func TestRareBeats(t *testing.T) {
	now := cgroup.Boottime() + 10e12
	st := state{BootID: "b", Source: "cgroup2", Samples: []counters{{AtNS: now - int64(time.Hour)}}}
	if got := st.usable("b", "cgroup2", now, time.Hour); len(got) != 1 {
		t.Errorf("got %+v", got)
	}
}

// A sample that fails is said once, and the next that does not goes on.
func TestSampleThatFails(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	l := tr.loop("--every=100ms")
	l.next()
	path := filepath.Join(tr.dir, "proc/meminfo")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	until(t, "fails", func() bool { return l.said.String() != "" })
	time.Sleep(250 * time.Millisecond)
	for len(l.came) > 0 {
		<-l.came
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	l.next()
	err := l.end()
	if err == nil || !strings.Contains(err.Error(), "but for the 1 named above") || strings.Count(l.said.String(), "meminfo: no such file") != 1 {
		t.Errorf("%v: %s", err, l.said)
	}
	// The first must succeed: else the source is wrong.
	tr.replace("proc/meminfo", "nothing\n")
	if err := tr.loop("--every=100ms").wait(); err == nil || !strings.Contains(err.Error(), "no MemTotal") {
		t.Error(err)
	}
}

// What is said of each sample is said once, and again when it was otherwise in between.
func TestLoopRepeatsNothing(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	const stat = "cg/docker/" + idA + "/memory.stat"
	tr.write(stat, "")
	l := tr.loop("--every=100ms")
	count := func() int { return strings.Count(l.said.String(), "memory.stat: no number") }
	for range 4 {
		l.next()
	}
	if count() != 1 {
		t.Errorf("said %s", l.said)
	}
	tr.write(stat, "inactive_file 0\n")
	for l.next().host.Containers == 0 {
	}
	tr.write(stat, "")
	until(t, "said again", func() bool { return count() == 2 })
	if err := l.end(); err == nil || !strings.Contains(err.Error(), "but for the 2 named above") {
		t.Errorf("%v: %s", err, l.said)
	}
}

// pressure gives the tree PSI, with these totals in µs, each at once.
func (tr tree) pressure(totals ...int) {
	for i, total := range totals {
		tr.replace("proc/pressure/"+resources[i], fmt.Sprintf("some avg10=1.25 avg60=0.50 avg300=0.00 total=%d\nfull avg10=0.75 avg60=0 avg300=0 total=1\n", total))
	}
}

func TestStalls(t *testing.T) {
	at := func(second float64, totals ...uint64) stalls {
		return stalls{int64(second * 1e9), [3]uint64(totals)}
	}
	null := [3]any{nil, nil, nil}
	for _, test := range []struct {
		name        string
		before, now stalls
		want        [3]any
	}{
		{"some of ten seconds", at(100, 5, 0, 7), at(110, 5, 1_000_000, 4_123_457), [3]any{0.0, 10.0, 41.23}},
		{"all of it", at(100, 0, 0, 0), at(100.1, 100_000, 100_007, 50_000), [3]any{100.0, 100.0, 50.0}},
		{"a total that shrank", at(100, 9, 0, 0), at(110, 5, 0, 0), [3]any{nil, 0.0, 0.0}},
		{"none before", stalls{}, at(110, 5, 5, 5), null},
		{"none now", at(100, 0, 0, 0), stalls{}, null},
		{"at the same time", at(100, 0, 0, 0), at(100, 5, 5, 5), null},
	} {
		for i, got := range test.now.percent(test.before) {
			if want, known := test.want[i].(float64); known != (got != nil) || known && *got != want {
				t.Errorf("%s: %s: want %v", test.name, resources[i], test.want[i])
			}
		}
	}
}

// Stalls are of the time since the snapshot before, in a loop as with a state. A state that knows none gives none.
func TestStallsOfSnapshots(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	tr.pressure(0, 1_000_000, 0)
	path := tr.state("cgroup2", 10, counters{})
	if s := tr.run("--state", path); s.host.MemoryStallPercent != nil || !strings.Contains(s.stdout, `"cause":"clock"`) || *s.host.IOPressurePercent != 1.25 {
		t.Errorf("from a state without: %s", s.stdout)
	}
	path = tr.state("cgroup2", 10, counters{Stalls: stalls{cgroup.Boottime() - 10e9, [3]uint64{0, 0, 0}}})
	s := tr.run("--state", path)
	if !near(s.host.MemoryStallPercent, s.host.IntervalMS, 10) || *s.host.CPUStallPercent != 0 {
		t.Errorf("with a state: %s", s.stdout)
	}
	tr.pressure(0, 2_000_000, 0)
	l := tr.loop("--every=100ms", "--state", path)
	if s := l.next(); s.host.MemoryStallPercent == nil || *s.host.MemoryStallPercent < 10 {
		t.Errorf("the first of a loop: %s", s.stdout)
	}
	for l.next().host.MemoryStallPercent == nil || *l.next().host.MemoryStallPercent != 0 {
	}
	tr.pressure(0, 2_020_000, 0)
	until(t, "stalls", func() bool { p := l.next().host.MemoryStallPercent; return p != nil && *p > 0 && *p < 25 })
	if err := l.end(); err != nil {
		t.Errorf("%v: %s", err, l.said)
	}
	os.RemoveAll(filepath.Join(tr.dir, "proc/pressure"))
	if s := tr.run("--state", path); s.host.MemoryStallPercent != nil || s.stderr != "" {
		t.Errorf("without PSI: %s%s", s.stdout, s.stderr)
	}
}

// The stages are the processes of the own group, before the host line of a snapshot. They do not count.
func TestStages(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	stat := func(pid, group int) string {
		return fmt.Sprintf("%d (stage %d) S 1 %d 1 0 -1 4194304 98 0 0 0 100 50 7 7 20 0 1 0 500 2048000 100 18446744073709551615 9 9\n", pid, pid, group)
	}
	tr.write("proc/self/stat", stat(20, 20))
	tr.write("proc/20/stat", stat(20, 20))
	tr.write("proc/21/stat", stat(21, 20))
	tr.write("proc/21/status", "Name:\tstage 21\nVmPeak:\t    1700 kB\nVmHWM:\t    1600 kB\n")
	tr.write("proc/22/stat", stat(22, 22))
	tr.write("proc/23/stat", stat(23, -1))
	l := tr.loop("--every=100ms", "--stages")
	s := l.next()
	for n := 1; n < 30 && !strings.Contains(s.stdout, record.TypeStage); n++ { // those behind are not there at first
		s = l.next()
	}
	lines := strings.Split(s.stdout, "\n")
	want := regexp.MustCompile(`^{"type":"stage","time":"[^"]+","host":"[^"]+","snapshot":"` + s.host.Snapshot + `","name":"stage 20","pid":20,` +
		`"started":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","cpu_ns":1500000000,"memory_kb":400,"memory_peak_kb":null}$`)
	if len(lines) != 6 || !want.MatchString(lines[0]) || !strings.HasSuffix(lines[1], `"memory_peak_kb":1600}`) || !strings.HasPrefix(lines[2], `{"type":"host"`) ||
		!strings.HasSuffix(lines[4], `"lines":2}`) {
		t.Errorf("got %s", s.stdout)
	}
	if s := l.next(); strings.Contains(s.stdout, record.TypeStage) {
		t.Errorf("again, after a moment: %s", s.stdout)
	}
	if err := l.end(); err != nil {
		t.Errorf("%v: %s", err, l.said)
	}
}
