package main

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"winnow/tools/internal/record"
)

// The sides: the policy that judged, and what it is compared with.
const (
	here = iota
	there
)

const (
	// maxGap is the longest pause between two snapshots that counts as seen, where
	// twice the host's beat is not longer.
	maxGap   = 2 * time.Minute
	maxText  = 500 // bytes that are kept of a text
	kibInGiB = 1 << 20
)

// counter follows the containers of a stream.
type counter struct {
	since    time.Time
	recorded bool // the other side is what happened
	sums     *sums
	hosts    map[string]*host
}

// host is what is known of one between its snapshots.
type host struct {
	name   string
	lives  map[string]*life
	at     time.Time     // of its latest whole snapshot
	beat   time.Duration // the shortest pause between two
	round  int           // its number
	differ int           // that of the first in which the sides differ, 0 for none
	open   snapshot      // that may not be complete yet
}

// life is a container from its start to its end as they were recorded.
type life struct {
	condemnation
	pid, cpuNS, memoryKB float64
	round                int     // the host's when it was seen last
	rule                 string  // of the verdict that was noted last
	over                 [2]bool // warned, or condemned and there all the same
}

// settle counts the snapshot at hand and the kills after it, and makes room for the
// next. One that is not whole was not judged.
func (c *counter) settle(h *host) {
	s := h.open
	h.open = snapshot{samples: s.samples[:0], kills: map[string]string{}}
	if float64(len(s.samples)) == s.announced && !s.at.IsZero() {
		c.count(h, &s)
	}
	for id, reason := range s.kills {
		if l := h.lives[id]; l != nil {
			l.There.condemn(l.Ended, l.round, &verdict{Rule: l.rule, Reason: reason})
			l.over[there] = false
		}
	}
	var gone []*life
	for _, l := range h.lives {
		if h.differ == 0 && (l.Here.Time == nil) != (l.There.Time == nil) {
			h.differ = h.round
			c.sums.differ(h.at.UTC())
		}
		if l.round != h.round {
			gone = append(gone, l)
		}
	}
	c.conclude(h, gone)
}

func (c *counter) count(h *host, s *snapshot) {
	step, over := h.step(s.at), [2]bool{}
	h.round++
	for i := range s.samples {
		now := &s.samples[i]
		l := h.lives[now.id]
		if l != nil && (l.pid != now.pid || now.cpuNS < l.cpuNS) { // it was started anew
			c.conclude(h, []*life{l})
			l = nil
		}
		if l == nil {
			l = &life{condemnation: condemnation{Type: "condemnation", Host: h.name, ID: record.Clip(now.id, maxText),
				Name: record.Clip(now.name, maxText), Image: record.Clip(now.image, maxText)}, memoryKB: now.memoryKB}
			h.lives[l.ID] = l
		}
		for side, of := range l.sides() {
			over[side] = over[side] || l.over[side]
			if of.Time != nil { // what it used since the sample before is freed
				of.CPUHours += now.cpuPercent / 100 * step.Hours()
				of.GiBHours += (l.memoryKB + now.memoryKB) / 2 / kibInGiB * step.Hours()
			}
			v := &now.verdicts[side]
			if v.Verdict == record.VerdictKill && !(side == there && c.recorded) { // what is recorded is a kill when it was carried out
				of.condemn(s.at.UTC(), h.round, v)
			}
			l.over[side] = v.Verdict != "" && of.Time == nil
		}
		if rule := now.verdicts[there].Rule; rule != l.rule {
			l.rule = record.Clip(rule, maxText)
		}
		l.pid, l.cpuNS, l.memoryKB, l.round, l.Ended = now.pid, now.cpuNS, now.memoryKB, h.round, s.at.UTC()
	}
	if !s.at.Before(c.since) {
		c.sums.snapshot(s.at.UTC(), step, over)
	}
}

// step is how long was seen up to a snapshot at a time. Beyond a gap nothing was, nor
// where a clock was set back.
func (h *host) step(at time.Time) (seen time.Duration) {
	if pause := at.Sub(h.at); !h.at.IsZero() && pause > 0 {
		h.beat = min(pause, cmp.Or(h.beat, pause))
		if pause <= max(maxGap, 2*h.beat) {
			seen = pause
		}
	}
	h.at = at
	return seen
}

// condemn has a side condemn, unless it has before.
func (s *side) condemn(at time.Time, round int, v *verdict) {
	if s.Time == nil {
		s.Time, s.round, s.verdict = &at, round, verdict{record.VerdictKill, v.Dry, record.Clip(v.Rule, maxText), record.Clip(v.Reason, maxText)}
	}
}

// conclude ends lives as they were recorded.
func (c *counter) conclude(h *host, lives []*life) {
	slices.SortFunc(lives, func(a, b *life) int { return strings.Compare(a.ID, b.ID) })
	for _, l := range lives {
		delete(h.lives, l.ID)
		if !l.Ended.Before(c.since) {
			c.sums.Containers++
		}
		if l.compare(h.differ); l.Difference != "" && !l.shown().Time.Before(c.since) {
			c.sums.add(&l.condemnation)
		}
	}
}

// end counts what is there at the end of the records.
func (c *counter) end() {
	c.sums.Hosts = len(c.hosts)
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		h := c.hosts[name]
		c.settle(h)
		lives := slices.Collect(maps.Values(h.lives))
		for _, l := range lives {
			l.Running = true
		}
		c.conclude(h, lives)
	}
}
