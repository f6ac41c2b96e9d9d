package main

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// container is what a verdict is made of. A number that is not known is NaN.
type container struct {
	id            string
	cpu, memoryKB float64
	spanMS        float64 // of cpu
	ownSpan       bool    // its line says so, even if it is not known
	named         bool    // its labels are known
	consent       record.Consent
	created       time.Time // zero where it is not known, or not needed

	class string // "" where it is not known
	load  float64
	rank  int // 0 where it takes no part
}

func readContainer(line *record.Line, byTime bool) container {
	c := container{cpu: math.NaN(), memoryKB: math.NaN(), spanMS: math.NaN()}
	for _, m := range line.Members() {
		switch m.Name {
		case "id":
			c.id = m.Value.Str
		case "cpu_percent":
			c.cpu = number(m.Value)
		case "memory_kb":
			c.memoryKB = number(m.Value)
		case "interval_ms":
			c.spanMS, c.ownSpan = number(m.Value), true
		case "labels":
			c.readLabels(m.Value)
		case "created":
			if byTime {
				c.created, _ = time.Parse(time.RFC3339, m.Value.Str)
			}
		}
	}
	return c
}

// number is NaN where it is not known.
func number(value gjson.Result) float64 {
	if value.Type != gjson.Number {
		return math.NaN()
	}
	return value.Num
}

func (c *container) readLabels(labels gjson.Result) {
	if !labels.IsObject() {
		return // null
	}
	c.named = true
	labels.ForEach(func(name, value gjson.Result) bool {
		c.consent.Label(name.Str, value.Str)
		return true
	})
}

// measure sets class and load: how many times the nearer of the two limits it
// uses.
func (c *container) measure(p *policy, limitKB float64) {
	c.load = max(c.cpu/p.highCPU, c.memoryKB/limitKB) // NaN where either is
	switch {
	case c.cpu >= p.highCPU || c.memoryKB >= limitKB:
		c.class = record.ClassHigh
	case !math.IsNaN(c.load):
		c.class = record.ClassLow
	}
}

// exempt says why the container takes no part, "" where it does, in text that
// stands in JSON as it is.
func (c *container) exempt(p *policy) string {
	switch {
	case c.consent.Unread != "":
		return "its label " + escaped(c.consent.Unread) + " cannot be read"
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
		return string(appendFigure([]byte("its cpu rate is over "), c.spanMS/1000)) + " s, less than " + p.spanText
	case math.IsNaN(c.load):
		return "its share of the memory is not known"
	case p.byTime() && c.created.IsZero():
		return "its time of creation is not known"
	}
	return ""
}

// rank orders the containers that take part, each class by itself, and says
// how many there are of each.
func rank(containers []*container, p *policy) map[string]int {
	classes := map[string][]*container{}
	for _, c := range containers {
		if c.exempt(p) == "" {
			classes[c.class] = append(classes[c.class], c)
		}
	}
	count := map[string]int{}
	for class, members := range classes {
		slices.SortFunc(members, p.order)
		for i, c := range members {
			c.rank = i + 1
		}
		count[class] = len(members)
	}
	return count
}

// appendMeasure appends the figures to a reason, such as
// `cpu 1.2 % of a core (high from 50 %), memory 12.0 MiB, 0.1 % of the host (high from 10 %)`.
func (c *container) appendMeasure(dst []byte, p *policy, totalKB float64) []byte {
	dst = append(appendFigure(append(dst, "cpu "...), c.cpu), " % of a core (high from "...)
	dst = append(append(dst, p.highCPUText...), "), memory "...)
	dst = append(appendFigure(dst, c.memoryKB/1024), " MiB"...)
	if totalKB > 0 {
		dst = append(appendFigure(append(dst, ", "...), 100*c.memoryKB/totalKB), " % of the host"...)
	}
	dst = append(append(dst, " (high from "...), p.highMemoryText...)
	return append(dst, ')')
}

// appendFigure cuts to one decimal place instead of rounding, so that nothing
// below a limit reads as if it had reached it.
func appendFigure(dst []byte, figure float64) []byte {
	if math.IsNaN(figure) {
		return append(dst, '?')
	}
	return strconv.AppendFloat(dst, math.Floor(figure*10)/10, 'f', 1, 64)
}

// escaped is foreign text as it stands between the quotes of a JSON string.
func escaped(text string) string {
	quoted, err := record.Marshal(text)
	if err != nil {
		panic(err) // a string always can be
	}
	return string(quoted[1 : len(quoted)-len("\"\n")])
}
