package policy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"winnow/tools/internal/record"
)

// The stages that a container comes to under a rule, the nearer to its end the
// later.
const (
	untouched = iota // the rule is not about it
	failing          // a condition does not hold
	waiting          // all hold, but not for long enough
	staying          // it is among those of its group that stay
	limited          // too many were condemned of late
	wouldWarn        // in dry mode
	wouldKill        // in dry mode
	warned           //
	condemned        //
)

// outcome is what one rule says of a container.
type outcome struct {
	stage int
	rule  *Rule
	why   *Condition    // that does not hold; nil where it is something else
	held  time.Duration // for which the conditions held
	rank  int
	group *group
	due   time.Time // when a notice is over
	begin *state    // where that notice begins, if nothing comes nearer
	most  Most      // that is reached
	dying *oneCase  // who was condemned before, and is there still
}

// Judge gives the verdicts on a snapshot, in the order of its containers, and
// notes in m what the next needs. Rules judge in their order, and whom one
// condemns is gone for the next.
func (p *Policy) Judge(s *Snapshot, m *Memory) ([]Verdict, []Event) {
	j := judge{policy: p, snapshot: s, memory: m}
	j.begin()
	for i := range p.Rules {
		j.rule(i)
	}
	// A notice begins once its container's line tells of it. Of several the one that is
	// over first is told; the others wait, so that none is ever over that was not told.
	for _, one := range j.cases {
		if one.best.begin != nil {
			m.begun = append(m.begun, one)
		}
	}
	m.sweep()
	return j.verdicts(), j.events
}

// judge is one snapshot being judged.
type judge struct {
	policy   *Policy
	snapshot *Snapshot
	memory   *Memory
	events   []Event
	cases    []*oneCase
}

// oneCase is a container being judged.
type oneCase struct {
	*Container
	exempt  string // why it takes no part, "" where it does
	unrated string // why it takes none but in rules that go by memory alone, "" where in all
	life    *life
	// Whether a rule before has condemned it: one that is enforced, or any. A rule in
	// dry mode judges as if all were enforced.
	gone, goneDry bool
	best          outcome
}

func (j *judge) begin() {
	p, s, m := j.policy, j.snapshot, j.memory
	m.begin(p, s)
	thresholdKB := p.Class.Memory.Of(s.TotalKB)
	cases := make([]oneCase, len(s.Containers))
	j.cases = make([]*oneCase, len(s.Containers))
	for i, c := range s.Containers {
		c.measure(p.Class.CPU, thresholdKB)
		one := &cases[i]
		j.cases[i] = one
		one.Container, one.life = c, m.life(c)
		one.exempt, one.unrated = p.exempt(c), p.unrated(c)
		one.gone, one.goneDry = one.life.gone, one.life.gone || one.life.goneDry
		if c.Consent.Unread != "" && !p.Plain && !one.life.reported {
			one.life.reported = true
			j.event(one, "", record.RuleUnread, ModeEnforce, "its label "+c.Consent.Unread+" cannot be read: it is protected")
		}
	}
	for _, one := range j.cases { // in their order, whatever that of the memory
		for _, e := range m.dropped {
			if one.ID == e.id {
				j.event(one, e.rule, record.RuleWithdrawn, e.mode, e.why)
			}
		}
	}
	m.dropped = nil
}

func (j *judge) event(one *oneCase, rule, event, mode, reason string) {
	e := Event{Rule: rule, Event: event, Mode: mode, Reason: reason}
	if one != nil {
		e.Container = one.Container
	}
	j.events = append(j.events, e)
}

// measure sets class, weight and load.
func (c *Container) measure(highCPU, highKB float64) {
	c.weight = c.MemoryKB / highKB
	c.load = max(c.CPU/highCPU, c.weight) // NaN where either is
	c.class = ""
	switch {
	case c.CPU >= highCPU || c.MemoryKB >= highKB:
		c.class = record.ClassHigh
	case !math.IsNaN(c.load):
		c.class = record.ClassLow
	}
}

// exempt says why the container takes no part, "" where it does.
func (p *Policy) exempt(c *Container) string {
	switch {
	case c.Consent.Unread != "":
		return "its label " + c.Consent.Unread + " cannot be read"
	case c.Consent.Protected:
		return "protected by its label winnow.protect=true"
	case !c.Labelled:
		return "its labels are not known"
	case !c.Consent.Managed && !p.All:
		return "not labelled winnow.managed=true"
	}
	for _, match := range p.Protect {
		if match.holds(c) {
			return "protected by the policy, " + match.String()
		}
	}
	return ""
}

// unrated says what is not known of a container's use that must be to judge it.
func (p *Policy) unrated(c *Container) string {
	spanMS := float64(p.Span) / float64(time.Millisecond)
	switch {
	case math.IsNaN(c.CPU):
		return "too new, it has no cpu rate yet"
	case p.Span > 0 && math.IsNaN(c.SpanMS):
		return "the span of its cpu rate is not known"
	case c.SpanMS < spanMS:
		return "its cpu rate is over " + figureText(c.SpanMS/1000) + " s, less than " + plainNumber(p.Span.Seconds()) + " s"
	case math.IsNaN(c.load):
		return "its share of the memory is not known"
	case p.Plain && byTime(p.Rules[0].Order) && c.Created.IsZero():
		return "its time of creation is not known"
	}
	return ""
}

func byTime(order string) bool { return order == "newest" || order == "oldest" }

// rule lets one rule judge.
func (j *judge) rule(n int) {
	r := &j.policy.Rules[n]
	ofHost := r.hostFails(j.snapshot)
	groups := newGroups(r)
	for _, one := range j.cases {
		if !one.takesPart(r) || !one.life.matches(r, n, one.Container) {
			j.step(one, n, false)
			continue
		}
		o := outcome{stage: failing, rule: r, why: ofHost}
		holds := ofHost == nil && r.hoursHold(j.snapshot)
		if holds {
			o.why = r.fails(one.Container, j.snapshot)
			holds = o.why == nil && !(byTime(r.Order) && one.Created.IsZero()) && !r.outlives(one.Container, j.snapshot)
		}
		o.held = j.step(one, n, holds)
		one.note(o)
		if gone := r.Mode == ModeEnforce && one.gone || r.Mode == ModeDry && one.goneDry; holds && !gone {
			groups.add(one, one.life.at(n))
		}
	}
	for _, g := range groups.all {
		j.group(n, g)
	}
	for _, one := range j.cases {
		j.withdraw(one, n)
	}
}

// group decides on those of a group whose conditions hold.
func (j *judge) group(n int, g *group) {
	r := &j.policy.Rules[n]
	g.order(r, j.snapshot.TotalKB)
	var dying *oneCase // who was condemned, and is there still
	for i := len(g.members) - 1; i >= 0; i-- {
		one, st := g.members[i].oneCase, g.members[i].state
		o := outcome{stage: staying, rule: r, rank: i + 1, group: g}
		if st != nil {
			o.held, o.due = st.Held, st.KillAt
		}
		switch {
		case i < g.keep:
		case dying != nil && !one.life.counted:
			o.stage, o.dying = limited, dying
		case r.For > 0 && st.Held < r.For:
			o.stage = waiting
		case r.Notice > 0 && st.KillAt.IsZero():
			o.stage, o.due, o.begin = warned, j.snapshot.Time.Add(r.Notice), st
		case r.Notice > 0 && (j.memory.at < st.Due || j.snapshot.Time.Before(st.KillAt)):
			o.stage = warned
		case j.stillThere(one, n):
			dying = one
			o.stage, one.goneDry, one.gone = condemned, true, true
		case !j.within(one, n, &o):
			o.stage = limited
		default:
			o.stage = condemned
			one.goneDry = true
			one.gone = one.gone || r.Mode == ModeEnforce
		}
		if st != nil && i >= g.keep {
			st.Stood = j.memory.at
		}
		if r.Mode == ModeDry && o.stage >= warned {
			o.stage += wouldWarn - warned
		}
		one.note(o)
	}
}

// takesPart tells whether all is known of it that the rule goes by.
func (one *oneCase) takesPart(r *Rule) bool {
	return one.exempt == "" && (one.unrated == "" || r.byMemoryAlone() && !math.IsNaN(one.weight))
}

// byMemoryAlone tells whether the rule can judge a container that has no rate yet: one
// that takes the host's memory right after its start is not to be waited for.
func (r *Rule) byMemoryAlone() bool {
	cpu := r.KeepCPU != nil || slices.ContainsFunc(r.Conditions, func(c Condition) bool { return c.Key == "cpu" })
	return r.Order == "memory" && r.Class == "" && !cpu
}

// longestEnd is how long the next waits for the memory of who was condemned: one that
// cannot be killed holds it up no longer.
const longestEnd = 30 * time.Second

// stillThere tells whether a rule that goes by the host has condemned the container
// before, so that the host is as it is because its end takes long.
func (j *judge) stillThere(one *oneCase, n int) bool {
	r := &j.policy.Rules[n]
	return r.oneByOne() && one.life.counted && j.memory.at < j.memory.rules[n].Most.Until
}

// oneByOne tells whether it depends on the end of one container who goes next.
func (r *Rule) oneByOne() bool {
	return r.Mode == ModeEnforce && !r.Most.none() && slices.ContainsFunc(r.Conditions, func(c Condition) bool { return c.ofHost() })
}

// within counts a condemnation, unless a bound is reached. A container counts
// once.
func (j *judge) within(one *oneCase, n int, o *outcome) bool {
	r, m := &j.policy.Rules[n], j.memory
	counted, all := &one.life.counted, &m.Most
	if r.Mode == ModeDry {
		counted, all = &one.life.countedDry, &m.MostDry
	}
	if *counted {
		return true
	}
	own := &m.rules[n].Most
	for _, w := range []struct {
		window *window
		most   Most
		rule   string
	}{{own, r.Most, r.Name}, {all, j.policy.Most, ""}} {
		if w.most.none() || w.window.room(w.most, m.at) {
			continue
		}
		if o.most = w.most; !w.window.Said {
			w.window.Said = true
			j.event(nil, w.rule, record.RuleLimited, r.Mode, fmt.Sprintf("the bound of %s is reached: the next is condemned from %s on",
				w.most, j.snapshot.Time.Add(w.window.wait(w.most, m.at)).UTC().Format(time.RFC3339)))
		}
		return false
	}
	own.count(r.Most, m.at)
	if all.count(j.policy.Most, m.at); r.Mode == ModeEnforce {
		m.MostDry.count(j.policy.Most, m.at) // a dry rule judges as if all were enforced
	}
	if r.oneByOne() {
		own.Until = m.at + int64(longestEnd)
	}
	*counted, m.urgent = true, true
	if st := one.life.at(n); st != nil {
		st.Condemned = true
	}
	if j.memory.Replay {
		one.life.gone, one.life.goneDry = one.life.gone || r.Mode == ModeEnforce, true
	}
	return true
}

// step tells a rule's memory of a container whether the conditions hold, and
// returns for how long they have.
func (j *judge) step(one *oneCase, n int, holds bool) time.Duration {
	r, st := &j.policy.Rules[n], one.life.at(n)
	if st == nil {
		if !holds || !r.patient() {
			return 0
		}
		st = one.life.add(n, len(j.policy.Rules))
	}
	if one.gone || one.goneDry { // what other rules make of it is no failure of this one's notice
		st.Stood = j.memory.at
	}
	st.step(holds, j.memory, r.Forgive)
	return st.Held
}

// withdraw ends a notice whose reason has been gone for longer than is forgiven.
func (j *judge) withdraw(one *oneCase, n int) {
	r, st := &j.policy.Rules[n], one.life.at(n)
	if st == nil || st.KillAt.IsZero() || j.memory.at-st.Stood <= int64(r.Forgive) && st.Begun {
		return
	}
	why := "its conditions hold no more"
	if st.Begun {
		why = "its group is within its bounds"
	}
	j.event(one, r.Name, record.RuleWithdrawn, r.Mode, why)
	st.Due, st.KillAt = 0, time.Time{}
	j.memory.urgent = true
}

// note keeps what the nearest rule says, the first of them where two come as near.
func (one *oneCase) note(o outcome) {
	sooner := o.stage == one.best.stage && !o.due.IsZero() && o.due.Before(one.best.due)
	if one.best.rule == nil || o.stage > one.best.stage || sooner {
		one.best = o
	}
}

// hostFails is the condition on the host that does not hold.
func (r *Rule) hostFails(s *Snapshot) *Condition {
	if r.Cause != "" && r.Cause != s.Cause {
		return &otherCause
	}
	for i := range r.Conditions {
		if c := &r.Conditions[i]; c.ofHost() && !c.holds(s.figure(c)) {
			return c
		}
	}
	return nil
}

func (r *Rule) hoursHold(s *Snapshot) bool { return r.Hours == nil || r.Hours.hold(s.Time) }

// fails is the condition on the container that does not hold.
func (r *Rule) fails(c *Container, s *Snapshot) *Condition {
	if r.Class != "" && r.Class != c.class {
		return &otherClass
	}
	for i := range r.Conditions {
		if k := &r.Conditions[i]; !k.ofHost() && !k.holds(c.figure(k, s)) {
			return k
		}
	}
	return nil
}

// otherClass and otherCause stand for the class and the cause in place of a
// condition that fails.
var (
	otherClass = Condition{Key: "class"}
	otherCause = Condition{Key: "cause"}
)

// outlives tells whether the container has not reached the age of its own label.
func (r *Rule) outlives(c *Container, s *Snapshot) bool {
	return r.TTL && (c.Created.IsZero() || s.Time.Sub(c.Created) <= c.Consent.TTL)
}

func (c *Condition) ofHost() bool { return len(c.Key) > 5 && c.Key[:5] == "host_" }

// figure is what the condition compares, in its unit; NaN where it is not known.
func (s *Snapshot) figure(c *Condition) float64 {
	switch c.Key {
	case "host_available":
		if c.Unit == ofHost {
			return 100 * s.AvailableKB / known(s.TotalKB)
		}
		return s.AvailableKB
	case "host_memory_pressure":
		return s.MemoryPressure
	case "host_cpu_pressure":
		return s.CPUPressure
	case "host_memory_stall":
		return s.MemoryStall
	case "host_cpu_stall":
		return s.CPUStall
	case "host_io_stall":
		return s.IOStall
	}
	return s.IOPressure
}

func (c *Container) figure(k *Condition, s *Snapshot) float64 {
	switch {
	case k.Key == "age":
		if c.Created.IsZero() {
			return math.NaN()
		}
		return s.Time.Sub(c.Created).Seconds()
	case k.Key == "cpu" && k.Unit == ofLimit:
		return 100 * c.CPU / known(c.CPULimit)
	case k.Key == "cpu":
		return c.CPU
	case k.Unit == ofLimit:
		return 100 * c.MemoryKB / known(c.MemoryLimitKB)
	case k.Unit == ofHost:
		return 100 * c.MemoryKB / known(s.TotalKB)
	}
	return c.MemoryKB
}
