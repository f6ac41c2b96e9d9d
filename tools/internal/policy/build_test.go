package policy

import (
	"fmt"
	"math"
	"testing"
	"time"

	"winnow/tools/internal/record"
)

// began is when the tests' first snapshot is.
var began = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// box is a container that takes part, with its use in percent of a core and MiB.
func box(name string, cpu, mib float64, labels ...string) *Container {
	c := &Container{ID: name, Name: name, Image: "img", Engine: record.EngineDocker, PID: 100, CPU: cpu, MemoryKB: mib * 1024, SpanMS: 10_000,
		MemoryLimitKB: math.NaN(), CPULimit: math.NaN(), Labelled: true, Consent: record.Consent{Managed: true},
		Labels: map[string]string{}, Created: began.Add(-time.Hour)}
	for i := 0; i+1 < len(labels); i += 2 {
		c.Labels[labels[i]] = labels[i+1]
		c.Consent.Label(labels[i], labels[i+1])
	}
	return c
}

// snap is a snapshot so many seconds after the first, of a host with 1,000 MiB.
func snap(second float64, containers ...*Container) *Snapshot {
	after := time.Duration(second * float64(time.Second))
	s := &Snapshot{Host: "h", Boot: "boot", Time: began.Add(after), TotalKB: 1000 * 1024, AvailableKB: 500 * 1024, Containers: containers}
	for _, c := range containers {
		c.AtNS = int64(time.Hour + after)
		c.CPUNS = float64(c.AtNS)
	}
	return s
}

// rules is a policy of a version and these lines.
func rules(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte("version = 1\n"+text), DefaultClass)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// words are the verdicts by name, as "a kill, b keep".
func words(s *Snapshot, verdicts []Verdict, events []Event) string {
	text := ""
	for i, v := range verdicts {
		word := v.Verdict
		if v.Would != "" {
			word = "would " + v.Would
		}
		text += fmt.Sprintf("%s %s, ", s.Containers[i].Name, word)
	}
	for _, e := range events {
		name := e.Rule
		if e.Container != nil {
			name = e.Container.Name
		}
		text += fmt.Sprintf("%s %s, ", name, e.Event)
	}
	if text == "" {
		return ""
	}
	return text[:len(text)-2]
}
