package policy

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"winnow/tools/internal/record"
)

// verdicts puts what the rules said into words.
func (j *judge) verdicts() []Verdict {
	all := make([]Verdict, len(j.cases))
	figures := newFigures(&j.policy.Class, j.snapshot.TotalKB)
	for i, one := range j.cases {
		o, v := &one.best, &all[i]
		v.Class, v.Verdict = one.class, record.VerdictKeep
		v.Reason = figures.behind(j.reason(one), one.Container)
		if o.rule == nil {
			continue
		}
		v.Rank = o.rank
		if !j.policy.Plain {
			v.Rule = o.rule.Name
		}
		switch o.stage {
		case condemned:
			v.Verdict, v.Grace = record.VerdictKill, o.rule.Grace
		case warned:
			v.Verdict, v.KillAt, v.Grace = record.VerdictWarn, o.due, o.rule.Grace
		case wouldKill:
			v.Would = record.VerdictKill
		case wouldWarn:
			v.Would, v.KillAt = record.VerdictWarn, o.due
		}
	}
	return all
}

// Spare gives the verdicts on a snapshot that is not to be judged, which why
// describes.
func (p *Policy) Spare(s *Snapshot, why string) []Verdict {
	all := make([]Verdict, len(s.Containers))
	thresholdKB := p.Class.Memory.Of(s.TotalKB)
	figures := newFigures(&p.Class, s.TotalKB)
	for i, c := range s.Containers {
		c.measure(p.Class.CPU, thresholdKB)
		all[i] = Verdict{Class: c.class, Verdict: record.VerdictKeep, Reason: figures.behind("kept, part of "+why, c)}
	}
	return all
}

func (j *judge) reason(one *oneCase) string {
	o := &one.best
	switch {
	case one.exempt != "":
		return "kept, " + one.exempt
	case one.life.gone && o.stage < wouldWarn:
		return "counts as gone, it was condemned before"
	case one.unrated != "" && o.stage <= failing:
		return "kept, " + one.unrated
	case o.rule == nil:
		return "kept, no rule is about it"
	case j.policy.Plain:
		return o.place(" " + o.rule.Class)
	}
	return j.ruleReason(one)
}

// ruleReason tells what the rule that comes nearest says.
func (j *judge) ruleReason(one *oneCase) string {
	o := &one.best
	head := "rule " + o.rule.Name
	if o.stage < wouldWarn {
		head = "kept, nearest is " + head
	}
	switch o.stage {
	case failing:
		return head + ": " + j.failure(one)
	case waiting:
		return head + ": " + j.patience(one)
	case staying:
		return head + ": " + o.place(o.group.words())
	case limited:
		if o.dying != nil {
			return head + ": its turn is later, since " + o.dying.title() + " is condemned and still there"
		}
		return head + ": its turn is later, since no more than " + o.most.String() + " are condemned"
	case wouldWarn:
		head += ", dry, would have it warned"
	case wouldKill:
		head += ", dry, would have it killed"
	}
	if o.stage == warned || o.stage == wouldWarn {
		head += ", to be killed from " + o.due.UTC().Format(time.RFC3339) + " on"
	}
	head += ": " + o.place(o.group.words()) + o.staying()
	if held := j.patience(one); held != "" {
		head += ", " + held
	}
	return head
}

// place tells a container's place in its group.
func (o *outcome) place(group string) string {
	return "rank " + strconv.Itoa(o.rank) + " of " + strconv.Itoa(len(o.group.members)) + group +
		", the " + o.rule.order() + " go first, " + strconv.Itoa(o.group.keep) + " kept"
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
	return " of " + record.Shorten(g.label, 80)
}

// mostNamed is how many are named of those that stay.
const mostNamed = 3

// staying names who was kept in a container's place.
func (o *outcome) staying() string {
	stay := min(o.group.keep, len(o.group.members))
	if stay == 0 {
		return ""
	}
	var names []string
	for _, m := range o.group.members[:min(stay, mostNamed)] {
		names = append(names, m.title())
	}
	text := strings.Join(names, ", ")
	if more := stay - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return " (" + text + ")"
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
	case c == &otherCause:
		return "the snapshot's cause is " + s.cause() + ", not " + r.Cause
	case c.ofHost():
		return c.figureText(s.figure(c)) + " is not " + c.text
	}
	return c.figureText(one.figure(c, s)) + " is not " + c.text
}

// cause is the snapshot's in words.
func (s *Snapshot) cause() string { return cmp.Or(record.Shorten(s.Cause, 20), "not known") }

// figureText is a condition's key and its figure now.
func (c *Condition) figureText(figure float64) string {
	number := figureText(figure)
	switch c.Unit {
	case inKB:
		number = figureText(figure/1024) + " MiB"
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
		parts = append(parts, c.figureText(figure)+" "+c.text)
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

// figures end the reasons of a snapshot, such as
// `cpu 1.2 % of a core (high from 50 %), memory 12.0 MiB, 0.1 % of the host (high from 10 %)`.
type figures struct {
	totalKB             float64
	highCPU, highMemory string
	text                []byte // of the reason at hand
}

func newFigures(class *Class, totalKB float64) *figures {
	memory := class.Memory.String()
	if class.Memory.IsSize {
		memory = strconv.FormatFloat(class.Memory.KB/1024, 'f', 1, 64) + " MiB"
	}
	return &figures{totalKB: totalKB, highCPU: plainNumber(class.CPU) + " %", highMemory: memory}
}

// behind is the reason with the container's figures behind it.
func (f *figures) behind(reason string, c *Container) string {
	b := append(f.text[:0], reason...)
	b = appendFigure(append(b, ": cpu "...), c.CPU)
	b = append(append(append(b, " % of a core (high from "...), f.highCPU...), "), memory "...)
	b = append(appendFigure(b, c.MemoryKB/1024), " MiB"...)
	if f.totalKB > 0 {
		b = appendFigure(append(b, ", "...), 100*c.MemoryKB/f.totalKB)
		b = append(b, " % of the host"...)
	}
	f.text = append(append(append(b, " (high from "...), f.highMemory...), ')')
	return string(f.text)
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
	if r.Cause != "" {
		conditions = append(conditions, "the snapshot's cause is "+r.Cause)
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
	var budgets []string
	if r.KeepMemory != nil {
		budgets = append(budgets, r.KeepMemory.String()+" of memory")
	}
	if r.KeepCPU != nil {
		budgets = append(budgets, r.KeepCPU.String()+" of a core")
	}
	switch {
	case len(budgets) > 0 && r.Keep > 0:
		fmt.Fprintf(&b, ", as many stay as fit in %s, and at least %d", strings.Join(budgets, " and "), r.Keep)
	case len(budgets) > 0:
		fmt.Fprintf(&b, ", as many stay as fit in %s", strings.Join(budgets, " and "))
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
