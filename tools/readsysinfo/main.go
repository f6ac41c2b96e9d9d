// Command readsysinfo prints one snapshot, or one every so often: a host line and a line for each running container, with
// its memory, CPU time and CPU rate. It needs neither root nor Docker's socket.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/policy"
)

const summary = `
readsysinfo prints a snapshot as JSON lines: one of type host, then one of type container
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

With --every it goes on: the first snapshot comes at once, with the rates that
the state gives, the others on the beat from there on. Beats that come while a
snapshot is taken, or is not read, are skipped, which is said. One that fails is
said, and the next is tried; if it is the first, it ends. It ends too, with its
state kept, at a signal, or at once when nobody reads its output any more.

What the host line calls the cause of a snapshot is clock, or of one in between:
  available  no more than --on-available can be had without swapping. That is
             looked at the more often the nearer it is, from each second to each
             100 ms, and where it holds a snapshot comes each 100 ms, or with a
             pause as long as it took.
  pressure   a trigger of the kernel's, which --on-pressure sets and may be
             given several times: cpu, memory or io; some or full; for how long
             tasks waited within a window of 500ms to 10s.

With --stages lines of type stage come before a host line, once a minute: what
each process of readsysinfo's own process group has cost since it started.

Examples:

  readsysinfo | jq .
  readsysinfo --processes | jq -r 'select(.type == "process") | [.id[:12], .pid, .cmdline] | @tsv'
  readsysinfo --every 10s --on-available 10% | namectr | classify | killctr --dry-run >records.jsonl`

const (
	defaultSpan = 5 * time.Second
	// cmdlinePatience is how long a snapshot waits for all command lines.
	cmdlinePatience = 50 * time.Millisecond
)

func main() {
	debug.SetGCPercent(400) // some more memory for a quarter less time
	cli.Main("readsysinfo", run)
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	return runWithin(ctx, cmdlinePatience, args, stdout, stderr)
}

// runWithin is run with another time for the command lines.
func runWithin(ctx context.Context, cmdlines time.Duration, args []string, stdout, stderr io.Writer) error {
	t := cli.New("readsysinfo", "[--source auto|module|cgroup|PATH] [--state FILE] [--span 5s] [--processes] [--every 10s] [--while FILE]", summary, stderr)
	from := t.String("source", "auto", "where to read: auto, module, cgroup or a file's PATH")
	statePath := t.String("state", "", "file that keeps the counters for the next run's rates")
	span := t.Duration("span", defaultSpan, "the time to take CPU rates over, at least")
	processes := t.Bool("processes", false, "print the containers' processes too")
	host := t.String("host", "", "the host's name in the records, as in a container that has a name of its own; the hostname without it")
	root := t.String("proc-root", "/proc", "where the host's procfs is mounted")
	while := t.WhileFlag()
	t.LockMemoryFlag()
	every := t.Duration("every", 0, "go on, with a snapshot every so often: from 100ms to 1h")
	var bound policy.Amount
	t.Var(&bound, "on-available", "with --every: take one at once, and up to ten a second, while no more memory is available, such as 10%")
	pressed := t.StringArray("on-pressure", nil, `with --every: take one at once when tasks waited so long, such as "memory some 150ms/1s"`)
	stages := t.Bool("stages", false, "print what the processes of this pipeline cost too, once a minute")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if *from == "" {
		return t.Misused("--source is empty")
	}
	if *span <= 0 || *span > maxInterval {
		return t.Misused("--span is %v, and must be more than 0 and at most %v", *span, maxInterval)
	}
	triggers, err := parseTriggers(*pressed)
	switch {
	case t.Changed("host") && !isHostName(*host):
		return t.Misused("--host is no name of up to 253 letters, digits, dots, dashes and underscores: %q", *host)
	case err != nil:
		return t.Misused("%w", err)
	case t.Changed("every") && (*every < minInterval || *every > time.Hour):
		return t.Misused("--every is %v, and must be from %v to 1h", *every, minInterval)
	case *every == 0 && (bound != policy.Amount{} || len(triggers) > 0):
		return t.Misused("--on-available and --on-pressure are nothing without --every")
	}
	if err := while.Check(); err != nil {
		return err
	}
	ctx, cancel := while.Context(ctx)
	defer cancel()
	if *every > 0 {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, stopSignals()...)
		defer stop()
		context.AfterFunc(ctx, stop) // a second one ends what hangs
	}
	src, err := openSource(settings{procfs(*root), *from, *processes, max(*span, minInterval), cmdlines, *every > 0}, t)
	if err != nil {
		return err
	}
	defer src.close()
	if *host == "" {
		if *host, err = os.Hostname(); err != nil {
			return err
		}
	}
	p := printer{src.proc, *host, src.bootID, *processes}
	if *every > 0 {
		waiting, err := openAlarms(ctx, alarms{proc: src.proc, warn: t.Warn, bound: bound}, stdout, triggers)
		if err != nil {
			return err
		}
		defer waiting.close()
		l := loop{source: src, printer: p, out: stdout, every: *every, statePath: *statePath, alarms: waiting, stages: *stages}
		if err := l.run(ctx); err != nil {
			return err
		}
		return t.Done(while.Check())
	}
	now, before, err := src.snapshot(ctx, *statePath)
	if err != nil {
		return err
	}
	if *stages {
		if err := src.findStages(now); err != nil {
			t.Complain(fmt.Errorf("stages: %w", err))
		}
	}
	if err := while.Check(); err != nil {
		return err
	}
	if err := p.print(stdout, now, newBases(before, now.atNS, src.span), lastStalls(before)); err != nil {
		return err
	}
	for _, m := range src.messages(now) {
		src.tell(m)
	}
	if *statePath != "" {
		if err := src.keep(now, before).write(*statePath); err != nil {
			t.Complain(fmt.Errorf("state not kept: %w", err))
		}
	}
	return t.Done(nil)
}

// isHostName tells whether name can be a host's: it is part of a line's key, and of what people type.
func isHostName(name string) bool {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$`).MatchString(name)
}

// stopSignals are those that end a loop with its state kept. A reader that is gone is one.
func stopSignals() []os.Signal {
	return slices.DeleteFunc([]os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE}, signal.Ignored)
}
