package main

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"

	"winnow/tools/internal/record"
)

// The codes of colours and weights in a terminal.
const (
	bold   = "1"
	green  = "1;32"
	yellow = "1;33"
	red    = "1;31"
)

// snapshot prints one. Writing errors are seen when out is flushed.
func (s screen) snapshot(out *bufio.Writer, shown *snapshot) {
	if !shown.rest {
		s.line(out, bold, shown.title)
		s.line(out, "", shown.memory)
	}
	if !shown.rest || len(shown.low)+len(shown.high) > 0 {
		s.members(out, green, "low", shown.low)
		s.members(out, yellow, "high", shown.high)
	}
	if len(shown.other) > 0 {
		s.members(out, bold, "not judged", shown.other)
	}
	s.rules(out, shown.rules)
	switch none := len(shown.kills) == 0; {
	case none && shown.early && shown.condemned:
		s.line(out, bold, "killed: none yet")
	case !none || !shown.rest:
		s.kills(out, shown.kills)
	}
	if shown.left > 0 {
		s.line(out, bold, fmt.Sprintf("%d more lines are not shown: the snapshot is too large", shown.left))
	}
	out.WriteByte('\n')
}

func (s screen) members(out *bufio.Writer, code, title string, members []member) {
	if len(members) == 0 {
		s.line(out, code, title+": none")
		return
	}
	s.line(out, code, fmt.Sprintf("%s: %d", title, len(members)))
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Compare(a.rank, b.rank) })
	t := table{name: 1, titled: true, columns: []column{
		{title: "PID", right: true, goes: 3}, {title: "NAME"}, {title: "ID", goes: 2}, {title: "IMAGE", goes: 1},
		{title: "CPU", right: true, goes: 5}, {title: "MEMORY", right: true, goes: 6}, {right: true, goes: 4},
		{title: "VERDICT"}, {title: "REASON"},
	}}
	for i := range members {
		t.rows = append(t.rows, members[i].row)
	}
	s.table(out, &t)
}

// rules prints what rules said besides the verdicts, where they did.
func (s screen) rules(out *bufio.Writer, rules []row) {
	if len(rules) == 0 {
		return
	}
	s.line(out, yellow, fmt.Sprintf("rules: %d", len(rules)))
	s.table(out, &table{columns: []column{{title: "NAME"}, {title: "ID", goes: 1}, {title: "RULE", goes: 2}, {title: "EVENT"}, {title: "WHY"}}, rows: rules})
}

func (s screen) kills(out *bufio.Writer, kills []kill) {
	if len(kills) == 0 {
		s.line(out, bold, "killed: none")
		return
	}
	killed, dry := 0, 0
	t := table{columns: []column{
		{title: "NAME"}, {title: "ID", goes: 1}, {title: "RESULT"}, {title: "SIGNAL", goes: 3}, {title: "TOOK", right: true, goes: 2},
		{title: "WHY"},
	}}
	for i := range kills {
		switch kills[i].result {
		case record.ResultKilled:
			killed++
		case record.ResultDryRun:
			dry++
		}
		t.rows = append(t.rows, kills[i].row)
	}
	title, code := fmt.Sprintf("killed: %d of %d", killed, len(kills)), red
	if dry > 0 {
		title += fmt.Sprintf(", %d dry", dry)
	}
	if dry == len(kills) {
		code = bold
	}
	s.line(out, code, title)
	s.table(out, &t)
}

func (s screen) table(out *bufio.Writer, t *table) {
	for line, code := range t.lines(s.width) {
		s.line(out, code, line)
	}
}

// line prints one, no wider than the screen, in a colour or with "" in none.
func (s screen) line(out *bufio.Writer, code, line string) {
	if s.width > 0 {
		line = cut(line, s.width)
	}
	if s.colour && code != "" {
		line = "\x1b[" + code + "m" + line + "\x1b[0m"
	}
	out.WriteString(line + "\n")
}
