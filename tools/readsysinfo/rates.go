package main

import (
	"math"
	"slices"
	"time"

	"winnow/tools/readsysinfo/cgroup"
)

const (
	// minInterval is the shortest span to take a rate over: the counters of processes go in steps of 10 ms.
	minInterval = 100 * time.Millisecond
	// maxInterval is the longest: a mean over more says little about now.
	maxInterval = 10 * time.Minute
)

// usable are the samples of a state that rates can be taken from at nowNS, if it is of this boot and source: those
// neither of the future nor too old.
func (st state) usable(bootID, source string, nowNS int64, span time.Duration) []counters {
	if st.BootID != bootID || st.Source != source {
		return nil
	}
	var usable []counters
	for _, s := range st.Samples {
		if age := time.Duration(nowNS - s.AtNS); age >= 0 && age <= max(maxInterval, 2*span) {
			usable = append(usable, s)
		}
	}
	return usable
}

// spanning is how many of the samples, which are the oldest, are at least span old.
func spanning(samples []counters, nowNS int64, span time.Duration) int {
	n := 0
	for n < len(samples) && nowNS-samples[n].AtNS >= int64(span) {
		n++
	}
	return n
}

// thin leaves what later runs need of samples: none older than the newest that spans enough, and of those since one
// every eighth of the span. However often it is sampled, these are a dozen at most, and there is always one that is
// about span old.
func thin(samples []counters, nowNS int64, span time.Duration) []counters {
	var kept []counters
	for _, s := range samples[max(0, spanning(samples, nowNS, span)-1):] {
		if len(kept) == 0 || s.AtNS-kept[len(kept)-1].AtNS >= int64(span/8) {
			kept = append(kept, s)
		}
	}
	return kept
}

// bases are samples in the order in which rates are sought in them: the newest that is at least span old, then the
// older ones, and for what is younger than that the oldest of the others.
type bases []counters

func newBases(samples []counters, nowNS int64, span time.Duration) bases {
	b := slices.Clone(samples)
	slices.Reverse(b[:spanning(b, nowNS, span)])
	return b
}

// interval is the span of the rates of all that ran throughout, in ms; nil where there are none.
func (b bases) interval(nowNS int64) *int64 {
	if len(b) == 0 || nowNS-b[0].AtNS < int64(minInterval) {
		return nil
	}
	return milliseconds(nowNS - b[0].AtNS)
}

// ofContainer is a container's rate in percent of a core and its span in ms; nil for what is new or was started anew.
func (b bases) ofContainer(c *cgroup.Container) (percent *float64, intervalMS *int64) {
	now, known := counterOf(c, nil)
	for i := 0; known && percent == nil && i < len(b); i++ {
		percent, intervalMS = rate(b[i].Containers[c.ID], now)
	}
	return percent, intervalMS
}

// ofProcess is the rate of one of a container's processes.
func (b bases) ofProcess(c *cgroup.Container, p *cgroup.Process) (percent *float64) {
	now, known := counterOf(c, p)
	for i := 0; known && percent == nil && i < len(b); i++ {
		percent, _ = rate(b[i].Processes[p.PID], now)
	}
	return percent
}

// rate is nil where before is zero, or a counter of something else.
func rate(before, now counter) (percent *float64, intervalMS *int64) {
	same := before.PID == now.PID && before.StartNS == now.StartNS
	span := now.AtNS - before.AtNS
	if !same || before.AtNS == 0 || span < int64(minInterval) || now.CPUNS < before.CPUNS {
		return nil, nil
	}
	return new(round(float64(now.CPUNS-before.CPUNS) / float64(span) * 100)), milliseconds(span)
}

// milliseconds are whole, rounded down: no span is called longer than it is.
func milliseconds(ns int64) *int64 { return new(time.Duration(ns).Milliseconds()) }

func percent(part, whole uint64) float64 { return round(float64(part) / float64(whole) * 100) }

// round keeps two decimals.
func round(x float64) float64 { return math.Round(x*100) / 100 }
