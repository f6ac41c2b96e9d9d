package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"winnow/tools/internal/record"
)

// snapshot is what there is to judge. A number that is not known is NaN.
type snapshot struct {
	totalKB    float64 // of the host's memory; 0 where it is not known
	containers []container
}

type container struct {
	id            string
	cpu, memoryKB float64
	spanMS        float64 // of cpu
	named         bool    // its labels are known
	consent       record.Consent
	created       time.Time // zero where it is not known
}

// verdict is on a container.
type verdict struct {
	class   string // "" where it is not known
	verdict string
	reason  string
	rank    int // 0 where it takes no part
}

// candidate is a container that takes part, and the verdict on it.
type candidate struct {
	*container
	load    float64
	verdict *verdict
}

// judge gives the verdicts on the containers of a whole snapshot, in their order.
func (p *policy) judge(s *snapshot) []verdict {
	verdicts := make([]verdict, len(s.containers))
	classes := map[string][]candidate{}
	for i := range s.containers {
		c, v := &s.containers[i], &verdicts[i]
		class, load := p.weigh(c, s.totalKB)
		v.class, v.verdict = class, record.VerdictKeep
		if why := p.exempt(c, load); why != "" {
			v.reason = "kept, " + why + ": " + p.figures(c, s.totalKB)
			continue
		}
		classes[class] = append(classes[class], candidate{c, load, v})
	}
	for class, candidates := range classes {
		slices.SortFunc(candidates, p.order)
		stay := p.stay(class)
		ofAll := fmt.Sprintf(" of %d %s, the %s go first, %d kept: ", len(candidates), class, p.victims, stay)
		for i, c := range candidates {
			c.verdict.rank = i + 1
			if c.verdict.rank > stay {
				c.verdict.verdict = record.VerdictKill
			}
			c.verdict.reason = "rank " + strconv.Itoa(i+1) + ofAll + p.figures(c.container, s.totalKB)
		}
	}
	return verdicts
}

// spare gives the verdicts on the containers of a snapshot that is not to be
// judged, which why describes.
func (p *policy) spare(s *snapshot, why string) []verdict {
	verdicts := make([]verdict, len(s.containers))
	for i := range s.containers {
		c := &s.containers[i]
		class, _ := p.weigh(c, s.totalKB)
		verdicts[i] = verdict{class: class, verdict: record.VerdictKeep, reason: "kept, part of " + why + ": " + p.figures(c, s.totalKB)}
	}
	return verdicts
}

// weigh gives the class, and the load: how many times the nearer of the two
// limits the container uses.
func (p *policy) weigh(c *container, totalKB float64) (class string, load float64) {
	limitKB := p.highMemory.kb(totalKB)
	load = max(c.cpu/p.highCPU, c.memoryKB/limitKB) // NaN where either is
	switch {
	case c.cpu >= p.highCPU || c.memoryKB >= limitKB:
		return record.ClassHigh, load
	case !math.IsNaN(load):
		return record.ClassLow, load
	}
	return "", load
}

// exempt says why the container takes no part, "" where it does.
func (p *policy) exempt(c *container, load float64) string {
	switch {
	case c.consent.Unread != "":
		return "its label " + c.consent.Unread + " cannot be read"
	case c.consent.Protected:
		return "protected by its label winnow.protect=true"
	case !c.named:
		return "its labels are not known"
	case !c.consent.Managed && !p.all:
		return "not labelled winnow.managed=true"
	case math.IsNaN(c.cpu):
		return "too new, it has no cpu rate yet"
	case p.span > 0 && math.IsNaN(c.spanMS):
		return "the span of its cpu rate is not known"
	case c.spanMS < p.spanMS():
		return "its cpu rate is over " + figure(c.spanMS/1000) + " s, less than " + p.spanText
	case math.IsNaN(load):
		return "its share of the memory is not known"
	case p.byTime() && c.created.IsZero():
		return "its time of creation is not known"
	}
	return ""
}

// order compares two candidates of a class: the one that is to stay longer
// comes first. No two are equal, so the same input gives the same ranks.
func (p *policy) order(a, b candidate) int {
	var byRule int
	switch p.victims {
	case "heaviest":
		byRule = cmp.Compare(a.load, b.load)
	case "lightest":
		byRule = cmp.Compare(b.load, a.load)
	case "newest":
		byRule = a.created.Compare(b.created)
	case "oldest":
		byRule = b.created.Compare(a.created)
	}
	return cmp.Or(byRule, cmp.Compare(a.id, b.id))
}

// figures end a reason, such as
// `cpu 1.2 % of a core (high from 50 %), memory 12.0 MiB, 0.1 % of the host (high from 10 %)`.
func (p *policy) figures(c *container, totalKB float64) string {
	share := ""
	if totalKB > 0 {
		share = ", " + figure(100*c.memoryKB/totalKB) + " % of the host"
	}
	return "cpu " + figure(c.cpu) + " % of a core (high from " + p.highCPUText + "), memory " +
		figure(c.memoryKB/1024) + " MiB" + share + " (high from " + p.highMemoryText + ")"
}

// figure cuts to one decimal place instead of rounding, so that nothing below a
// limit reads as if it had reached it.
func figure(x float64) string {
	if math.IsNaN(x) {
		return "?"
	}
	return strconv.FormatFloat(math.Floor(x*10)/10, 'f', 1, 64)
}
