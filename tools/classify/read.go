package main

import (
	"math"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

// readHost gives what a policy needs of a host's line.
func readHost(line *record.Line) policy.Snapshot {
	at, _ := time.Parse(time.RFC3339, line.Get("time").Str)
	return policy.Snapshot{
		Host: line.Get("host").Str, Boot: line.Get("boot_id").Str, Time: at,
		TotalKB: line.Get("total_memory_kb").Num, AvailableKB: number(line.Get("available_memory_kb")),
		CPUPressure: number(line.Get("cpu_pressure_percent")), MemoryPressure: number(line.Get("memory_pressure_percent")),
		IOPressure: number(line.Get("io_pressure_percent")),
	}
}

// readContainer gives what a policy needs of a container's line, and the labels
// that it asks for. spanMS is that of the rates where the line does not say it.
func readContainer(line *record.Line, spanMS float64, asked map[string]bool) *policy.Container {
	nan := math.NaN()
	c := &policy.Container{CPU: nan, MemoryKB: nan, CPUNS: nan, SpanMS: spanMS, MemoryLimitKB: nan, CPULimit: nan}
	for _, m := range line.Members() {
		switch m.Name {
		case "id":
			c.ID = m.Value.Str
		case "name":
			c.Name = m.Value.Str
		case "image":
			c.Image = m.Value.Str
		case "engine":
			c.Engine = m.Value.Str
		case "pid":
			c.PID = int(m.Value.Num)
		case "at_ns":
			c.AtNS = m.Value.Int()
		case "cpu_percent":
			c.CPU = number(m.Value)
		case "cpu_ns":
			c.CPUNS = number(m.Value)
		case "memory_kb":
			c.MemoryKB = number(m.Value)
		case "memory_limit_kb":
			c.MemoryLimitKB = number(m.Value)
		case "cpu_limit_percent":
			c.CPULimit = number(m.Value)
		case "interval_ms":
			c.SpanMS = number(m.Value)
		case "labels":
			readLabels(c, m.Value, asked)
		case "created":
			c.Created, _ = time.Parse(time.RFC3339, m.Value.Str)
		}
	}
	return c
}

func readLabels(c *policy.Container, labels gjson.Result, asked map[string]bool) {
	if !labels.IsObject() {
		return // null
	}
	c.Labelled = true
	labels.ForEach(func(name, value gjson.Result) bool {
		c.Consent.Label(name.Str, value.Str)
		if asked[name.Str] {
			if c.Labels == nil {
				c.Labels = make(map[string]string)
			}
			c.Labels[name.Str] = value.Str
		}
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
