package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"winnow/tools/internal/record"
)

// verdicts puts what the rules said into words.
func (j *judge) verdicts() []Verdict {
	all := make([]Verdict, len(j.cases))
	text := j.memory.reasons[:0]
	for i, one := range j.cases {
		o, v := &one.best, &all[i]
		v.Class, v.Verdict = one.class, record.VerdictKeep
		if one.exempt == "" && o.rule != nil {
			v.Rank, v.Grace = o.rank, o.rule.Grace
			if !j.policy.Plain {
				v.Rule = o.rule.Name
			}
			switch o.stage {
			case condemned:
				v.Verdict = record.VerdictKill
			case warned:
				v.Verdict, v.KillAt = record.VerdictWarn, o.due
			case wouldKill:
				v.Would = record.VerdictKill
			case wouldWarn:
				v.Would, v.KillAt = record.VerdictWarn, o.due
			}
			if v.Verdict == record.VerdictKeep {
				v.Grace = nil
			}
		}
		from := len(text)
		text = j.appendReason(text, one)
		v.Reason = text[from:len(text):len(text)]
	}
	j.memory.reasons = text
	return all
}

func (j *judge) appendReason(dst []byte, one *oneCase) []byte {
	p, o := j.policy, &one.best
	switch {
	case one.exempt != "":
		dst = append(append(dst, "kept, "...), one.exempt...)
	case one.life.gone && o.stage < wouldWarn:
		dst = append(dst, "counts as gone, it was condemned before"...)
	case o.rule == nil:
		dst = append(dst, "kept, no rule is about it"...)
	case p.Plain:
		dst = o.appendRank(dst, " "+o.rule.Class)
	default:
		dst = j.appendRule(dst, one)
	}
	return one.appendMeasure(append(dst, ": "...), &p.Class, j.snapshot.TotalKB)
}

// appendRule tells what the rule that comes nearest says.
func (j *judge) appendRule(dst []byte, one *oneCase) []byte {
	o := &one.best
	r := o.rule
	if o.stage < warned && o.stage != wouldWarn && o.stage != wouldKill {
		dst = append(dst, "kept, nearest is "...)
	}
	dst = append(append(dst, "rule "...), escaped(r.Name)...)
	switch o.stage {
	case failing:
		dst = append(append(dst, ": "...), escaped(j.failure(one))...)
	case waiting:
		dst = append(append(dst, ": "...), j.patience(one)...)
	case staying:
		dst = o.appendRank(append(dst, ": "...), o.group.words())
	case limited:
		dst = append(dst, ": its turn is later, since no more than "+o.most.String()+" are condemned"...)
	default:
		if r.Mode == ModeDry {
			dst = append(dst, ", dry, would have it "+map[int]string{wouldWarn: "warned", wouldKill: "killed"}[o.stage]...)
		}
		dst = append(dst, ": "...)
		if o.stage == warned || o.stage == wouldWarn {
			dst = append(dst, "to be killed from "+o.due.UTC().Format(time.RFC3339)+" on, "...)
		}
		dst = o.appendRank(dst, o.group.words())
		dst = o.appendStaying(dst)
		if held := j.patience(one); held != "" {
			dst = append(append(dst, ", "...), held...)
		}
	}
	return dst
}

// appendRank tells a container's place in its group.
func (o *outcome) appendRank(dst []byte, group string) []byte {
	dst = strconv.AppendInt(append(dst, "rank "...), int64(o.rank), 10)
	dst = strconv.AppendInt(append(dst, " of "...), int64(len(o.group.members)), 10)
	dst = append(append(dst, group...), ", the "...)
	dst = append(append(dst, o.rule.order()...), " go first, "...)
	return append(strconv.AppendInt(dst, int64(o.group.keep), 10), " kept"...)
}

// order is the order in words.
func (r *Rule) order() string {
	switch r.Order {
	case "memory", "cpu":
		return "largest by " + r.Order
	}
	return r.Order
}

// words name the group behind a number of containers.
func (g *group) words() string {
	if g.label == "" {
		return ""
	}
	return " of " + escaped(record.Shorten(g.label, 80))
}

// most that are named of those that stay.
const mostNamed = 3

// appendStaying names who was kept in a container's place.
func (o *outcome) appendStaying(dst []byte) []byte {
	if o.group.keep == 0 {
		return dst
	}
	var names []string
	for _, m := range o.group.members[:min(o.group.keep, mostNamed)] {
		names = append(names, m.title())
	}
	text := strings.Join(names, ", ")
	if more := o.group.keep - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return append(append(append(dst, " ("...), escaped(text)...), ')')
}

// title is a container's name, or the beginning of its id.
func (c *Container) title() string {
	if c.Name != "" {
		return record.Shorten(c.Name, 80)
	}
	return c.ID[:min(12, len(c.ID))]
}

// failure tells what of a rule does not hold, with the figure.
func (j *judge) failure(one *oneCase) string {
	o := &one.best
	r, s := o.rule, j.snapshot
	c := o.why
	switch {
	case c == nil && !r.hoursHold(s):
		return "it is not within " + r.Hours.text
	case c == nil && r.TTL:
		return "younger than its label winnow.ttl"
	case c == nil:
		return "its time of creation is not known"
	case c == &otherClass:
		return "it is " + one.class + ", not " + r.Class
	case c.ofHost():
		return c.figureText(s.figure(c)) + " is not " + c.text
	}
	return c.figureText(one.figure(c, s)) + " is not " + c.text
}

// figureText is a condition's key and its figure now.
func (c *Condition) figureText(figure float64) string {
	number := string(appendFigure(nil, figure))
	switch c.Unit {
	case inKB:
		number = string(appendFigure(nil, figure/1024)) + " MiB"
	case inTime:
		number = "?"
		if figure == figure { // it is known
			number = span(time.Duration(figure) * time.Second)
		}
	default:
		number += " " + c.Unit
	}
	return strings.ReplaceAll(c.Key, "_", " ") + " " + number
}

// patience tells the conditions that hold, and for how long of how long.
func (j *judge) patience(one *oneCase) string {
	r := one.best.rule
	var parts []string
	for i := range r.Conditions {
		c := &r.Conditions[i]
		figure := j.snapshot.figure(c)
		if !c.ofHost() {
			figure = one.figure(c, j.snapshot)
		}
		parts = append(parts, escaped(c.figureText(figure)+" "+c.text))
	}
	if r.TTL {
		parts = append(parts, "older than its label winnow.ttl="+span(one.Consent.TTL))
	}
	text := strings.Join(parts, ", ")
	if r.For > 0 {
		text = strings.TrimLeft(text+" for "+span(one.best.held.Round(time.Second))+" of "+span(r.For), " ")
	}
	return text
}

// appendMeasure appends the figures to a reason, such as
// `cpu 1.2 % of a core (high from 50 %), memory 12.0 MiB, 0.1 % of the host (high from 10 %)`.
func (c *Container) appendMeasure(dst []byte, class *Class, totalKB float64) []byte {
	dst = append(appendFigure(append(dst, "cpu "...), c.CPU), " % of a core (high from "...)
	dst = append(append(dst, plainNumber(class.CPU)...), " %), memory "...)
	dst = append(appendFigure(dst, c.MemoryKB/1024), " MiB"...)
	if totalKB > 0 {
		dst = append(appendFigure(append(dst, ", "...), 100*c.MemoryKB/totalKB), " % of the host"...)
	}
	dst = append(dst, " (high from "...)
	if class.Memory.IsSize {
		dst = append(strconv.AppendFloat(dst, class.Memory.KB/1024, 'f', 1, 64), " MiB"...)
	} else {
		dst = append(append(dst, plainNumber(class.Memory.Percent)...), " %"...)
	}
	return append(dst, ')')
}

// escaped is foreign text as it stands between the quotes of a JSON string.
func escaped(text string) string {
	quoted, err := record.Marshal(text)
	if err != nil {
		panic(err) // a string always can be
	}
	return string(quoted[1 : len(quoted)-len("\"\n")])
}

// Describe tells the policy as it was understood, a sentence a line.
func (p *Policy) Describe() []string {
	lines := []string{fmt.Sprintf("A container is high from %s %% of a core or %s of memory on.", plainNumber(p.Class.CPU), p.Class.Memory)}
	if !p.Most.none() {
		lines = append(lines, fmt.Sprintf("No more than %s are condemned over all rules.", p.Most))
	}
	for _, m := range p.Protect {
		lines = append(lines, fmt.Sprintf("Protected is what matches %s.", m))
	}
	for i := range p.Rules {
		lines = append(lines, describeAll(&p.Rules[i]))
	}
	return append(lines, p.overlaps()...)
}

// describeAll tells all of a rule.
func describeAll(r *Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Rule %q", r.Name)
	if r.Mode == ModeDry {
		b.WriteString(" (dry: it kills nothing)")
	}
	b.WriteString(": of ")
	switch {
	case r.TTL:
		b.WriteString("those with the label winnow.ttl")
	case len(r.Match) == 0:
		b.WriteString("all that take part")
	default:
		b.WriteString("those that match " + r.Match.String())
	}
	var conditions []string
	if r.TTL {
		conditions = append(conditions, "age is above what the label says")
	}
	if r.Class != "" {
		conditions = append(conditions, "class is "+r.Class)
	}
	for i := range r.Conditions {
		c := &r.Conditions[i]
		conditions = append(conditions, strings.ReplaceAll(c.Key, "_", " ")+" "+c.text)
	}
	if len(conditions) > 0 {
		b.WriteString(", while " + strings.Join(conditions, " and "))
	}
	if r.Hours != nil {
		b.WriteString(", within " + r.Hours.text)
	}
	if r.For > 0 {
		b.WriteString(", for " + span(r.For))
	}
	if r.Forgive > 0 {
		b.WriteString(", forgiving failures of up to " + span(r.Forgive))
	}
	switch {
	case r.KeepMemory != nil:
		fmt.Fprintf(&b, ", as many stay as fit in %s of memory", *r.KeepMemory)
	case r.KeepCPU != nil:
		fmt.Fprintf(&b, ", as many stay as fit in %s of a core", *r.KeepCPU)
	case r.Keep > 0:
		fmt.Fprintf(&b, ", %d stay", r.Keep)
	default:
		b.WriteString(", none stays")
	}
	if r.Per != "" {
		b.WriteString(" of each " + strings.Replace(r.Per, "=", " ", 1))
	}
	fmt.Fprintf(&b, "; the %s go first", r.order())
	if r.Notice > 0 {
		b.WriteString(", after a notice of " + span(r.Notice))
	}
	if r.Grace != nil {
		b.WriteString(", with " + span(*r.Grace) + " of grace")
	}
	if !r.Most.none() {
		b.WriteString(", no more than " + r.Most.String())
	}
	b.WriteString(".")
	return b.String()
}

// overlaps tells which rules may leave fewer than another one keeps: a floor binds
// its own rule alone.
func (p *Policy) overlaps() []string {
	var lines []string
	for i := range p.Rules {
		floor := &p.Rules[i]
		if floor.Keep == 0 && floor.KeepMemory == nil && floor.KeepCPU == nil {
			continue
		}
		for k := range p.Rules {
			r := &p.Rules[k]
			otherClasses := floor.Class != "" && r.Class != "" && floor.Class != r.Class
			if i == k || otherClasses || floor.Match.apart(r.Match) {
				continue
			}
			lines = append(lines, fmt.Sprintf("Rule %q may take some that rule %q keeps.", r.Name, floor.Name))
		}
	}
	return lines
}
