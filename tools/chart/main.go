// Command chart draws what a stream of records tells of a host: the same
// pictures as logd's.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
	"winnow/tools/logd/chart"

	"golang.org/x/term"
)

const summary = `chart draws what records tell of a host, from the first of them to the last, as one of
%s.
What it holds of them is bounded, however many they are. Lines that are not records
are reported, and passed over.

Examples:

  chart memory <2026-11-24.jsonl >memory.svg
  chart --png --dark top-cpu <2026-11-24.jsonl >top.png`

func main() { cli.Main("chart", run) }

func run(_ context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("chart", "[--png] [--dark] [--host NAME] NAME < records > picture", fmt.Sprintf(summary, strings.Join(chart.Names(), ", ")), stderr)
	png := t.Bool("png", false, "write PNG instead of SVG")
	dark := t.Bool("dark", false, "for a dark page")
	host := t.String("host", "", "the host, where the records are of several; else the first")
	if err := t.Parse(args, stdout, 1); err != nil {
		return err
	}
	name := t.Arg(0)
	if !slices.Contains(chart.Names(), name) {
		return t.Misused("no such chart: %q; there are %s", name, strings.Join(chart.Names(), ", "))
	}
	if out, ok := stdout.(interface{ Fd() uintptr }); ok && *png && term.IsTerminal(int(out.Fd())) {
		return t.Misused("a terminal shows no PNG: write it into a file")
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}
	d := chart.Whole(*host)
	if err := read(t, stdin, d); err != nil {
		return err
	}
	theme := chart.Light
	if *dark {
		theme = chart.Dark
	}
	return t.Done(write(stdout, name, d, theme, *png))
}

func read(t *cli.Tool, in io.Reader, d *chart.Data) error {
	for line, err := range record.Lines(in) {
		var bad *record.LineError
		if errors.As(err, &bad) {
			t.Complain(bad)
			continue
		}
		if err != nil {
			return fmt.Errorf("reading records: %w", err)
		}
		d.Add([]byte(line.Text()))
	}
	d.End()
	return nil
}

func write(w io.Writer, name string, d *chart.Data, theme chart.Theme, png bool) error {
	c, err := chart.Draw(name, d, theme)
	if err != nil {
		return err
	}
	var b bytes.Buffer // a picture is written whole or not at all
	if png {
		err = c.WritePNG(&b)
	} else {
		err = c.WriteSVG(&b)
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
