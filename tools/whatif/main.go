// Command whatif counts what a policy would have done to the past: whom it would
// have condemned, when and why, what that would have freed, and how it differs
// from what was recorded or from another policy.
//
//	lines.go  lines -> snapshots; and the verdicts noted, for a policy that judges after
//	count.go  snapshots -> the lives of containers, and what each side made of them
//	sums.go   the sums of these, and the condemnations that are listed
//	table.go  for a person
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `whatif counts in records that classify --policy NEW --replay has judged whom NEW
condemned, when, by which rule, and what that frees: what the containers were recorded
to use from then until their recorded end. It compares that with the kills that were
recorded, or with another policy whose verdicts were noted before NEW judged:
  classify --policy OLD --replay | whatif --note | classify --policy NEW --replay | whatif --against OLD
scripts/whatif puts this together. What follows the first difference is an estimate, as
the containers' later lives would have been others. A rule in dry mode counts as if it
were not, and is marked. Of pauses above 2 minutes, and twice the beat, nothing is known.`

// recorded is what --against says of what happened.
const recorded = "recorded"

func main() { cli.Main("whatif", run) }

func run(_ context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("whatif", "[flags] < judged records", summary, stderr)
	onlyNote := t.Bool("note", false, "pass the lines on with their verdicts noted as the other side's, and do nothing else")
	policy := t.String("policy", "the policy", "what to call the policy that judged")
	against := t.String("against", recorded, "what to call the side whose verdicts are noted; recorded is what happened")
	since := t.String("since", "", "count from this time on, such as 2026-11-24T12:00:00Z; what is before only prepares")
	asJSON := t.Bool("json", false, "print an object a line for each condemnation when the container's recorded end has come, and the summary")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	var from time.Time
	after := ""
	if *since != "" {
		var err error
		if from, err = time.Parse(time.RFC3339, *since); err != nil {
			return t.Misused("--since: not a time such as 2026-11-24T12:00:00Z: %q", *since)
		}
		after = " from " + *since + " on"
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}
	out := bufio.NewWriterSize(stdout, 64<<10)
	if *onlyNote {
		pass := func(line *record.Line) { out.Write(append(noted(out.AvailableBuffer(), line), '\n')) }
		err := each(record.FlushBefore(stdin, out), t.Complain, pass)
		return t.Done(errors.Join(err, out.Flush()))
	}
	asLine := json.NewEncoder(out)
	asLine.SetEscapeHTML(false)
	s := &sums{Type: "summary", Policy: *policy, Against: *against, ByRule: map[string]*both[sum]{}, ByDay: map[string]*both[sum]{},
		Differences: map[string]int{"only_here": 0, "only_there": 0, "earlier": 0, "same": 0, "later": 0}}
	if *asJSON {
		s.emit = asLine.Encode
	}
	c := &counter{since: from, recorded: *against == recorded, sums: s, hosts: map[string]*host{}}
	if err := each(stdin, t.Complain, c.add); err != nil {
		return err
	}
	c.end()
	switch {
	case s.Snapshots == 0:
		return errors.New("there is no whole snapshot to count" + after)
	case *asJSON:
		asLine.Encode(s)
	default:
		s.table(out)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return t.Done(nil)
}

// each hands on the lines of in. A bad one is a complaint.
func each(in io.Reader, complain func(error), take func(*record.Line)) error {
	for line, err := range record.Records(in) {
		var bad *record.LineError
		switch {
		case errors.As(err, &bad):
			complain(bad)
		case err != nil:
			return err
		default:
			take(line)
		}
	}
	return nil
}
