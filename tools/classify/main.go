// Command classify tells light containers from heavy ones and says which of
// them are to go. It changes nothing but the lines: what comes out follows from
// what comes in and from the flags alone.
package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `classify marks each container line of a stream as low or high, with the verdict
keep or kill, the reason, and its rank: 1 is the last of its class to go. A
container is high when it uses --high-cpu or --high-memory. Of each class some are
kept, the rest get the verdict kill. Only containers labelled
winnow.managed=true take part, unless --all; those labelled winnow.protect=true
never do, nor do those where one of these labels is neither true nor false. What
is not known is kept: no labels, no CPU rate yet or one over less than --span, a
snapshot that is cut short. One is whole when its end line says so; a stream
without end lines is judged at the next host line or when it ends.
With --policy a file of rules decides instead: see the policies beside the source,
and the README. A rule that goes by memory alone judges who has no CPU rate yet, too.
With --state the rules' patience and notices outlast the call: what must not be
forgotten is kept at once, patience every 10 s and at the end, as by a first SIGINT,
SIGTERM or SIGHUP.

Examples:

  readsysinfo | namectr | classify --keep-high 1 | jq -r 'select(.verdict == "kill") | [.name, .reason] | @tsv'
  classify --policy guard.toml --check </dev/null`

func main() {
	debug.SetGCPercent(200) // the lines are short-lived: a fifth less time for some more memory
	cli.Main("classify", run)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("classify", "[flags] < records", summary, stderr)
	var f flags
	f.declare(t)
	path := t.String("policy", "", "the policy's file, in place of --keep-low, --keep-high and --victims; read anew when it changes")
	state := t.String("state", "", "the file in which a policy's patience and notices are kept from one call to the next")
	replay := t.Bool("replay", false, "the records are of the past: whom the policy condemns counts as gone until it ended")
	check := t.Bool("check", false, "say what --policy says, and which of its rules hold in the snapshots on stdin")
	t.LockMemoryFlag()
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return t.Misused("%w", err)
	}
	j := &decider{flags: &f, path: *path, state: *state, saved: time.Now(), warn: t.Warn, complain: t.Complain}
	if n := slices.IndexFunc(judging, t.Changed); *path != "" && n >= 0 {
		return t.Misused("--%s and --policy: a policy's file says that itself", judging[n])
	}
	if *check {
		return t.Done(checkPolicy(j, stdin, stdout, t))
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}
	if err := j.load(); err != nil {
		return err
	}
	j.memories.Replay = *replay
	if j.use(f.policy()); *path != "" {
		if err := j.start(); err != nil {
			return &cli.UsageError{Err: err}
		}
	}

	out := bufio.NewWriterSize(stdout, 64<<10)
	a := newAssembler(j, out, t.Complain)
	if *state != "" {
		var heed func()
		ctx, heed = signal.NotifyContext(ctx, slices.DeleteFunc([]os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}, signal.Ignored)...)
		defer heed()
	}
	return t.Done(a.run(ctx, stdin))
}

// run judges what is in stdin, until its end or that of ctx, and keeps what the policy
// remembers then.
func (a *assembler) run(ctx context.Context, stdin io.Reader) error {
	in := &pausing{r: stdin}
	ended := make(chan error, 1)
	go func() {
		in.working.Lock()
		defer in.working.Unlock()
		ended <- assemble(a, record.FlushBefore(in, a.out))
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	for give := time.Now().Add(lastWords); !in.working.TryLock(); time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			return errors.New("interrupted, and nobody reads stdout: patience of up to 10s is lost")
		}
	}
	a.decider.save(false) // nobody works on it any more
	return errors.New("interrupted")
}

// lastWords is how long a signal waits for a stdout that is stuck.
const lastWords = 500 * time.Millisecond

// pausing is a reader whose user holds working, but for while it waits for more.
type pausing struct {
	r       io.Reader
	working sync.Mutex
}

func (p *pausing) Read(b []byte) (int, error) {
	p.working.Unlock()
	n, err := p.r.Read(b)
	p.working.Lock()
	return n, err
}

// assemble hands the lines of stdin to a. A bad one is a complaint.
func assemble(a *assembler, stdin io.Reader) error {
	for line, err := range record.Records(stdin) {
		var bad *record.LineError
		switch {
		case err == nil:
			a.add(line)
			if a.judgedBy != nil {
				if err := a.finish(); err != nil {
					return err
				}
			}
		case errors.As(err, &bad):
			a.complain(bad)
			a.spoil()
		default:
			a.cutShort()
			return errors.Join(err, a.end())
		}
	}
	a.close()
	return a.end()
}
