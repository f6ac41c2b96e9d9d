package main

import (
	"bufio"
	"cmp"
	"slices"
	"time"

	"winnow/tools/internal/record"
)

// maxListed is how many condemnations a table lists: the first, which are the
// surest. --json has all.
const maxListed = 20

// The values of condemnation.Difference.
const (
	onlyHere  = "only_here"
	onlyThere = "only_there"
	same      = "same"
	earlier   = "earlier"
	later     = "later"
)

// condemnation is a container that a side has gone, as a line of --json. What is
// null did not happen.
type condemnation struct {
	Type      string     `json:"type"`
	Host      string     `json:"host"`
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Image     string     `json:"image"`
	Time      *time.Time `json:"time"` // when the policy condemned it
	Rule      string     `json:"rule"`
	Reason    string     `json:"reason"`
	Dry       bool       `json:"dry"`
	Freed     use        `json:"freed"`
	Against   *time.Time `json:"against_time"` // when the other side did
	TheirRule string     `json:"against_rule"`
	Theirs    string     `json:"against_reason"`
	TheirUse  *use       `json:"against_freed"` // null where that is what happened: it used nothing any more

	Difference  string    `json:"difference"`
	DifferenceS *float64  `json:"difference_s"` // how much later than the other side
	Ended       time.Time `json:"recorded_end"`
	Running     bool      `json:"still_running"` // when the records end
	Estimate    bool      `json:"estimate"`      // the sides differ since before
}

func newCondemnation(h *host, l *life, running bool) *condemnation {
	one := &condemnation{Type: "condemnation", Host: h.name, ID: l.id, Name: l.name, Image: l.image, Ended: l.last.UTC(),
		Running: running, Difference: onlyThere}
	latest := time.Time{}
	if e := l.ends[there]; e != nil {
		latest = e.at
		one.Against, one.TheirRule, one.Theirs, one.TheirUse = &e.at, e.rule, e.reason, &l.freed[there]
	}
	if e := l.ends[here]; e != nil {
		one.Time, one.Rule, one.Reason, one.Dry, one.Freed = &e.at, e.rule, e.reason, e.dry, l.freed[here]
		one.Difference = onlyHere
		if e.at.After(latest) {
			latest = e.at
		}
	}
	if one.Time != nil && one.Against != nil {
		by := one.Time.Sub(*one.Against).Seconds()
		one.DifferenceS = &by
		one.Difference = []string{earlier, same, later}[1+cmp.Compare(by, 0)]
	}
	one.Estimate = !h.differ.IsZero() && latest.After(h.differ)
	return one
}

// at is when it is gone here or, where it is kept, there.
func (c *condemnation) at() time.Time {
	if c.Time == nil {
		return *c.Against
	}
	return *c.Time
}

// first is when a side first has it gone.
func (c *condemnation) first() time.Time {
	if c.Against != nil && c.Against.Before(c.at()) {
		return *c.Against
	}
	return c.at()
}

// sums are those of all condemnations, as a line of --json.
type sums struct {
	Type       string    `json:"type"`
	Policy     string    `json:"policy"`
	Against    string    `json:"against"`
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Hosts      int       `json:"hosts"`
	Snapshots  int       `json:"snapshots"`
	Containers int       `json:"containers"`

	Condemned   int            `json:"condemned"`
	Theirs      int            `json:"against_condemned"`
	Differences map[string]int `json:"differences"`

	Freed     use     `json:"freed"`
	TheirUse  *use    `json:"against_freed"`
	OverS     float64 `json:"over_budget_s"`
	TheirOver float64 `json:"against_over_budget_s"`

	Differ   *time.Time `json:"first_difference"` // null where there is none
	Estimate bool       `json:"estimate"`         // there is one, so that all sums are in part estimates

	out           *bufio.Writer
	asJSON        bool
	byRule, byDay map[string]*sum
	listed        []*condemnation
}

// sum is that of a rule or a day.
type sum struct {
	condemned, theirs int
	freed             use
	dry, estimate     bool
}

func newSums(policy, against string, out *bufio.Writer, asJSON bool) *sums {
	s := &sums{Type: "summary", Policy: policy, Against: against, Differences: map[string]int{onlyHere: 0, onlyThere: 0, same: 0, earlier: 0, later: 0},
		out: out, asJSON: asJSON, byRule: map[string]*sum{}, byDay: map[string]*sum{}}
	if against != recorded {
		s.TheirUse = &use{}
	}
	return s
}

// snapshot counts one, and the time before it.
func (s *sums) snapshot(h *host, at time.Time, step time.Duration, over [2]bool) {
	if !h.counted {
		h.counted = true
		s.Hosts++
	}
	s.Snapshots++
	if at = at.UTC(); s.From.IsZero() || at.Before(s.From) {
		s.From = at
	}
	if at.After(s.To) {
		s.To = at
	}
	if over[here] {
		s.OverS += step.Seconds()
	}
	if over[there] {
		s.TheirOver += step.Seconds()
	}
}

func (s *sums) differ(at time.Time) {
	if !at.IsZero() && (s.Differ == nil || at.Before(*s.Differ)) {
		at = at.UTC()
		s.Differ, s.Estimate = &at, true
	}
}

func (s *sums) condemned(one *condemnation) {
	s.Differences[one.Difference]++
	if one.Time != nil {
		s.Condemned++
		s.Freed.add(one.Freed)
		for _, sum := range []*sum{sumOf(s.byRule, one.Rule), sumOf(s.byDay, one.Time.UTC().Format(time.DateOnly))} {
			sum.condemned++
			sum.freed.add(one.Freed)
			sum.dry, sum.estimate = sum.dry || one.Dry, sum.estimate || one.Estimate
		}
	}
	if one.Against != nil {
		s.Theirs++
		if s.TheirUse != nil {
			s.TheirUse.add(*one.TheirUse)
		} else {
			one.TheirUse = nil
		}
		sumOf(s.byDay, one.Against.UTC().Format(time.DateOnly)).theirs++
	}
	if s.asJSON {
		s.write(one)
		return
	}
	at, _ := slices.BinarySearchFunc(s.listed, one, func(a, b *condemnation) int {
		return cmp.Or(a.at().Compare(b.at()), cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID))
	})
	s.listed = slices.Insert(s.listed, at, one)
	s.listed = s.listed[:min(len(s.listed), maxListed)]
}

func sumOf(sums map[string]*sum, name string) *sum {
	if sums[name] == nil {
		sums[name] = &sum{}
	}
	return sums[name]
}

func (s *sums) write(v any) {
	line, err := record.Marshal(v)
	if err != nil {
		panic(err) // numbers from lines are finite
	}
	s.out.Write(line)
}

// print ends the output.
func (s *sums) print() {
	if s.asJSON {
		s.write(s)
		return
	}
	s.table()
}
