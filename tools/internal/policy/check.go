package policy

import (
	"fmt"
	"strings"

	"winnow/tools/internal/record"
)

// Reach tells for each container of a snapshot which rules hold, which nearly do,
// and which are about it otherwise, a line each; no memory is needed for it. A rule
// nearly holds where one thing alone is missing.
func (p *Policy) Reach(s *Snapshot) []string {
	j := judge{policy: p, snapshot: s, memory: new(Memory)}
	j.begin()
	var lines []string
	for _, one := range j.cases {
		if one.exempt != "" {
			lines = append(lines, fmt.Sprintf("%s takes no part: %s", one.title(), one.exempt))
			continue
		}
		var hold, nearly, about []string
		for n := range p.Rules {
			r := &p.Rules[n]
			if !one.takesPart(r) || !one.life.matches(r, n, one.Container) {
				continue
			}
			missing := j.missing(one, r)
			name := fmt.Sprintf("%q", r.Name)
			switch len(missing) {
			case 0:
				if r.For > 0 {
					name += " (for " + span(r.For) + ")"
				}
				hold = append(hold, name)
			case 1:
				nearly = append(nearly, fmt.Sprintf("%s (%s)", name, missing[0]))
			default:
				about = append(about, name)
			}
		}
		line := one.title() + ": "
		switch {
		case len(hold)+len(nearly)+len(about) == 0 && one.unrated != "":
			line = one.title() + " takes no part: " + one.unrated
		case len(hold)+len(nearly)+len(about) == 0:
			line += "no rule is about it"
		default:
			var parts []string
			for _, of := range []struct {
				what  string
				names []string
			}{{"holds", hold}, {"nearly holds", nearly}, {"does not hold", about}} {
				if len(of.names) > 0 {
					parts = append(parts, of.what+": "+strings.Join(of.names, ", "))
				}
			}
			line += strings.Join(parts, "; ")
		}
		lines = append(lines, line)
	}
	return lines
}

// missing is what of a rule does not hold of a container that it matches.
func (j *judge) missing(one *oneCase, r *Rule) (missing []string) {
	s := j.snapshot
	if r.Class != "" && r.Class != one.class {
		missing = append(missing, "it is "+one.class)
	}
	if r.Cause != "" && r.Cause != s.Cause {
		missing = append(missing, "the snapshot's cause is "+s.cause()+", not "+r.Cause)
	}
	for i := range r.Conditions {
		c := &r.Conditions[i]
		figure := s.figure(c)
		if !c.ofHost() {
			figure = one.figure(c, s)
		}
		if !c.holds(figure) {
			missing = append(missing, c.figureText(figure)+" is not "+c.text)
		}
	}
	if !r.hoursHold(s) {
		missing = append(missing, "it is not within "+r.Hours.text)
	}
	if r.outlives(one.Container, s) {
		missing = append(missing, "younger than "+record.LabelTTL)
	}
	if byTime(r.Order) && one.Created.IsZero() {
		missing = append(missing, "its time of creation is not known")
	}
	return missing
}
