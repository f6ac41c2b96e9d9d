package main

import (
	"sync/atomic"
	"time"
)

// syncBuckets are the upper bounds of the histogram of writes, in seconds.
var syncBuckets = [...]float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1}

// histogram counts durations, each in the first bucket that it fits in.
type histogram struct {
	buckets [len(syncBuckets) + 1]atomic.Int64
	sum     atomic.Int64 // ns
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(syncBuckets) && d.Seconds() > syncBuckets[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}
