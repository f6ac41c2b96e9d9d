package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/cli"
)

// width is that of a table, in columns.
const width = 100

const clock = "2006-01-02 15:04:05"

// table prints the sums, and the condemnations that are listed, for a person.
func (s *sums) table() {
	policy, against := cli.Printable(s.Policy), cli.Printable(s.Against)
	what := "what was recorded"
	if against != recorded {
		what = against
	}
	s.say("What if %s had judged, against %s", policy, what)
	s.say("%s to %s UTC: %s, %s, %s", s.From.Format(clock), s.To.Format(clock), count(s.Hosts, "host"), count(s.Snapshots, "snapshot"), count(s.Containers, "container"))
	s.say("")
	theirCPU, theirMemory := "-", "-" // what was killed used nothing any more
	if s.TheirUse != nil {
		theirCPU, theirMemory = mark(s.Estimate, hours(s.TheirUse.CPUHours)), mark(s.Estimate, hours(s.TheirUse.GiBHours))
	}
	s.grid(1, []int{30, 30, 30}, [][]string{
		{"", policy, against},
		{"condemned", mark(s.Estimate, strconv.Itoa(s.Condemned)), mark(s.Estimate && against != recorded, strconv.Itoa(s.Theirs))},
		{"CPU-hours freed", mark(s.Estimate, hours(s.Freed.CPUHours)), theirCPU},
		{"GiB-hours of memory freed", mark(s.Estimate, hours(s.Freed.GiBHours)), theirMemory},
		{"time over budget", mark(s.Estimate, span(s.OverS)), mark(s.Estimate && against != recorded, span(s.TheirOver))},
	})
	d := s.Differences
	s.say("\n%d only here, %d only there; on both sides %d at the same time, %d here earlier, %d here later.",
		d[onlyHere], d[onlyThere], d[same], d[earlier], d[later])
	if s.Estimate {
		s.say("They first differ at %s. What is after that and marked ~ is an\nestimate, since the containers' later lives would have been others.", s.Differ.Format(clock))
	}
	if s.Condemned > 0 {
		s.group("RULE", s.byRule, false)
	}
	if len(s.byDay) > 1 {
		s.group("DAY", s.byDay, true)
	}
	s.list()
}

// group prints sums by name.
func (s *sums) group(head string, by map[string]*sum, both bool) {
	rows := [][]string{{head, "CONDEMNED", "CPU-HOURS", "GIB-HOURS", "THERE"}}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		of := by[name]
		if name == "" {
			name = "none named"
		}
		if of.dry {
			name += " (dry)"
		}
		rows = append(rows, []string{name, mark(of.estimate, strconv.Itoa(of.condemned)), hours(of.freed.CPUHours), hours(of.freed.GiBHours), strconv.Itoa(of.theirs)})
	}
	if !both {
		for i := range rows {
			rows[i] = rows[i][:4]
		}
	}
	s.out.WriteByte('\n')
	s.grid(1, []int{48, 10, 10, 10, 10}, rows)
}

// list prints the condemnations that are listed, each with its reason below.
func (s *sums) list() {
	if len(s.listed) == 0 {
		return
	}
	rows := [][]string{{" WHEN (UTC)", "HOST", "CONTAINER", "RULE", "DIFFERENCE", "CPU-H", "GIB-H"}}
	reasons := []string{""}
	for _, c := range s.listed {
		name, rule, reason, when := c.Name, c.Rule, c.Reason, " "
		cpu, memory := hours(c.Freed.CPUHours), hours(c.Freed.GiBHours)
		if name == "" {
			name = c.ID[:min(12, len(c.ID))]
		}
		if c.Time == nil {
			rule, reason, cpu, memory = c.TheirRule, c.Theirs, "-", "-"
		}
		if c.Estimate {
			when = "~"
		}
		rows = append(rows, []string{when + c.at().Format(clock), c.Host, name, rule, c.difference(), cpu, memory})
		reasons = append(reasons, strings.TrimPrefix(reason, "rule "+rule+": "))
	}
	s.out.WriteByte('\n')
	s.grid(5, []int{20, 10, 21, 12, 14, 6, 6}, rows, reasons...)
	if more := s.total() - len(s.listed); more > 0 {
		s.say("and %d more: --json has them all", more)
	}
}

// total is how many condemnations there are, of one side or both.
func (s *sums) total() (n int) {
	for _, of := range s.Differences {
		n += of
	}
	return n
}

// difference tells it in words.
func (c *condemnation) difference() string {
	switch c.Difference {
	case same:
		return "as there"
	case earlier:
		return span(-*c.DifferenceS) + " earlier"
	case later:
		return span(*c.DifferenceS) + " later"
	}
	return strings.ReplaceAll(c.Difference, "_", " ")
}

// grid prints rows in columns, those from right on to the right, each as wide as it
// needs but no wider than its limit; below a row is its note, where it has one.
func (s *sums) grid(right int, limits []int, rows [][]string, notes ...string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = fit(cli.Printable(row[i]), limits[i])
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i >= right {
				cell, space = space+cell, ""
			}
			b.WriteString(cell + space + "  ")
		}
		s.say("%s", strings.TrimRight(b.String(), " "))
		if n < len(notes) && notes[n] != "" {
			s.say("%s", fit("     "+cli.Printable(notes[n]), width))
		}
	}
}

func (s *sums) say(format string, a ...any) { fmt.Fprintf(s.out, format+"\n", a...) }

// fit cuts a text to so many columns.
func fit(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	return string([]rune(text)[:limit-1]) + "…"
}

// mark marks an estimate.
func mark(estimate bool, text string) string {
	if estimate {
		return "~" + text
	}
	return text
}

func hours(h float64) string { return strconv.FormatFloat(h, 'f', 1, 64) }

// span is a time such as 2h10m; seconds count only below a minute.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
