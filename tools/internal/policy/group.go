package policy

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// group is those of a rule that are judged together: their conditions hold.
type group struct {
	label   string // what they share, as reasons name it; "" where there is one group
	members []member
	keep    int // so many may stay, the first in order
}

type member struct {
	*oneCase
	*state // nil where the policy remembers nothing
}

// groups are those of a rule, in the order of their first members.
type groups struct {
	rule *Rule
	all  []*group
	by   map[string]*group
}

func newGroups(r *Rule) *groups { return &groups{rule: r, by: make(map[string]*group)} }

func (gs *groups) add(one *oneCase, st *state) {
	name := gs.rule.groupOf(one.Container)
	g := gs.by[name]
	if g == nil {
		g = &group{label: name}
		gs.by[name] = g
		gs.all = append(gs.all, g)
	}
	g.members = append(g.members, member{one, st})
}

// groupOf names the group that a container is in.
func (r *Rule) groupOf(c *Container) string {
	if r.Per == "" {
		return ""
	}
	key, isLabel := strings.CutPrefix(r.Per, "label=")
	if !isLabel {
		return "image " + c.Image
	}
	if value, ok := c.Labels[key]; ok {
		return key + "=" + value
	}
	return "no label " + key
}

// order sorts the members, those that stay longest first, and says how many stay: as
// many as fit in the budgets, and no fewer than the rule keeps.
// Who has had notice goes before a newcomer who uses more, the longest first.
func (g *group) order(r *Rule, totalKB float64) {
	slices.SortFunc(g.members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.notice(), b.notice()), b.due().Compare(a.due()), r.compare(a.Container, b.Container), cmp.Compare(a.ID, b.ID))
	})
	g.keep = r.Keep
	if r.KeepMemory == nil && r.KeepCPU == nil {
		return
	}
	fit := len(g.members)
	if r.KeepMemory != nil {
		fit = g.fit(r.KeepMemory.Of(totalKB), func(c *Container) float64 { return c.MemoryKB })
	}
	if r.KeepCPU != nil {
		fit = min(fit, g.fit(r.KeepCPU.Percent, func(c *Container) float64 { return c.CPU }))
	}
	g.keep = max(r.Keep, fit)
}

// notice tells how far a member is on its way: 0 for none that was told.
func (m member) notice() int {
	switch {
	case m.state == nil:
		return 0
	case m.Condemned && m.Begun:
		return 2
	case !m.KillAt.IsZero():
		return 1
	}
	return 0
}

// due is when a notice is over, the zero time without one.
func (m member) due() time.Time {
	if m.state == nil {
		return time.Time{}
	}
	return m.KillAt
}

// fit is how many stay where the first to go go until the rest fits.
func (g *group) fit(budget float64, use func(*Container) float64) int {
	sum := 0.0
	for n, m := range g.members {
		if sum += use(m.Container); sum > budget {
			return n
		}
	}
	return len(g.members)
}

// compare puts the one first that is to stay longer.
func (r *Rule) compare(a, b *Container) int {
	switch r.Order {
	case "lightest":
		return cmp.Compare(b.load, a.load)
	case "memory":
		return cmp.Compare(a.MemoryKB, b.MemoryKB)
	case "cpu":
		return cmp.Compare(a.CPU, b.CPU)
	case "newest":
		return a.Created.Compare(b.Created)
	case "oldest":
		return b.Created.Compare(a.Created)
	}
	return cmp.Compare(a.load, b.load)
}
