// Command classify tells light containers from heavy ones and says which of
// them are to go. It changes nothing but the lines: what comes out follows from
// what comes in and from the flags alone.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

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
without end lines is judged at the next host line or when it ends.`

func main() {
	debug.SetGCPercent(200) // the lines are short-lived: a fifth less time for some more memory
	cli.Main("classify", run)
}

func run(_ context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("classify", "[flags] < records", summary, stderr)
	p := defaultPolicy()
	t.Float64Var(&p.highCPU, "high-cpu", p.highCPU, "percent of one core from which a container is high")
	t.Var(&p.highMemory, "high-memory", "percent of the host's memory, or a size, from which a container is high")
	t.IntVar(&p.keepLow, "keep-low", p.keepLow, "how many low containers are kept")
	t.IntVar(&p.keepHigh, "keep-high", p.keepHigh, "how many high containers are kept")
	t.StringVar(&p.victims, "victims", p.victims, "who goes first: heaviest, lightest, newest or oldest")
	t.DurationVar(&p.span, "span", p.span, "over how long a CPU rate must be for its container to take part; 0 is any")
	t.BoolVar(&p.all, "all", p.all, "containers without the label winnow.managed=true take part too")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return t.Misused("%w", err)
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}

	out := bufio.NewWriterSize(stdout, 64<<10)
	a := newAssembler(p, out, t.Complain)
	err := assemble(a, record.FlushBefore(stdin, out))
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return t.Done(err)
}

// assemble hands the lines of stdin to a. A bad one is a complaint.
func assemble(a *assembler, stdin io.Reader) error {
	for line, err := range record.Records(stdin) {
		var bad *record.LineError
		switch {
		case err == nil:
			a.add(line)
		case errors.As(err, &bad):
			a.complain(bad)
			a.spoil()
		default:
			a.cutShort()
			return err
		}
	}
	a.close()
	return nil
}
