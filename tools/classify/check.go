package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

// checkPolicy says what the policy says, and which of its rules hold in the
// snapshots of stdin.
func checkPolicy(j *decider, stdin io.Reader, stdout io.Writer, t *cli.Tool) error {
	if j.path == "" {
		return t.Misused("--check needs --policy")
	}
	j.memories = new(policy.Memories)
	p, err := j.readPolicy()
	if err != nil {
		return &cli.UsageError{Err: err}
	}
	j.use(p)
	out := bufio.NewWriter(stdout)
	for _, sentence := range j.policy.Describe() {
		fmt.Fprintln(out, cli.Printable(sentence))
	}
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return out.Flush()
	}
	var s *policy.Snapshot
	var spanMS float64
	tell := func() {
		if s == nil {
			return
		}
		fmt.Fprintln(out)
		for _, line := range j.policy.Reach(s) {
			fmt.Fprintln(out, cli.Printable(line))
		}
		s = nil
	}
	for line, err := range record.Records(stdin) {
		var bad *record.LineError
		switch {
		case errors.As(err, &bad):
			t.Complain(bad)
		case err != nil:
			return err
		case line.Type() == record.TypeHost:
			tell()
			host := policy.ReadHost(line)
			s, spanMS = &host, policy.Number(line.Get("interval_ms"))
		case line.Type() == record.TypeContainer && s != nil:
			c := new(policy.Container)
			policy.ReadContainer(c, line, spanMS, j.labels)
			s.Containers = append(s.Containers, c)
		}
	}
	tell()
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
