package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

// policy is what the flags say.
type policy struct {
	highCPU           float64 // percent of one core
	highMemory        memoryLimit
	keepLow, keepHigh int
	victims           string
	span              time.Duration // the shortest of a CPU rate that condemns
	all               bool

	highCPUText, highMemoryText, spanText string // for reasons
}

func defaultPolicy() policy {
	return policy{highCPU: 50, highMemory: memoryLimit{percent: 10}, keepLow: 3, keepHigh: 2, victims: "heaviest", span: 5 * time.Second}
}

// check refuses what makes no sense, and readies what the reasons say.
func (p *policy) check() error {
	if !(p.highCPU > 0 && p.highCPU <= 1e6) {
		return fmt.Errorf("--high-cpu must be above 0 and at most a million: %v", p.highCPU)
	}
	if p.keepLow < 0 || p.keepHigh < 0 {
		return fmt.Errorf("--keep-low and --keep-high must not be negative: %d, %d", p.keepLow, p.keepHigh)
	}
	if !slices.Contains([]string{"heaviest", "lightest", "newest", "oldest"}, p.victims) {
		return fmt.Errorf("--victims must be heaviest, lightest, newest or oldest: %q", p.victims)
	}
	if p.span < 0 {
		return fmt.Errorf("--span must not be negative: %v", p.span)
	}
	p.highCPUText = strconv.FormatFloat(p.highCPU, 'f', -1, 64) + " %"
	p.spanText = strconv.FormatFloat(p.span.Seconds(), 'f', -1, 64) + " s"
	p.highMemoryText = p.highMemory.String()
	if p.highMemory.percent == 0 {
		p.highMemoryText = fmt.Sprintf("%.1f MiB", float64(p.highMemory.size)/(1<<20))
	}
	return nil
}

func (p *policy) spanMS() float64 { return float64(p.span) / float64(time.Millisecond) }

// byTime tells whether the order needs the time of creation.
func (p *policy) byTime() bool { return p.victims == "newest" || p.victims == "oldest" }

// stay is how many of a class stay.
func (p *policy) stay(class string) int {
	if class == record.ClassHigh {
		return p.keepHigh
	}
	return p.keepLow
}

// memoryLimit is a flag's value: a share of the host's memory, or a size.
type memoryLimit struct {
	percent float64 // 0 where it is a size
	size    cli.Size
}

// Type is the value's placeholder in --help.
func (m *memoryLimit) Type() string { return "percent%|size" }

func (m *memoryLimit) String() string {
	if m.percent > 0 {
		return strconv.FormatFloat(m.percent, 'f', -1, 64) + " %"
	}
	return m.size.String()
}

// Set parses 10% or 128MB.
func (m *memoryLimit) Set(text string) error {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			return fmt.Errorf("not a share such as 10%%: %q", text)
		}
		*m = memoryLimit{percent: percent}
		return nil
	}
	var size cli.Size
	if err := size.Set(text); err != nil {
		return err
	}
	if size == 0 {
		return fmt.Errorf("must be above 0: %q", text)
	}
	*m = memoryLimit{size: size}
	return nil
}

// kb is the limit on a host with that much memory; NaN where that is unknown
// and needed.
func (m *memoryLimit) kb(totalKB float64) float64 {
	switch {
	case m.percent == 0:
		return float64(m.size) / 1024
	case totalKB > 0:
		return totalKB * m.percent / 100
	}
	return math.NaN()
}
