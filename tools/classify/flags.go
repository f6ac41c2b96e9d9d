package main

import (
	"fmt"
	"slices"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

// flags are those that make a policy without a file.
type flags struct {
	highCPU           float64 // percent of one core
	highMemory        policy.Amount
	keepLow, keepHigh int
	victims           string
	span              time.Duration // the shortest of a CPU rate that condemns
	all               bool
}

// judging are the flags in whose place a policy file stands. Those of the classes
// are for a file that does not say it.
var judging = []string{"keep-low", "keep-high", "victims"}

func (f *flags) declare(t *cli.Tool) {
	*f = flags{highMemory: policy.Amount{Percent: policy.DefaultHighMemory}}
	t.Float64Var(&f.highCPU, "high-cpu", policy.DefaultHighCPU, "percent of one core from which a container is high")
	t.Var(&f.highMemory, "high-memory", "percent of the host's memory, or a size, from which a container is high")
	t.IntVar(&f.keepLow, "keep-low", 3, "how many low containers are kept")
	t.IntVar(&f.keepHigh, "keep-high", 2, "how many high containers are kept")
	t.StringVar(&f.victims, "victims", "heaviest", "who goes first: heaviest, lightest, newest or oldest")
	t.DurationVar(&f.span, "span", policy.DefaultSpan, "over how long a CPU rate must be for its container to take part; 0 is any")
	t.BoolVar(&f.all, "all", false, "containers without the label winnow.managed=true take part too")
}

// check refuses what makes no sense.
func (f *flags) check() error {
	if !(f.highCPU > 0 && f.highCPU <= 1e6) {
		return fmt.Errorf("--high-cpu must be above 0 and at most a million: %v", f.highCPU)
	}
	if f.keepLow < 0 || f.keepHigh < 0 {
		return fmt.Errorf("--keep-low and --keep-high must not be negative: %d, %d", f.keepLow, f.keepHigh)
	}
	if !slices.Contains([]string{"heaviest", "lightest", "newest", "oldest"}, f.victims) {
		return fmt.Errorf("--victims must be heaviest, lightest, newest or oldest: %q", f.victims)
	}
	if f.span < 0 {
		return fmt.Errorf("--span must not be negative: %v", f.span)
	}
	return nil
}

// policy is the one that the flags make: a rule for each class.
func (f *flags) policy() *policy.Policy {
	p := &policy.Policy{Class: f.class(), Plain: true, Rules: []policy.Rule{
		{Name: record.ClassLow, Mode: policy.ModeEnforce, Class: record.ClassLow, Keep: f.keepLow, Order: f.victims},
		{Name: record.ClassHigh, Mode: policy.ModeEnforce, Class: record.ClassHigh, Keep: f.keepHigh, Order: f.victims},
	}}
	f.apply(p)
	return p
}

func (f *flags) class() policy.Class {
	return policy.Class{CPU: f.highCPU, Memory: f.highMemory}
}

// apply sets what flags say of a policy that is in a file, too.
func (f *flags) apply(p *policy.Policy) { p.Span, p.All = f.span, f.all }
