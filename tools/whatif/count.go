package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	"winnow/tools/internal/record"
)

// The two sides: the policy that judged, and what it is compared with.
const (
	here = iota
	there
)

// maxGap is the longest pause between two snapshots that counts as seen, unless
// twice the one before it is longer.
const maxGap = 2 * time.Minute

const kibInGiB = 1 << 20

// maxText bounds the texts that are kept, in bytes.
const maxText = 500

// counter follows the containers of a stream.
type counter struct {
	since    time.Time
	recorded bool // the other side is what happened
	sums     *sums
	hosts    map[string]*host
}

// host is what is known of one between its snapshots.
type host struct {
	name    string
	lives   map[string]*life
	at      time.Time // of its latest whole snapshot
	pause   time.Duration
	differ  time.Time // of the first snapshot in which the sides differ
	counted bool      // among the sums' hosts
	round   int       // how many whole snapshots there were
	open    snapshot  // that may not be complete yet
}

// life is a container from its start to its end as they were recorded.
type life struct {
	id, name, image string
	pid, cpuNS      float64
	memoryKB        float64
	last            time.Time // when it was seen last
	round           int       // the host's, then
	rule            string    // of the verdict that was recorded last
	ends            [2]*end   // nil where the side kept it
	freed           [2]use
	over            [2]bool // warned, or condemned and there all the same
}

// end is when and why a side has a container gone.
type end struct {
	at           time.Time // in UTC
	rule, reason string
	dry          bool
}

// use is what is freed.
type use struct {
	CPUHours float64 `json:"cpu_hours"`
	GiBHours float64 `json:"memory_gib_hours"`
}

func (u *use) add(o use) { u.CPUHours, u.GiBHours = u.CPUHours+o.CPUHours, u.GiBHours+o.GiBHours }

// settle counts the snapshot at hand and the kills after it, and makes room for the
// next. One that is not whole was not judged.
func (c *counter) settle(h *host) {
	s := h.open
	h.open = snapshot{samples: s.samples[:0], kills: map[string]string{}}
	var step time.Duration
	var over [2]bool // before it
	if s.whole() {
		h.round++
		step = h.step(s.at)
		for i := range s.samples {
			l := c.lifeOf(h, &s.samples[i])
			over[here], over[there] = over[here] || l.over[here], over[there] || l.over[there]
			c.see(l, &s.samples[i], s.at, step)
			l.round = h.round
		}
	}
	for id, reason := range s.kills {
		if l := h.lives[id]; l != nil {
			l.end(there, l.last, &verdict{Rule: l.rule, Reason: reason})
			l.over[there] = false
		}
	}
	var gone []*life
	for _, l := range h.lives {
		if h.differ.IsZero() && (l.ends[here] == nil) != (l.ends[there] == nil) {
			h.differ = l.last
		}
		if l.round != h.round {
			gone = append(gone, l)
		}
	}
	c.conclude(h, gone, false)
	if s.whole() && !s.at.Before(c.since) {
		c.sums.snapshot(h, s.at, step, over)
	}
}

// lifeOf is the life that a sample goes on or begins.
func (c *counter) lifeOf(h *host, now *sample) *life {
	l := h.lives[now.id]
	if l != nil && (l.pid != now.pid || now.cpuNS < l.cpuNS) { // it was started anew
		c.conclude(h, []*life{l}, false)
		l = nil
	}
	if l == nil {
		l = &life{id: record.Clip(now.id, maxText), name: record.Clip(now.name, maxText), image: record.Clip(now.image, maxText)}
		h.lives[l.id] = l
	}
	return l
}

// see takes in a sample, and what it used since the one before for the sides that
// have it gone by then.
func (c *counter) see(l *life, now *sample, at time.Time, step time.Duration) {
	used := use{now.cpuPercent / 100 * step.Hours(), (l.memoryKB + now.memoryKB) / 2 / kibInGiB * step.Hours()}
	for side, end := range l.ends {
		if end != nil && !l.last.IsZero() {
			l.freed[side].add(used)
		}
	}
	l.pid, l.cpuNS, l.memoryKB, l.last = now.pid, now.cpuNS, now.memoryKB, at
	for side := range l.ends {
		v := &now.verdicts[side]
		if side == there && c.recorded { // a kill is one when it was carried out
			if v.Rule != l.rule {
				l.rule = record.Clip(v.Rule, maxText)
			}
		} else if v.Verdict == record.VerdictKill {
			l.end(side, at, v)
		}
		l.over[side] = v.Verdict != "" && l.ends[side] == nil
	}
}

// step is how long was seen up to a snapshot at a time: nothing where there was a gap.
func (h *host) step(at time.Time) time.Duration {
	pause := at.Sub(h.at)
	seen := pause
	if h.at.IsZero() || pause < 0 || pause > maxGap && pause > 2*h.pause {
		seen = 0
	}
	if h.at.IsZero() || pause < 0 {
		pause = 0
	}
	h.at, h.pause = at, pause
	return seen
}

// end has a side condemn it, unless it has before.
func (l *life) end(side int, at time.Time, v *verdict) {
	if l.ends[side] == nil {
		l.ends[side] = &end{at.UTC(), record.Clip(v.Rule, maxText), record.Clip(v.Reason, maxText), v.Dry}
	}
}

// conclude ends lives as they were recorded, or at the end of the records.
func (c *counter) conclude(h *host, lives []*life, running bool) {
	slices.SortFunc(lives, func(a, b *life) int { return strings.Compare(a.id, b.id) })
	for _, l := range lives {
		delete(h.lives, l.id)
		if l.last.Before(c.since) {
			continue
		}
		c.sums.Containers++
		if l.ends == [2]*end{} {
			continue
		}
		if one := newCondemnation(h, l, running); !one.first().Before(c.since) {
			c.sums.condemned(one)
		}
	}
}

// end counts what is there at the end of the records.
func (c *counter) end() {
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		h := c.hosts[name]
		c.settle(h)
		c.conclude(h, slices.Collect(maps.Values(h.lives)), true)
		c.sums.differ(h.differ)
	}
}
