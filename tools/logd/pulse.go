package main

import (
	"time"

	"winnow/tools/internal/record"
)

const (
	silentBeats = 3 // without a snapshot make a host silent
	// A host's beat is taken to be this until two snapshots tell it, and within these bounds.
	firstBeat, shortestBeat, longestBeat = 20 * time.Second, time.Second, time.Hour
)

// pulse tells whether a host has fallen silent, by its own beat: how far its snapshots are apart by its own clock, which
// is whatever it likes, and when the last one came by logd's.
type pulse struct {
	heard time.Time // when a snapshot came last; the zero time before the first
	clock time.Time // the last one's that was taken because it was time to
	spans [2]time.Duration
}

// add takes in a snapshot that came at heard.
func (p *pulse) add(r *record.Host, heard time.Time) {
	if heard.After(p.heard) {
		p.heard = heard
	}
	if r.Cause != record.CauseClock && r.Cause != "" {
		return
	}
	if span := r.Time.Sub(p.clock); !p.clock.IsZero() && span > 0 {
		p.spans[0], p.spans[1] = span, p.spans[0]
	}
	p.clock = r.Time
}

// patience is how long nothing may come. Of two spans the shorter is the beat: the other may have had a pause in it.
func (p *pulse) patience() time.Duration {
	beat := firstBeat
	if p.spans[0] > 0 {
		beat = p.spans[0]
	}
	if p.spans[1] > 0 {
		beat = min(beat, p.spans[1])
	}
	return silentBeats * min(max(beat, shortestBeat), longestBeat)
}

func (p *pulse) silent(now time.Time) bool {
	return !p.heard.IsZero() && now.Sub(p.heard) > p.patience()
}
