package store

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is what tells the store the time.
type Clock struct {
	Wall func() time.Time
	Boot func() time.Duration // since the machine's start, its sleep included; nobody can set it
}

// RealClock is the machine's.
func RealClock() Clock {
	return Clock{time.Now, func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			panic(err) // Linux has had it since 2.6.39
		}
		return time.Duration(ts.Nano())
	}}
}

const (
	jump    = time.Hour        // a clock that was set by more is not believed at once
	settle  = 10 * time.Minute // but when it has gone on from there for so long
	certain = time.Hour        // after so long without a jump days may be removed by it
	far     = 366 * 24 * time.Hour
)

// trusted is a clock that one wrong reading cannot mislead: it goes on by the
// boot clock until the other has settled.
type trusted struct {
	Clock
	warn func(format string, a ...any)

	mu     sync.Mutex
	right  time.Time     // at boot
	boot   time.Duration // that it was last seen right
	since  time.Duration // that it has been believed
	off    time.Duration // by how much the readings differ that are not believed
	offAt  time.Duration // since when; below 0: they are believed
	jumped bool          // one was
}

// newTrusted begins with the time that the clock says, unless what the log
// holds speaks against it: at is then when its newest line came.
func newTrusted(c Clock, at time.Time, warn func(string, ...any)) *trusted {
	now, boot := c.Wall(), c.Boot()
	t := &trusted{Clock: c, warn: warn, right: now, boot: boot, since: boot, offAt: -1}
	if !at.IsZero() {
		t.right = at
	}
	return t
}

// now is the time.
func (t *trusted) now() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	wall, boot := t.Wall(), t.Boot()
	expected := t.right.Add(boot - t.boot)
	off := wall.Round(0).Sub(expected)
	if off.Abs() <= jump {
		t.right, t.boot, t.offAt = wall, boot, -1
		return wall
	}
	if t.offAt < 0 || (off-t.off).Abs() > jump {
		t.off, t.offAt = off, boot
		t.warn("the clock says %s, and by what came before it is %s: days go by that until the clock has stayed there for %v",
			wall.UTC().Format(time.RFC3339), expected.UTC().Format(time.RFC3339), settle)
	}
	if boot-t.offAt < settle {
		return expected
	}
	t.warn("the clock has stayed at its new time, and is believed: %s", wall.UTC().Format(time.RFC3339))
	t.right, t.boot, t.since, t.offAt, t.jumped = wall, boot, boot, -1, true
	return wall
}

// certain tells whether days may be removed by the time that it is.
func (t *trusted) certain() bool {
	t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := certain
	if t.jumped {
		wait = 24 * certain
	}
	return t.offAt < 0 && t.Boot()-t.since >= wait
}
