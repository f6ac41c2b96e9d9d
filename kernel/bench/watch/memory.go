package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"
)

// samples is what was seen of the memory that is available.
type samples struct {
	alarm *float64 // when it was first below the bound
	least float64  // in percent
	err   error
}

// sample looks every 20 ms until ctx ends.
func sample(ctx context.Context, bound float64) samples {
	s := samples{least: 100}
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		s.err = err
		return s
	}
	defer file.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	text := make([]byte, 8<<10)
	for {
		select {
		case <-ctx.Done():
			return s
		case <-tick.C:
		}
		n, _ := file.ReadAt(text, 0) // io.EOF: it is shorter
		percent, err := available(text[:n])
		if err != nil {
			s.err = err
			return s
		}
		s.least = min(s.least, percent)
		if s.alarm == nil && percent < bound {
			s.alarm = now()
		}
	}
}

// available is the percentage of the memory that is, by /proc/meminfo.
func available(meminfo []byte) (float64, error) {
	var total, free float64
	for line := range bytes.Lines(meminfo) {
		fmt.Sscanf(string(line), "MemTotal: %g", &total)
		if n, _ := fmt.Sscanf(string(line), "MemAvailable: %g", &free); n == 1 && total > 0 {
			return 100 * free / total, nil
		}
	}
	return 0, fmt.Errorf("/proc/meminfo: no MemTotal and MemAvailable in %q", meminfo)
}

// fullStall is how long, since the boot, all who had work waited for memory.
func fullStall() (time.Duration, error) {
	const name = "/proc/pressure/memory"
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, full, _ := bytes.Cut(text, []byte("full "))
	_, total, _ := bytes.Cut(full, []byte("total="))
	var us int64
	if _, err := fmt.Sscan(string(total), &us); err != nil {
		return 0, fmt.Errorf("%s: %q: %w", name, text, err)
	}
	return time.Duration(us) * time.Microsecond, nil
}

// oomKills is how many processes the kernel has ended, since the boot, for want of memory.
func oomKills() (n int, err error) {
	const name = "/proc/vmstat"
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(text, []byte("\noom_kill "))
	if _, err := fmt.Sscan(string(after), &n); err != nil {
		return 0, fmt.Errorf("%s: oom_kill: %w", name, err)
	}
	return n, nil
}
