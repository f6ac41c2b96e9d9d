package policy

import (
	"math"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// ReadHost is a snapshot without its containers, from the line of its host.
func ReadHost(line *record.Line) Snapshot {
	at, _ := time.Parse(time.RFC3339, line.Get("time").Str)
	return Snapshot{
		Host: line.Get("host").Str, Boot: line.Get("boot_id").Str, Time: at,
		TotalKB: line.Get("total_memory_kb").Num, AvailableKB: Number(line.Get("available_memory_kb")),
		CPUPressure: Number(line.Get("cpu_pressure_percent")), MemoryPressure: Number(line.Get("memory_pressure_percent")),
		IOPressure: Number(line.Get("io_pressure_percent")),
		CPUStall:   Number(line.Get("cpu_stall_percent")), MemoryStall: Number(line.Get("memory_stall_percent")),
		IOStall: Number(line.Get("io_stall_percent")), Cause: line.Get("cause").Str,
	}
}

// ReadContainer makes c the container of the line, with the labels that are asked for:
// see LabelsAsked. hostMS is the span of the rates, in ms, that the line of the host
// says, for one that does not say it.
func ReadContainer(c *Container, line *record.Line, hostMS float64, asked map[string]bool) {
	nan := math.NaN()
	*c = Container{CPU: nan, MemoryKB: nan, CPUNS: nan, SpanMS: hostMS, MemoryLimitKB: nan, CPULimit: nan}
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
			c.CPU = Number(m.Value)
		case "cpu_ns":
			c.CPUNS = Number(m.Value)
		case "memory_kb":
			c.MemoryKB = Number(m.Value)
		case "memory_limit_kb":
			c.MemoryLimitKB = Number(m.Value)
		case "cpu_limit_percent":
			c.CPULimit = Number(m.Value)
		case "interval_ms":
			c.SpanMS = Number(m.Value)
		case "labels":
			readLabels(c, m.Value, asked)
		case "created":
			c.Created, _ = time.Parse(time.RFC3339, m.Value.Str)
		}
	}
}

func readLabels(c *Container, labels gjson.Result, asked map[string]bool) {
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

// Number is a value, NaN where it is not known.
func Number(value gjson.Result) float64 {
	if value.Type != gjson.Number {
		return math.NaN()
	}
	return value.Num
}
