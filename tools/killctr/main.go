// Command killctr carries out the verdict kill. It is the one program of the
// pipe that changes the host.
package main

import (
	"context"
	"errors"
	"io"
	"os/signal"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `killctr passes a stream on and stops each container whose line has the verdict
kill: its stop signal, --grace, then SIGKILL. What became of it is one more line,
of type kill. Right before, it asks Docker about the container again, and lets
it live where its labels forbid it, where it was restarted since the sample, or
where the sample is older than --max-age. A log that is replayed kills nothing.
With --ask-early it asks about each when it first comes, and one without a grace
then ends however slow Docker is: its labels never change.
With --only, what lacks the label is not stopped either, but reported as with
--dry-run. When the file of --while is gone, when stdout is, or with the first
SIGINT, SIGTERM, SIGQUIT or SIGHUP, no stop begins any more; those that have
begun come to their end, and their lines are written. With a second signal,
other than SIGHUP, their lines say that the end was not seen.

Examples:

  readsysinfo | namectr | classify | killctr --dry-run | jq 'select(.type == "kill")'
  readsysinfo | namectr | classify --policy guard.toml | killctr --grace 30s --only role=ci >records.jsonl`

func main() {
	signal.Ignore(syscall.SIGPIPE) // what has begun is finished without a reader too
	cli.Main("killctr", run)
}

// settings is what the flags say.
type settings struct {
	grace, maxAge, timeout time.Duration
	remove, dryRun, all    bool
	askEarly               bool
	only                   label
	while                  *cli.While

	// patience is how long a stop is tried again, such as while dockerd restarts:
	// until Docker has it, and after the grace once more.
	patience time.Duration
}

var (
	errInterrupted = errors.New("interrupted")
	errAbandoned   = errors.New("interrupted: its end was not seen")
)

// maxGrace is the longest grace.
const maxGrace = 24 * time.Hour

// lastWords is how long a second signal waits for a stdout that is stuck.
const lastWords = time.Second

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("killctr", "[flags] < records", summary, stderr)
	s := settings{patience: 15 * time.Second}
	t.DurationVar(&s.grace, "grace", 10*time.Second, "time from the stop signal to SIGKILL, rounded up to whole seconds, where the line has no grace_ms of its own")
	t.DurationVar(&s.maxAge, "max-age", time.Minute, "age from which a sample is too old to kill by")
	t.DurationVar(&s.timeout, "timeout", 5*time.Second, "how long to wait for Docker's answer to a question")
	t.BoolVar(&s.remove, "rm", false, "remove the container, not its volumes, when it is stopped")
	t.BoolVar(&s.dryRun, "dry-run", false, "ask all questions and print the lines, but stop nothing")
	t.Var(&s.only, "only", "stop only what carries this label, with this value; for all else, as with --dry-run")
	t.BoolVar(&s.all, "all", false, "containers without the label winnow.managed=true may be killed too")
	t.BoolVar(&s.askEarly, "ask-early", false, "ask Docker about a container when it first comes, not only when it is to be killed: one without a grace then ends at once, however slow Docker is")
	s.while = t.WhileFlag()
	t.LockMemoryFlag()
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if s.grace < 0 || s.grace > maxGrace {
		return t.Misused("--grace must be from 0 to 24h: %v", s.grace)
	}
	if s.maxAge <= 0 || s.timeout <= 0 {
		return t.Misused("--max-age and --timeout must be above 0: %v, %v", s.maxAge, s.timeout)
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}

	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	under, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abandon(nil)
	defer heedSignals(interrupt, abandon)()
	ctx, forget := s.while.Context(ctx)
	defer forget()
	out := &output{w: stdout, complain: t.Complain, broken: interrupt}
	k := newKiller(ctx, under, s, out)
	return t.Done(k.govern(stdin))
}

// govern reads to the end or until it is told to stop, then waits for what has
// begun.
func (k *killer) govern(stdin io.Reader) error {
	read := make(chan error, 1)
	go func() { read <- k.readAll(stdin) }()
	var err error
	select {
	case err = <-read:
	case <-k.ctx.Done():
	}
	ended := make(chan error, 1)
	go func() {
		k.wait()
		ended <- k.out.close()
	}()
	var lost error
	select {
	case lost = <-ended:
	case <-after(k.under, lastWords):
		k.out.silence()
		lost = errors.New("nobody reads stdout: lines are lost")
	}
	if k.ctx.Err() != nil {
		err = context.Cause(k.ctx)
	}
	if lost == nil || errors.Is(err, lost) {
		return err
	}
	return errors.Join(err, lost)
}

// after tells that ctx ended that long ago.
func after(ctx context.Context, d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(d, func() { close(over) }) })
	return over
}

// readAll passes the lines on and begins the kills among them.
func (k *killer) readAll(stdin io.Reader) error {
	for line, err := range record.Records(k.out.before(stdin)) {
		if k.ctx.Err() != nil {
			return nil
		}
		var bad *record.LineError
		if errors.As(err, &bad) {
			k.out.complaint(bad)
			continue
		}
		if err != nil {
			return err
		}
		if err := k.out.line(line.Text()); err != nil {
			return err
		}
		if condemns(line) { // what cannot be told of does not begin
			if err := k.out.flush(); err != nil {
				return err
			}
		}
		k.begin(line)
	}
	return nil
}
