// Package bench measures a command against a named peer in the same run and
// prints what it found as a JSON line, for `make bench`.
package bench

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Result is one comparison. Ours and Peer are medians in Unit; Ratio is Ours
// divided by Peer, so less is better where less of the unit is.
type Result struct {
	Bench   string  `json:"bench"`
	Ours    float64 `json:"ours"`
	Peer    float64 `json:"peer"`
	Ratio   float64 `json:"ratio"`
	Unit    string  `json:"unit"`
	Against string  `json:"against"` // what the peer is
}

// Print writes the result to stdout on a line of its own.
func Print(b *testing.B, r Result) {
	b.Helper()
	if r.Peer != 0 {
		r.Ratio = r.Ours / r.Peer
	}
	line, err := json.Marshal(r)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Printf("\n%s\n", line) // the bench runner may have begun a line of its own
}

// Usage is what one run of a command took.
type Usage struct {
	Wall    time.Duration
	PeakKiB float64
}

// Command runs cmd to its end, which must be exit status 0.
func Command(b *testing.B, cmd *exec.Cmd) Usage {
	b.Helper()
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v", cmd, err)
	}
	wall := time.Since(start)
	return Usage{wall, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)}
}

// Compare runs ours and peer in turn, once unmeasured and then rounds times,
// and prints their median times in ms under name. Each returns the time to
// count, so it can set up and clean up outside of it.
func Compare(b *testing.B, name, against string, rounds int, ours, peer func() time.Duration) {
	b.Helper()
	ours()
	peer()
	var mine, theirs []time.Duration
	for range rounds {
		mine = append(mine, ours())
		theirs = append(theirs, peer())
	}
	Print(b, Result{Bench: name, Ours: ms(median(mine)), Peer: ms(median(theirs)), Unit: "ms", Against: against})
}

// Bound prints a measure with the limit that it must keep as its peer.
func Bound(b *testing.B, name string, value, limit float64, unit string) {
	b.Helper()
	Print(b, Result{Bench: name, Ours: value, Peer: limit, Unit: unit, Against: "the limit"})
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
