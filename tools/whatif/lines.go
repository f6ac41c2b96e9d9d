package main

import (
	"strings"
	"time"

	"winnow/tools/internal/record"
)

// tooMuch bounds each number, so that no sum is infinite.
const tooMuch = 1e18

// snapshot is what counts of one. Its texts hold on to the lines that they are of.
type snapshot struct {
	id        string
	at        time.Time
	announced float64
	samples   []sample
	kills     map[string]string // recorded after it: the reasons, by the containers' ids
}

// sample is a container in a snapshot. Numbers that are not known are 0.
type sample struct {
	id, name, image                  string
	pid, cpuNS, cpuPercent, memoryKB float64
	verdicts                         [2]verdict
}

// add takes a line. What was recorded of a snapshot is all there when the next one
// of its host begins.
func (c *counter) add(line *record.Line) {
	text := func(member string) string { return line.Get(member).Str }
	number := func(member string) float64 { return min(line.Get(member).Num, tooMuch) }
	name := text("host")
	h := c.hosts[name]
	switch {
	case line.Type() == record.TypeHost:
		if h == nil {
			h = &host{name: record.Clip(name, maxText), lives: map[string]*life{}}
			c.hosts[strings.Clone(name)] = h
		}
		c.settle(h)
		h.open.id, h.open.announced = text("snapshot"), number("containers")
		h.open.at, _ = time.Parse(time.RFC3339, text("time"))
	case h == nil:
	case line.Type() == record.TypeContainer && text("snapshot") == h.open.id:
		h.open.samples = append(h.open.samples, sample{text("id"), text("name"), text("image"), number("pid"), number("cpu_ns"),
			number("cpu_percent"), number("memory_kb"), [2]verdict{verdictOf(line), notedIn(line)}})
	case line.Type() == record.TypeKill && c.recorded && text("result") == record.ResultKilled:
		h.open.kills[text("id")] = text("reason")
	}
}

// note is the member in which a verdict is kept over the next judgement.
const note = "noted"

// verdict is one that is not to keep a container. The zero verdict keeps it.
type verdict struct {
	Verdict string `json:"verdict"` // warn or kill
	Dry     bool   `json:"dry"`     // a rule in dry mode would have said so
	Rule    string `json:"rule"`
	Reason  string `json:"reason"`
}

// noted is the line with its verdict noted, if that is not to keep its container.
func noted(dst []byte, line *record.Line) []byte {
	v := verdictOf(line)
	if v == (verdict{}) && !line.Get(note).Exists() { // one of before is not this judgement's
		return append(dst, line.Text()...)
	}
	member, _ := record.Set(note, v) // strings can always be encoded
	return line.AppendWith(dst, member)
}

// verdictOf is the one that a container's line has.
func verdictOf(line *record.Line) verdict {
	said, dry := line.Get("verdict").Str, false
	if said == record.VerdictKeep {
		said, dry = line.Get("would").Str, true
	}
	if line.Type() != record.TypeContainer || said != record.VerdictWarn && said != record.VerdictKill {
		return verdict{}
	}
	return verdict{said, dry, line.Get("rule").Str, line.Get("reason").Str}
}

// notedIn is the verdict that was noted in a container's line.
func notedIn(line *record.Line) verdict {
	of := line.Get(note)
	return verdict{of.Get("verdict").Str, of.Get("dry").Bool(), of.Get("rule").Str, of.Get("reason").Str}
}
