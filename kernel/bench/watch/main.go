// Command watch is what measures a bomb in the full virtual machine: until a
// process has ended, and two seconds more, it samples the memory that is
// available and asks each address all the time. Then it prints one JSON line.
//
// usage: watch PID PERCENT SECONDS URL...
//
// The alarm is when less than PERCENT of the memory is available. It waits for
// the end for SECONDS at most. Times are seconds since 1970; one that never
// came is null.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

type result struct {
	Alarm            *float64 `json:"alarm"`
	Ended            *float64 `json:"ended"`
	LeastPercent     float64  `json:"least_percent"`
	Requests         int      `json:"requests"`
	Lost             int      `json:"requests_lost"`
	SlowestSeconds   float64  `json:"slowest_seconds"`
	FullStallSeconds float64  `json:"full_stall_seconds"`
	KernelKills      int      `json:"kernel_kills"` // of its own, for want of memory
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "watch:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: watch PID PERCENT SECONDS URL...")
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	percent, err := strconv.ParseFloat(args[1], 64)
	if err != nil {
		return err
	}
	limit, err := time.ParseDuration(args[2] + "s")
	if err != nil {
		return err
	}
	// What measures must not wait for the memory whose want it measures.
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("locking memory: %w", err)
	}
	r, err := watch(pid, percent, limit, args[3:])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func watch(pid int, percent float64, limit time.Duration, urls []string) (result, error) {
	var r result
	stalled, err := fullStall()
	if err != nil {
		return r, err
	}
	killed, err := oomKills()
	if err != nil {
		return r, err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var group sync.WaitGroup
	var sampled samples
	group.Go(func() { sampled = sample(ctx, percent) })
	counts := make([]count, len(urls))
	for i, url := range urls {
		group.Go(func() { counts[i] = ask(ctx, url) })
	}
	if r.Ended, err = await(pid, limit); err != nil {
		return r, err
	}
	time.Sleep(2 * time.Second)
	stop()
	group.Wait()
	end, err := fullStall()
	if err != nil {
		return r, err
	}
	r.FullStallSeconds = (end - stalled).Seconds()
	if r.KernelKills, err = oomKills(); err != nil {
		return r, err
	}
	r.KernelKills -= killed
	r.Alarm, r.LeastPercent = sampled.alarm, sampled.least
	for _, c := range counts {
		r.Requests += c.all
		r.Lost += c.lost
		r.SlowestSeconds = max(r.SlowestSeconds, c.slowest.Seconds())
	}
	return r, sampled.err
}

// await waits for the end of a process, and tells when that was.
func await(pid int, limit time.Duration) (*float64, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(time.Until(deadline).Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return nil, err
		}
		if n > 0 {
			return now(), nil
		}
	}
	return nil, nil
}

func now() *float64 {
	seconds := float64(time.Now().UnixMicro()) / 1e6
	return &seconds
}
