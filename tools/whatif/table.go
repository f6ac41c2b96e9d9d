package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const (
	width = 100 // of a table, in columns
	clock = "2006-01-02 15:04:05"
)

// table prints the sums, and the condemnations that are listed, for a person.
func (s *sums) table(out io.Writer) {
	fmt.Fprintf(out, "What if %s (here) had judged, against %s (there)\n%s to %s UTC, hosts: %d, snapshots: %d, containers: %d\n\n", cli.Printable(s.Policy),
		cli.Printable(s.Against), s.From.Format(clock), s.To.Format(clock), s.Hosts, s.Snapshots, s.Containers)
	rows := [][]string{{"", s.Policy, s.Against}, {"condemned"}, {"CPU-hours freed"}, {"GiB-hours of memory freed"}, {"time over budget"}}
	for side, of := range s.sides() {
		cells := append(of.cells(), mark(s.Estimate)+span(of.OverS))
		if side == there && s.Against == recorded { // what was killed used nothing any more
			cells = []string{fmt.Sprint(of.Condemned), "-", "-", span(of.OverS)}
		}
		for i, cell := range cells {
			rows[i+1] = append(rows[i+1], cell)
		}
	}
	grid(out, 1, []int{30, 30, 30}, rows)
	d := s.Differences
	fmt.Fprintf(out, "\n%d only here, %d only there; on both sides %d at the same time, %d here earlier, %d here later.\n",
		d["only_here"], d["only_there"], d["same"], d["earlier"], d["later"])
	if s.Estimate {
		fmt.Fprintf(out, "They first differ at %s UTC. What follows is an estimate, marked ~, since the\n"+
			"containers' later lives would have been others.\n", s.Differ.Format(clock))
	}
	group(out, "RULE", s.ByRule)
	if len(s.ByDay) > 1 {
		group(out, "DAY", s.ByDay)
	}
	s.list(out)
}

// group prints sums by name.
func group(out io.Writer, head string, by map[string]*both[sum]) {
	rows := [][]string{{head, "CONDEMNED", "CPU-HOURS", "GIB-HOURS", "THERE"}}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		rows = append(rows, append([]string{cmp.Or(name, "none named")}, append(by[name].Here.cells(), fmt.Sprint(by[name].There.Condemned))...))
	}
	if len(by) > 0 {
		fmt.Fprintln(out)
		grid(out, 1, []int{48, 10, 10, 10, 10}, rows)
	}
}

// list prints the condemnations that are listed, each with its reason below.
func (s *sums) list(out io.Writer) {
	rows, reasons := [][]string{{" WHEN (UTC)", "HOST", "CONTAINER", "RULE", "DIFFERENCE", "CPU-H", "GIB-H"}}, []string{""}
	for _, c := range s.listed {
		of := c.shown()
		rows = append(rows, []string{fmt.Sprintf("%1s%s", mark(c.Estimate), of.Time.Format(clock)), c.Host, cmp.Or(c.Name, c.ID[:min(12, len(c.ID))]), of.Rule,
			c.words(), hours(of.CPUHours), hours(of.GiBHours)})
		reasons = append(reasons, strings.TrimPrefix(of.Reason, "rule "+of.Rule+": "))
	}
	if len(s.listed) > 0 {
		fmt.Fprintln(out)
		grid(out, 5, []int{20, 12, 60, 12, 15, 7, 7}, rows, reasons...)
	}
	more := -len(s.listed)
	for _, n := range s.Differences {
		more += n
	}
	if more > 0 {
		fmt.Fprintf(out, "and %d more: --json has all\n", more)
	}
}

// words tell the difference.
func (c *condemnation) words() string {
	if c.DifferenceS != 0 {
		return span(math.Abs(c.DifferenceS)) + " " + c.Difference
	}
	return strings.ReplaceAll(c.Difference, "_", " ")
}

// grid prints rows in columns, those from right on to the right, each as wide as it
// needs but no wider than its limit. The third, of names, gives way where all is too
// wide; below a row is its note, where it has one.
func grid(out io.Writer, right int, limits []int, rows [][]string, notes ...string) {
	widths, room := make([]int, len(limits)), width+2
	for i := range widths {
		for _, row := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(fit(row[i], limits[i])))
		}
		room -= widths[i] + 2
	}
	widths[2] += min(0, room)
	for n, row := range rows {
		line := ""
		for i, cell := range row {
			w := widths[i]
			if cell = fit(cell, w); i < right {
				w = -w // which is how fmt puts a text to the left
			}
			line += fmt.Sprintf("%*s  ", w, cell)
		}
		fmt.Fprintln(out, strings.TrimRight(line, " "))
		if n < len(notes) && notes[n] != "" {
			fmt.Fprintln(out, fit("     "+notes[n], width))
		}
	}
}

// fit makes a text safe, and no wider than so many columns.
func fit(text string, limit int) string {
	if text = cli.Printable(text); len(text) > limit {
		text = record.Shorten(text, limit-1)
	}
	return text
}

// cells are what a table has of a sum.
func (s *sum) cells() []string {
	return []string{mark(s.Estimate) + fmt.Sprint(s.Condemned), mark(s.Estimate) + hours(s.CPUHours), mark(s.Estimate) + hours(s.GiBHours)}
}

func mark(estimate bool) string { return map[bool]string{true: "~"}[estimate] }

func hours(h float64) string { return fmt.Sprintf("%.2f", h) }

// span is a time such as 2h10m; seconds count only below a minute.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(time.Second)
	if d < time.Minute {
		return d.String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
