package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

// available sets what is available, in place and at once, as the kernel's file changes.
func (tr tree) available(kb int) {
	tr.t.Helper()
	f, err := os.OpenFile(filepath.Join(tr.dir, "proc/meminfo"), os.O_WRONLY, 0)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(fmt.Appendf(nil, "MemTotal:        1000000 kB\nMemFree:           30000 kB\nMemAvailable:    %7d kB\n", kb), 0); err != nil {
		tr.t.Fatal(err)
	}
}

// While little is available snapshots come at once, and at most each 100 ms; then the clock has them again.
func TestAvailable(t *testing.T) {
	for _, bound := range []string{"10%", "100000k"} {
		t.Run(bound, func(t *testing.T) {
			t.Parallel()
			tr := newTreeOfOne(t)
			tr.available(100_001)
			l := tr.loop("--every=1h", "--on-available", bound)
			if s := l.next(); s.host.Cause != record.CauseClock {
				t.Errorf("first %s", s.stdout)
			}
			tr.available(100_000)
			began := time.Now()
			before := l.next()
			if took := time.Since(began); took > time.Second {
				t.Errorf("the alarm took %v", took)
			}
			for range 3 {
				s := l.next()
				if apart := s.host.Time.Sub(before.host.Time); s.host.Cause != record.CauseAvailable || apart < alarmEvery-20*time.Millisecond {
					t.Errorf("after %v: %s", apart, s.stdout)
				}
				before = s
			}
			tr.available(200_000)
			time.Sleep(alarmEvery)
			for len(l.came) > 0 {
				l.next()
			}
			select {
			case s := <-l.came:
				t.Errorf("came with enough available: %s", s.stdout)
			case <-time.After(3 * alarmEvery):
			}
			if err := l.end(); err != nil || l.said.String() != "" {
				t.Errorf("%v: %s", err, l.said)
			}
		})
	}
}

// The beat goes on in between, and does not double what an alarm takes.
func TestAvailableAndTheClock(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	tr.available(500_000)
	l := tr.loop("--every=300ms", "--on-available=10%")
	first := l.next().host.Time
	tr.available(5)
	for l.next().host.Cause != record.CauseAvailable {
	}
	before := l.next()
	for range 6 {
		s := l.next()
		if apart := s.host.Time.Sub(before.host.Time); s.host.Cause != record.CauseAvailable || apart < alarmEvery-20*time.Millisecond {
			t.Errorf("after %v: %s", apart, s.stdout)
		}
		before = s
	}
	tr.available(500_000)
	until(t, "back on the beat", func() bool {
		s := l.next()
		return s.host.Cause == record.CauseClock && s.host.Time.Sub(first)%(300*time.Millisecond) < 50*time.Millisecond
	})
	if err := l.end(); err != nil {
		t.Errorf("%v: %s", err, l.said)
	}
}

// It is looked the more often the nearer the bound is.
func TestLook(t *testing.T) {
	tr := newTree(t)
	for _, test := range []struct {
		available, total int
		low              bool
		pause            time.Duration
	}{
		{60_000_000, 99_000_000, false, lookEvery},
		{13_500_000, 99_000_000, false, 600 * time.Millisecond},
		{9_900_001, 99_000_000, false, alarmEvery},
		{9_900_000, 99_000_000, true, alarmEvery},
		{1, 99_000_000, true, alarmEvery},
	} {
		tr.write("proc/meminfo", fmt.Sprintf("MemTotal: %d kB\nMemFree: 1 kB\nMemAvailable: %d kB\n", test.total, test.available))
		a := alarms{proc: procfs(filepath.Join(tr.dir, "proc")), bound: policy.Amount{Percent: 10}}
		if low, pause := a.look(); low != test.low || pause != test.pause {
			t.Errorf("%+v: got %v, %v", test, low, pause)
		}
		a.close()
	}
	said := 0
	tr.write("proc/meminfo", "\n")
	a := alarms{proc: procfs(filepath.Join(tr.dir, "proc")), bound: policy.Amount{Percent: 10}, warn: func(string, ...any) { said++ }}
	defer a.close()
	for range 2 {
		if low, pause := a.look(); low || pause != lookEvery || said != 1 {
			t.Errorf("of nothing: %v, %v, said %d", low, pause, said)
		}
	}
}

// After a snapshot that took long comes as long a pause.
func TestRest(t *testing.T) {
	began := time.Now()
	for took, rest := range map[time.Duration]time.Duration{0: 100, 100: 100, 101: 202, 3000: 6000} {
		var a alarms
		a.rest(began, began.Add(took*time.Millisecond))
		if got := a.resting.Sub(began); got != rest*time.Millisecond {
			t.Errorf("after %d ms it rests until %v", took, got)
		}
	}
}

// Where memory is short for good, snapshots get rarer, until it becomes less again.
func TestCalm(t *testing.T) {
	var a alarms
	ago := func(d time.Duration) { a.fell = a.fell.Add(-d) }
	near := func(want time.Duration) {
		t.Helper()
		if got := a.calm(); got < want || got > want+50*time.Millisecond {
			t.Errorf("waits for %v, not %v", got, want)
		}
	}
	a.note(900, 1000)
	near(0)
	ago(10 * time.Second)
	a.note(895, 1000) // it trembles
	near(500 * time.Millisecond)
	ago(time.Minute)
	near(time.Second)
	a.note(880, 1000)
	near(0)
	ago(time.Minute)
	a.note(1001, 1000)
	a.note(999, 1000) // again short of it
	near(0)
}

func TestTriggers(t *testing.T) {
	for text, want := range map[string]string{
		"memory some 150ms/1s":    "some 150000 1000000\x00",
		"io full 2s/10s":          "full 2000000 10000000\x00",
		"cpu some 1ms/500ms":      "some 1000 500000\x00",
		"memory some":             "three words",
		"swap some 150ms/1s":      "cpu, memory or io",
		"memory most 150ms/1s":    "some or full",
		"memory some 150ms":       "two times",
		"memory some 150/1s":      "two times",
		"memory some 150ms/1s/1s": "two times",
		"memory some 0s/1s":       "the window is from",
		"memory some 2s/1s":       "the window is from",
		"memory some 5ms/100ms":   "the window is from",
		"memory some 5ms/11s":     "the window is from",
	} {
		got, err := parseTrigger(text)
		if err == nil && got.set != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave %q, %v", text, got.set, err)
		}
	}
}

// Where the kernel gives no trigger that is said once, and it goes on without.
func TestNoTrigger(t *testing.T) {
	t.Parallel()
	tr := newTreeOfOne(t)
	l := tr.loop("--every=100ms", "--on-pressure=memory some 150ms/1s")
	for range 3 {
		l.next()
	}
	if err := l.end(); err != nil || strings.Count(l.said.String(), "--on-pressure: going on without") != 1 {
		t.Errorf("%v: %s", err, l.said)
	}
}

// The kernel's own trigger ends the wait: here with as much work as it takes for tasks to wait for a CPU.
func TestPressure(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: makes every CPU busy for up to a few seconds")
	}
	wanted, err := parseTrigger("cpu some 1ms/2s")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := wanted.open("/proc"); err != nil {
		t.Skipf("skipped: %v", err)
	} else {
		f.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, err := openAlarms(ctx, alarms{proc: "/proc", warn: t.Logf}, nil, []trigger{wanted})
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	var cpus unix.CPUSet
	cpus.Set(0)
	for range 3 {
		go func() {
			runtime.LockOSThread() // which ends with the goroutine
			unix.SchedSetaffinity(0, &cpus)
			for ctx.Err() == nil {
			}
		}()
	}
	if cause, err := a.wait(time.Now().Add(30 * time.Second)); err != nil || cause != record.CausePressure {
		t.Errorf("got %q, %v", cause, err)
	}
}
