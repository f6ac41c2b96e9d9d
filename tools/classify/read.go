package main

import (
	"math"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// readContainer gives what a verdict needs of a container's line. spanMS is that
// of the rates where the line does not say it.
func readContainer(line *record.Line, spanMS float64) container {
	c := container{cpu: math.NaN(), memoryKB: math.NaN(), spanMS: spanMS}
	for _, m := range line.Members() {
		switch m.Name {
		case "id":
			c.id = m.Value.Str
		case "cpu_percent":
			c.cpu = number(m.Value)
		case "memory_kb":
			c.memoryKB = number(m.Value)
		case "interval_ms":
			c.spanMS = number(m.Value)
		case "labels":
			c.readLabels(m.Value)
		case "created":
			c.created, _ = time.Parse(time.RFC3339, m.Value.Str)
		}
	}
	return c
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

// number is NaN where it is not known.
func number(value gjson.Result) float64 {
	if value.Type != gjson.Number {
		return math.NaN()
	}
	return value.Num
}

// wholeNumber is -1 where the value is not a whole number.
func wholeNumber(value gjson.Result) int {
	n := int(min(value.Num, 1e9))
	if value.Type != gjson.Number || float64(n) != value.Num {
		return -1
	}
	return n
}
