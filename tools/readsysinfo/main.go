// Command readsysinfo prints one snapshot: a host line and a line for each running container, with its memory, CPU time
// and CPU rate. It needs neither root nor Docker's socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/readsysinfo/cgroup"
)

const summary = `
Prints a snapshot as JSON lines: one of type host, then one of type container
for each running container and, with --processes, those of type process that
belong to it, and last one of type end, which counts those before it.

--source is where the containers are read:
  auto    module; or cgroup where its file is not there or, saying so, where the
          file cannot be read, is not whole or not right
  module  /proc/sysinfo_winnow, the file of winnow's kernel module
  cgroup  the cgroup files, of version 1 or 2, and /proc
  PATH    a file with a document as the module prints it, or one as the
          sysinfo modules of the Linux course projects print it. Those measure
          each container's shim, so memory and CPU time are then taken from the
          container's cgroup files; where it has none here, the shim's resident
          memory and CPU time stand in, and there is no CPU rate.

Containers are those of Docker, Podman, containerd and CRI-O, known by the names
of their cgroups. Of several cgroups with one id the one counts that lies where
the engine puts it, then one outside user.slice, then one that is root's. The
others are named on stderr, and so are all of them where that does not tell them
apart: such a container is left out, and the exit status stays 0.

A command line is cut at 4096 bytes. Those that do not come within 50 ms are null.

Memory is counted as docker stats counts it, and is of now: a cgroup's usage
less its inactive file cache. A CPU rate is the counter's growth over at least
--span, however often this is called with the same --state, which keeps the
counters of earlier samples. Only what has not been seen for so long has a rate
over less, and interval_ms tells its span; below 0.1 s it has none. Where the
state has no sample that is old enough, this waits until one is: for the whole
span without a state, or if that is of another boot or source, or over 10
minutes old (twice the span, where that is more). A PATH is not waited for: it
has the rates that the state gives, or null.
`

const (
	defaultSpan = 5 * time.Second
	// cmdlinePatience is how long a snapshot waits for all command lines.
	cmdlinePatience = 50 * time.Millisecond
)

func main() {
	debug.SetGCPercent(400) // a snapshot is made once: some more memory for a quarter less time
	cli.Main("readsysinfo", run)
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	return runWithin(ctx, cmdlinePatience, args, stdout, stderr)
}

// runWithin is run with another time for the command lines.
func runWithin(ctx context.Context, cmdlines time.Duration, args []string, stdout, stderr io.Writer) error {
	t := cli.New("readsysinfo", "[--source auto|module|cgroup|PATH] [--state FILE] [--span 5s] [--processes] [--while FILE]", summary, stderr)
	from := t.String("source", "auto", "where to read: auto, module, cgroup or a file's PATH")
	statePath := t.String("state", "", "file that keeps the counters for the next run's rates")
	span := t.Duration("span", defaultSpan, "the time to take CPU rates over, at least")
	processes := t.Bool("processes", false, "print the containers' processes too")
	root := t.String("proc-root", "/proc", "where the host's procfs is mounted")
	while := t.WhileFlag()
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if *from == "" {
		return t.Misused("--source is empty")
	}
	if *span <= 0 || *span > maxInterval {
		return t.Misused("--span is %v, and must be more than 0 and at most %v", *span, maxInterval)
	}
	if err := while.Check(); err != nil {
		return err
	}
	ctx, cancel := while.Context(ctx)
	defer cancel()
	src, err := openSource(settings{procfs(*root), *from, *processes, max(*span, minInterval), cmdlines}, t)
	if err != nil {
		return err
	}
	defer src.close()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	now, before, err := src.snapshot(ctx, *statePath)
	if err != nil {
		return err
	}
	if err := while.Check(); err != nil {
		return err
	}
	p := printer{src.proc, host, src.bootID, *processes}
	if err := p.print(stdout, now, newBases(before, now.atNS, src.span)); err != nil {
		return err
	}
	for _, err := range now.Failed {
		if errors.Is(err, cgroup.ErrUncounted) {
			t.Warn("%v", err)
			continue
		}
		t.Complain(err)
	}
	if *statePath != "" {
		if err := src.writeState(*statePath, now, before); err != nil {
			t.Complain(fmt.Errorf("state not kept: %w", err))
		}
	}
	return t.Done(nil)
}
