package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

const (
	// alarmEvery is how often snapshots are taken at most where little memory is available, and looks at it.
	alarmEvery = 100 * time.Millisecond
	// lookEvery is how often it is looked at least.
	lookEvery = time.Second
	// fillRate is how fast memory is taken at most, in KiB a second: a bold guess, which earlyoom makes as well.
	fillRate = 6_000_000
)

// alarms wait for the next snapshot: for its time, and for trouble before that.
type alarms struct {
	proc  procfs
	warn  func(format string, a ...any)
	bound policy.Amount // of the memory that is available; zero without

	polled  []unix.PollFd // the end of the context, stdout, and the kernel's triggers
	opened  []*os.File
	meminfo *os.File
	fired   bool      // a trigger has
	resting time.Time // no alarm before
	blind   bool      // it was said that meminfo cannot be read

	began  time.Time // the snapshot before
	lowest float64   // in KiB, of what was available since it was more than the bound
	fell   time.Time // when that last became less
}

// errUnread is that nobody reads stdout any more.
var errUnread = fmt.Errorf("stdout: %w", unix.EPIPE)

// trigger is one of the kernel's, in its own words: see Documentation/accounting/psi.rst.
type trigger struct{ text, resource, set string }

// parseTrigger reads such as `memory some 150ms/1s`.
func parseTrigger(text string) (trigger, error) {
	wrong := func(why string) (trigger, error) {
		return trigger{}, fmt.Errorf(`--on-pressure: %q is not such as "memory some 150ms/1s": %s`, text, why)
	}
	words := strings.Fields(text)
	if len(words) != 3 {
		return wrong("it has three words")
	}
	if !slices.Contains(resources[:], words[0]) {
		return wrong("the first is cpu, memory or io")
	}
	if words[1] != "some" && words[1] != "full" {
		return wrong("the second is some or full")
	}
	before, after, _ := strings.Cut(words[2], "/")
	stall, err1 := time.ParseDuration(before)
	window, err2 := time.ParseDuration(after)
	if err := errors.Join(err1, err2); err != nil {
		return wrong("the third is two times")
	}
	if window < 500*time.Millisecond || window > 10*time.Second || stall <= 0 || stall > window {
		return wrong("the window is from 500ms to 10s, and the stall no longer")
	}
	return trigger{text, words[0], fmt.Sprintf("%s %d %d\x00", words[1], stall.Microseconds(), window.Microseconds())}, nil
}

func parseTriggers(texts []string) (all []trigger, err error) {
	for _, text := range texts {
		t, err := parseTrigger(text)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// openAlarms opens what there is to wait for. What the kernel does not give is told, and gone without.
func openAlarms(ctx context.Context, with alarms, stdout io.Writer, triggers []trigger) (*alarms, error) {
	a := &with
	ended, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { end.Close() }) // which poll(2) tells of the other end
	a.opened = []*os.File{ended, end}
	unread := unix.PollFd{Fd: -1}
	if f, ok := stdout.(*os.File); ok {
		unread.Fd = int32(f.Fd())
	}
	a.polled = []unix.PollFd{{Fd: int32(ended.Fd())}, unread}
	for _, t := range triggers {
		f, err := t.open(a.proc)
		if err != nil {
			a.warn("--on-pressure: going on without %q: %v", t.text, err)
			continue
		}
		a.opened = append(a.opened, f)
		a.polled = append(a.polled, unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLPRI})
	}
	return a, nil
}

func (a *alarms) close() {
	for _, f := range a.opened {
		f.Close()
	}
}

// open sets the kernel's trigger, which lasts as long as the file is open.
func (t trigger) open(proc procfs) (*os.File, error) {
	path := proc.path("pressure/" + t.resource)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EROFS) { // as a container has the host's; its own tells of the same
		path = "/proc/pressure/" + t.resource
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path) // os.OpenFile would let the runtime poll it, and take the events
	if _, err := f.WriteString(t.set); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: without the right the window must be a multiple of 2s", err)
	}
	return f, nil
}

// wait waits until a snapshot is due, or is to be taken before, and tells the cause. An error is that ctx has ended, or
// that nobody reads.
func (a *alarms) wait(due time.Time) (cause string, err error) {
	for {
		cause, until := record.CauseClock, due
		low, pause := a.look()
		switch { // a beat that comes while an alarm rests is the alarm's, too
		case low:
			cause, until = record.CauseAvailable, later(a.resting, a.began.Add(a.calm()))
		case a.fired:
			cause, until = record.CausePressure, a.resting
		}
		now := time.Now()
		if !now.Before(until) {
			a.fired = false
			return cause, nil
		}
		if err := a.poll(min(until.Sub(now), pause)); err != nil {
			return "", err
		}
	}
}

// rest lets no alarm be soon after a snapshot, nor as long again after one that took long.
func (a *alarms) rest(began, ended time.Time) {
	a.began, a.resting = began, began.Add(alarmEvery)
	if took := ended.Sub(began); took > alarmEvery {
		a.resting = ended.Add(took)
	}
}

// calm is how long to wait for the next snapshot where little memory is available and it does not get less: ever
// longer, so that a host that is always short of it pays for one a second and not for ten.
func (a *alarms) calm() time.Duration {
	return min(time.Since(a.fell)/20, lookEvery)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// note remembers when memory last became less: by a hundredth of the bound, which is more than it ever trembles.
func (a *alarms) note(availableKB, boundKB float64) {
	if availableKB > boundKB {
		a.lowest = boundKB * 2
	} else if availableKB < a.lowest-boundKB/100 || a.fell.IsZero() {
		a.lowest, a.fell = availableKB, time.Now()
	}
}

// look tells whether little memory is available, and how long it cannot be so.
func (a *alarms) look() (low bool, pause time.Duration) {
	if a.bound == (policy.Amount{}) {
		return false, time.Hour
	}
	m, err := a.available()
	if err != nil {
		if !a.blind {
			a.warn("--on-available: %v", err)
		}
		a.blind = true
		return false, lookEvery
	}
	a.blind = false
	boundKB := a.bound.Of(float64(m.totalKB))
	a.note(float64(m.availableKB), boundKB)
	headroom := float64(m.availableKB) - boundKB
	pause = time.Duration(headroom / fillRate * float64(time.Second))
	return headroom <= 0, min(max(pause, alarmEvery), lookEvery)
}

// available reads the memory of the host anew, from a file that stays open: little of it, where that stands.
func (a *alarms) available() (memory, error) {
	path := a.proc.path("meminfo")
	if a.meminfo == nil {
		f, err := os.Open(path)
		if err != nil {
			return memory{}, err
		}
		a.meminfo, a.opened = f, append(a.opened, f)
	}
	var head [256]byte
	n, err := a.meminfo.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return memory{}, err
	}
	return parseMeminfo(path, head[:n])
}

// poll waits for so long, or until something happens.
func (a *alarms) poll(pause time.Duration) error {
	timeout := unix.NsecToTimespec(int64(pause))
	if _, err := unix.Ppoll(a.polled, &timeout, nil); err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil
		}
		return fmt.Errorf("poll: %w", err)
	}
	if a.polled[0].Revents != 0 {
		return context.Canceled
	}
	if a.polled[1].Revents != 0 {
		return errUnread
	}
	for i := range a.polled[2:] {
		one := &a.polled[2+i]
		a.fired = a.fired || one.Revents&unix.POLLPRI != 0
		if one.Revents&(unix.POLLERR|unix.POLLNVAL) != 0 {
			a.warn("--on-pressure: the kernel has ended a trigger")
			one.Fd = -1
		}
	}
	return nil
}
