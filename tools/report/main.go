// Command report shows records as a person wants them: the host's memory, the
// light containers, the heavy ones, those that are not judged, what the rules of
// the policy say, and what was killed. With --text it makes foreign text safe to show.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/term"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `report shows each snapshot of a stream of records as tables, when the next one
begins or the input ends; with --live at its end, and where the terminal is stopped or
slow older ones are left out. In a terminal it keeps to its width: where that is small,
the columns go that matter least. It uses colour there unless NO_COLOR is set. Lines
that are not records are passed over: it stands beside the pipe, whose tools report
them. Whatever the records hold, no control character comes out.

Examples:

  readsysinfo | namectr | classify | report
  readsysinfo --every 5s | namectr | classify | report --live`

func main() { cli.Main("report", run) }

func run(_ context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("report", "[--live | --text] < records", summary, stderr)
	goesOn := t.Bool("live", false, "beside a pipe that goes on: show each snapshot at its end, what comes later as it comes, and hold nothing up")
	text := t.Bool("text", false, "stdin is any text: only make it safe for a terminal, line by line")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if *goesOn && *text {
		return t.Misused("--live and --text: text has no snapshots")
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}
	if *goesOn {
		return live(stdin, stdout, func() screen { return screenOf(stdout, os.Getenv) }) // it may be resized
	}
	out := bufio.NewWriter(stdout)
	if *text {
		return passText(record.FlushBefore(stdin, out), out)
	}
	return show(stdin, out, screenOf(stdout, os.Getenv), maxKept)
}

// show prints the snapshots of in, keeping at most room bytes of each, about.
func show(in io.Reader, out *bufio.Writer, s screen, room int) error {
	c := collector{room: room, show: func(shown *snapshot) error {
		s.snapshot(out, shown)
		if err := out.Flush(); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
		return nil
	}}
	for line, err := range record.Lines(in) {
		var bad *record.LineError
		if errors.As(err, &bad) {
			continue
		}
		if err == nil {
			err = c.add(line)
		}
		if err != nil {
			return errors.Join(err, c.end())
		}
	}
	return c.end()
}

// screen is what is written to. The width is 0 where it is no terminal, and
// lines may be as long as they are.
type screen struct {
	width  int
	colour bool
}

func screenOf(stdout io.Writer, getenv func(string) string) screen {
	f, ok := stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{}
	}
	s := screen{width: 80}
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		s.width = columns
	}
	if columns, err := strconv.Atoi(getenv("COLUMNS")); err == nil && columns > 0 {
		s.width = columns
	}
	s.colour = getenv("NO_COLOR") == "" && getenv("TERM") != "" && getenv("TERM") != "dumb"
	return s
}
