package main

import (
	"winnow/tools/internal/record"
)

// note is the member in which a verdict is kept over the next judgement. A line
// without it is of a container that was kept.
const note = "noted"

// noted is the line with its verdict noted.
func noted(dst []byte, line *record.Line) []byte {
	v := verdictOf(line)
	if v.Verdict == "" && !line.Get(note).Exists() {
		return append(dst, line.Text()...)
	}
	member := record.Raw(note, "null") // one of before is not this judgement's
	if v.Verdict != "" {
		var err error
		if member, err = record.Set(note, v); err != nil {
			panic(err) // strings can always be encoded
		}
	}
	return line.AppendWith(dst, member)
}

// verdict is one that is not to keep a container. The zero verdict keeps it.
type verdict struct {
	Verdict string `json:"verdict"` // warn or kill
	Dry     bool   `json:"dry"`     // a rule in dry mode would have said so
	Rule    string `json:"rule"`
	Reason  string `json:"reason"`
}

// verdictOf is the one that a container's line has.
func verdictOf(line *record.Line) verdict {
	if line.Type() != record.TypeContainer {
		return verdict{}
	}
	v := verdict{Verdict: line.Get("verdict").Str}
	if v.Verdict == record.VerdictKeep {
		v.Verdict, v.Dry = line.Get("would").Str, true
	}
	if v.Verdict != record.VerdictWarn && v.Verdict != record.VerdictKill {
		return verdict{}
	}
	v.Rule, v.Reason = line.Get("rule").Str, line.Get("reason").Str
	return v
}

// notedIn is the verdict that was noted in a container's line.
func notedIn(line *record.Line) verdict {
	member := line.Get(note)
	if !member.IsObject() {
		return verdict{}
	}
	return verdict{Verdict: member.Get("verdict").Str, Dry: member.Get("dry").Bool(), Rule: member.Get("rule").Str, Reason: member.Get("reason").Str}
}
