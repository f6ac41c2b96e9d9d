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
The first SIGINT or SIGTERM lets the kills that have begun come to their end, a
second one does not.`

func main() {
	signal.Ignore(syscall.SIGPIPE) // what has begun is finished without a reader too
	cli.Main("killctr", run)
}

// settings is what the flags say.
type settings struct {
	grace, maxAge, timeout time.Duration
	remove, dryRun, all    bool

	// patience is how long after the grace a stop is tried again, such as while
	// dockerd restarts.
	patience time.Duration
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("killctr", "[flags] < records", summary, stderr)
	s := settings{patience: 15 * time.Second}
	t.DurationVar(&s.grace, "grace", 10*time.Second, "time from the stop signal to SIGKILL, rounded up to whole seconds")
	t.DurationVar(&s.maxAge, "max-age", time.Minute, "age from which a sample is too old to kill by")
	t.DurationVar(&s.timeout, "timeout", 5*time.Second, "how long to wait for Docker's answer to a question")
	t.BoolVar(&s.remove, "rm", false, "remove the container, not its volumes, when it is stopped")
	t.BoolVar(&s.dryRun, "dry-run", false, "ask all questions and print the lines, but stop nothing")
	t.BoolVar(&s.all, "all", false, "containers without the label winnow.managed=true may be killed too")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if s.grace < 0 || s.grace > 24*time.Hour {
		return t.Misused("--grace must be from 0 to 24h: %v", s.grace)
	}
	if s.maxAge <= 0 || s.timeout <= 0 {
		return t.Misused("--max-age and --timeout must be above 0: %v, %v", s.maxAge, s.timeout)
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}

	ctx, restore := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore) // so that a second signal ends it
	out := &output{w: stdout, complain: t.Complain}
	k := newKiller(ctx, s, out)
	read := make(chan error, 1)
	go func() { read <- k.readAll(stdin) }()
	var err error
	select {
	case err = <-read:
	case <-ctx.Done():
	}
	k.wait()
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return t.Done(errors.Join(err, out.close()))
}

// readAll passes the lines on and begins the kills among them.
func (k *killer) readAll(stdin io.Reader) error {
	for line, err := range record.Records(stdin) {
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
		k.out.line(line.Text())
		k.take(line)
	}
	return nil
}
