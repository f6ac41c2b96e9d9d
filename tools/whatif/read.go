package main

import (
	"time"

	"winnow/tools/internal/record"
)

// snapshot is what counts of one. Its texts hold on to the lines that they are of.
type snapshot struct {
	id        string
	at        time.Time
	announced float64
	samples   []sample
	kills     map[string]string // those recorded after it: the reasons, by the containers' ids
}

// whole tells whether all came that was to come.
func (s *snapshot) whole() bool { return float64(len(s.samples)) == s.announced && !s.at.IsZero() }

// sample is a container in a snapshot.
type sample struct {
	id, name, image      string
	pid, cpuNS           float64
	cpuPercent, memoryKB float64 // 0 where they are not known
	verdicts             [2]verdict
}

// add takes a line. What was recorded of a snapshot is all there when the next one
// of its host begins.
func (c *counter) add(line *record.Line) {
	name := line.Get("host").Str
	h := c.hosts[name]
	switch line.Type() {
	case record.TypeHost:
		if h == nil {
			h = &host{name: record.Clip(name, maxText), lives: map[string]*life{}}
			c.hosts[record.Clip(name, record.MaxLine)] = h
		}
		c.settle(h)
		h.open.id, h.open.announced = line.Get("snapshot").Str, line.Get("containers").Num
		h.open.at, _ = time.Parse(time.RFC3339, line.Get("time").Str)
	case record.TypeContainer:
		if h != nil && line.Get("snapshot").Str == h.open.id {
			h.open.samples = append(h.open.samples, readSample(line))
		}
	case record.TypeKill:
		if h != nil && c.recorded && line.Get("result").Str == record.ResultKilled {
			h.open.kills[line.Get("id").Str] = line.Get("reason").Str
		}
	}
}

func readSample(line *record.Line) sample {
	s := sample{verdicts: [2]verdict{verdictOf(line), notedIn(line)}}
	for _, m := range line.Members() {
		switch m.Name {
		case "id":
			s.id = m.Value.Str
		case "name":
			s.name = m.Value.Str
		case "image":
			s.image = m.Value.Str
		case "pid":
			s.pid = m.Value.Num
		case "cpu_ns":
			s.cpuNS = m.Value.Num
		case "cpu_percent":
			s.cpuPercent = m.Value.Num
		case "memory_kb":
			s.memoryKB = m.Value.Num
		}
	}
	return s
}
