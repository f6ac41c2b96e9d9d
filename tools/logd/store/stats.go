package store

import (
	"sync/atomic"
	"time"
)

// SyncBuckets are the upper bounds of the histogram of writes, in seconds.
var SyncBuckets = [...]float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1}

// Histogram counts durations, each in the first bucket that it fits in.
type Histogram struct {
	Buckets [len(SyncBuckets) + 1]atomic.Int64
	Sum     atomic.Int64 // ns
}

func (h *Histogram) observe(d time.Duration) {
	i := 0
	for i < len(SyncBuckets) && d.Seconds() > SyncBuckets[i] {
		i++
	}
	h.Buckets[i].Add(1)
	h.Sum.Add(int64(d))
}
