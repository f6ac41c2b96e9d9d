package main

import (
	"cmp"
	"slices"
	"time"
)

// maxListed is how many condemnations a table lists: the first, which are the
// surest. --json has all.
const maxListed = 20

// both is something of both sides.
type both[T any] struct {
	Here  T `json:"here"`
	There T `json:"there"`
}

func (b *both[T]) sides() [2]*T { return [2]*T{here: &b.Here, there: &b.There} }

// condemnation is a container that a side has gone, as a line of --json.
type condemnation struct {
	Type  string `json:"type"`
	Host  string `json:"host"`
	ID    string `json:"id"`
	Name  string `json:"name"`
	Image string `json:"image"`
	both[side]
	Difference  string    `json:"difference"`    // only_here, only_there, earlier, same or later
	DifferenceS float64   `json:"difference_s"`  // how much later than there
	Ended       time.Time `json:"recorded_end"`  // when it was seen last
	Running     bool      `json:"still_running"` // when the records end
	Estimate    bool      `json:"estimate"`      // the sides differ since before
}

// side is what one side made of a container.
type side struct {
	Time *time.Time `json:"time"` // null where the side kept it
	verdict
	CPUHours float64 `json:"freed_cpu_hours"`
	GiBHours float64 `json:"freed_memory_gib_hours"`

	round    int // the host's when it was condemned
	estimate bool
}

// compare tells how the sides differ, which they do since the host's snapshot of that
// number, unless both keep the container.
func (c *condemnation) compare(differ int) {
	for i, of := range c.sides() {
		if of.Time != nil {
			c.Difference = []string{here: "only_here", there: "only_there"}[i]
			of.estimate = differ > 0 && of.round > differ
		}
	}
	if c.Here.Time != nil && c.There.Time != nil {
		c.Difference = []string{"earlier", "same", "later"}[1+c.Here.Time.Compare(*c.There.Time)]
		c.DifferenceS = c.Here.Time.Sub(*c.There.Time).Seconds()
	}
	c.Estimate = c.shown().estimate
}

// shown is the side that a list shows: here, unless only the other has it gone.
func (c *condemnation) shown() *side {
	if c.Here.Time == nil {
		return &c.There
	}
	return &c.Here
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
	both[sum]
	Differences map[string]int        `json:"differences"`
	ByRule      map[string]*both[sum] `json:"by_rule"`
	ByDay       map[string]*both[sum] `json:"by_day"`
	Differ      *time.Time            `json:"first_difference"` // null where there is none
	Estimate    bool                  `json:"estimate"`         // there is one: what follows it is estimated

	listed []*condemnation
	emit   func(any) error // with --json
}

// sum is that of a side.
type sum struct {
	Condemned int     `json:"condemned"`
	CPUHours  float64 `json:"freed_cpu_hours"`
	GiBHours  float64 `json:"freed_memory_gib_hours"`
	OverS     float64 `json:"over_budget_s,omitzero"` // over all rules and days alone
	Estimate  bool    `json:"estimate"`               // in part
}

// snapshot counts one, and the time before it in which sides were over their budgets.
func (s *sums) snapshot(at time.Time, step time.Duration, over [2]bool) {
	if s.Snapshots++; s.From.IsZero() || at.Before(s.From) {
		s.From = at
	}
	if at.After(s.To) {
		s.To = at
	}
	for i, of := range s.sides() {
		if over[i] {
			of.OverS += step.Seconds()
		}
	}
}

// differ notes when the sides first differ on a host.
func (s *sums) differ(at time.Time) {
	if s.Differ == nil || at.Before(*s.Differ) {
		s.Differ, s.Estimate = &at, true
	}
}

func (s *sums) add(one *condemnation) {
	s.Differences[one.Difference]++
	for i, of := range one.sides() {
		if of.Time == nil {
			continue
		}
		rule := of.Rule
		if of.Dry {
			rule += " (dry)"
		}
		for _, total := range []*both[sum]{&s.both, named(s.ByRule, rule), named(s.ByDay, of.Time.Format(time.DateOnly))} {
			t := total.sides()[i]
			t.Condemned, t.Estimate = t.Condemned+1, t.Estimate || of.estimate && !(i == there && s.Against == recorded)
			t.CPUHours, t.GiBHours = t.CPUHours+of.CPUHours, t.GiBHours+of.GiBHours
		}
	}
	if s.emit != nil {
		s.emit(one) // its error stays with the output
		return
	}
	s.listed = append(s.listed, one)
	slices.SortStableFunc(s.listed, func(a, b *condemnation) int {
		return cmp.Or(a.shown().Time.Compare(*b.shown().Time), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name))
	})
	s.listed = s.listed[:min(len(s.listed), maxListed)]
}

// named is the sum called name, which may be new.
func named(by map[string]*both[sum], name string) *both[sum] {
	if by[name] == nil {
		by[name] = new(both[sum])
	}
	return by[name]
}
