package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"winnow/tools/internal/record"
)

// stateVersion is the one of the memory's file.
const stateVersion = 1

// Memory is what a policy remembers of one host between its snapshots. It holds
// nothing of a container that has ended. The zero Memory remembers nothing.
type Memory struct {
	// Replay is set where the past is judged: whom a rule condemns counts as gone
	// until it ended.
	Replay bool

	clock string // the host's boot, or that there is none to tell
	at    int64  // the snapshot's time on that clock, in ns
	step  int64  // since the one before it, as far as that was seen
	pause int64  // the same, whether seen or not
	usual int64  // between two that followed each other and were both of the clock; 0 before there are two
	alarm bool   // the last one was none of the clock's

	Most, MostDry window // of the limits over all rules
	rules         []ruleMemory
	lives         map[string]*life
	keeps         bool // lives are needed
	lost          bool // there was a memory that could not be read
	blind         bool // then: what pauses are usual is not known
	crashed       bool // nor in the snapshot after the next: that memory was of a while before the crash
	generation    uint64
	policy        *Policy
	dropped       []dropped
	none          life

	urgent bool       // the last judgement changed what must not be forgotten
	begun  []*oneCase // notices of the last judgement, which count once they are told
}

// ruleMemory is what is remembered of a rule: of another text it is forgotten.
type ruleMemory struct {
	Name, Text string
	Most       window
}

// life is what is remembered of a container.
type life struct {
	pid                 int
	cpuNS               float64
	reported            bool // that a label cannot be read
	counted, countedDry bool // as a condemnation
	gone, goneDry       bool // in a replay
	states              []*state
	matched             []int8 // of each rule: 1 yes, -1 no, 0 not looked at
	name, image         string // that matched is of
	generation          uint64
}

// state is a rule's patience with a container. Times are on the memory's clock.
type state struct {
	Begun     bool          // the conditions hold, or failed for no longer than is forgiven
	LastHeld  int64         // when they last did
	Held      time.Duration // between snapshots in both of which they did
	Stood     int64         // when there was last a reason for the notice
	Due       int64         // when the notice is over
	KillAt    time.Time     // the same as the snapshots tell the time; zero without a notice
	Condemned bool
}

// dropped is a notice that was forgotten, which has to be told.
type dropped struct{ id, rule, mode, why string }

// window is when the latest condemnations were.
type window struct {
	Times []int64
	Said  bool  // that the bound is reached
	Until int64 `json:",omitempty"` // until then the next waits for who was condemned to be gone
}

func (w *window) room(m Most, at int64) bool {
	for len(w.Times) > 0 && at-w.Times[0] >= int64(m.Within) {
		w.Times = w.Times[1:]
	}
	if len(w.Times) >= m.Count {
		return false
	}
	w.Said = false
	return true
}

// wait is how long it takes until there is room.
func (w *window) wait(m Most, at int64) time.Duration {
	return time.Duration(w.Times[len(w.Times)-m.Count] + int64(m.Within) - at)
}

func (w *window) count(m Most, at int64) {
	if !m.none() {
		w.Times = append(w.Times, at)
	}
}

// fill is a window in which nothing has room.
func (w *window) fill(m Most, at int64) {
	for range m.Count {
		w.count(m, at)
	}
}

func (r *Rule) patient() bool { return r.For > 0 || r.Notice > 0 }

// remembers tells whether the policy needs to know the snapshots before.
func (p *Policy) remembers() bool {
	for i := range p.Rules {
		if p.Rules[i].patient() || !p.Rules[i].Most.none() {
			return true
		}
	}
	return !p.Plain || !p.Most.none()
}

// Urgent tells what is to be kept at once of what the last judgement changed: what
// would condemn someone earlier or beyond a bound if it were forgotten, before
// the verdicts go out; and the notices that began, once their warnings are out.
// Patience alone is neither: to forget some of it only delays.
func (m *Memory) Urgent() (before, after bool) { return m.urgent, len(m.begun) > 0 }

// Told says that the warnings of the last judgement are out, so their notices count.
// The next judgement takes it for granted.
func (m *Memory) Told() {
	for _, one := range m.begun {
		o := &one.best
		o.begin.KillAt, o.begin.Due = o.due, m.at+int64(o.rule.Notice)
	}
	m.begun = nil
}

// begin takes in a snapshot's time, and the policy where it is another.
func (m *Memory) begin(p *Policy, s *Snapshot) {
	m.Told()
	m.urgent = false
	m.keeps = m.Replay || p.remembers()
	if m.policy != p {
		m.adopt(p)
	}
	clock, at := "", s.Time.UnixNano()
	for _, c := range s.Containers {
		if c.AtNS > 0 && s.Boot != "" {
			if clock == "" {
				clock, at = s.Boot, 0
			}
			at = max(at, c.AtNS)
		}
	}
	m.generation++
	switch {
	case clock != m.clock || at < m.at: // nothing of before can be compared
		for id, l := range m.lives {
			m.forget(id, l, "the clock that it was counted by began anew")
		}
		m.clock, m.step, m.pause, m.usual = clock, 0, 0, 0
		m.rebase(at)
	default:
		pause := at - m.at
		m.step = pause
		if m.blind || pause > int64(p.Gap) || m.usual > 0 && pause > 2*m.usual {
			m.step = 0
		}
		if !m.alarm && !s.alarm() { // what an alarm adds between two beats makes no beat shorter
			m.usual = pause
		}
		m.pause, m.blind, m.crashed = pause, m.crashed, false
	}
	m.at, m.alarm = at, s.alarm()
	if m.lost {
		m.lost, m.blind = false, true
		m.Most.fill(p.Most, at)
		m.MostDry.fill(p.Most, at)
		for i := range m.rules {
			m.rules[i].Most.fill(p.Rules[i].Most, at)
		}
	}
}

// alarm tells whether the snapshot was taken between the beats of the clock.
func (s *Snapshot) alarm() bool {
	return s.Cause == record.CauseAvailable || s.Cause == record.CausePressure
}

// rebase moves what was condemned of late to another clock, as if it were just
// now: so the bounds are kept.
func (m *Memory) rebase(at int64) {
	windows := []*window{&m.Most, &m.MostDry}
	for i := range m.rules {
		windows = append(windows, &m.rules[i].Most)
	}
	for _, w := range windows {
		for i := range w.Times {
			w.Times[i] = at
		}
		w.Until = 0
	}
}

// adopt takes on a policy: rules that it has alike keep their memory.
func (m *Memory) adopt(p *Policy) {
	rules := make([]ruleMemory, len(p.Rules))
	from := make([]int, len(p.Rules)) // where each was; -1 where it is new
	kept := make(map[int]bool)
	for i := range p.Rules {
		from[i] = -1
		for k := range m.rules {
			if m.rules[k].Name == p.Rules[i].Name && m.rules[k].Text == p.Rules[i].text {
				from[i], rules[i], kept[k] = k, m.rules[k], true
			}
		}
		rules[i].Name, rules[i].Text = p.Rules[i].Name, p.Rules[i].text
	}
	for id, l := range m.lives {
		old := l.states
		l.states, l.matched = nil, nil
		for k, st := range old {
			if st != nil && !kept[k] && !st.KillAt.IsZero() {
				m.dropped = append(m.dropped, dropped{id, m.rules[k].Name, m.modeOf(k), "the rule was changed"})
			}
		}
		for i, k := range from {
			if k >= 0 && k < len(old) && old[k] != nil {
				*l.add(i, len(p.Rules)) = *old[k]
			}
		}
	}
	m.urgent = m.urgent || len(kept) < len(m.rules)
	m.rules, m.policy = rules, p
}

func (m *Memory) modeOf(k int) string {
	if m.policy != nil && k < len(m.policy.Rules) {
		return m.policy.Rules[k].Mode
	}
	return ModeEnforce
}

// life is what is remembered of a container. Of one that was started anew it is
// nothing.
func (m *Memory) life(c *Container) *life {
	if !m.keeps {
		return &m.none
	}
	l := m.lives[c.ID]
	if l == nil {
		if m.lives == nil {
			m.lives = make(map[string]*life)
		}
		l = &life{}
		m.lives[c.ID] = l
	} else if c.PID != l.pid || c.CPUNS < l.cpuNS {
		m.forget(c.ID, l, "it was started anew")
		*l = life{reported: l.reported, matched: l.matched, name: l.name, image: l.image}
	}
	l.pid, l.cpuNS, l.generation = c.PID, c.CPUNS, m.generation
	if math.IsNaN(c.CPUNS) {
		l.cpuNS = 0
	}
	return l
}

// forget drops the patience of all rules with a container, and notes the notices
// among it.
func (m *Memory) forget(id string, l *life, why string) {
	m.urgent = m.urgent || len(l.states) > 0
	for k, st := range l.states {
		if st != nil && !st.KillAt.IsZero() {
			m.dropped = append(m.dropped, dropped{id, m.rules[k].Name, m.modeOf(k), why})
		}
	}
	l.states = nil
}

// sweep forgets the containers that were not in the snapshot.
func (m *Memory) sweep() {
	for id, l := range m.lives {
		if l.generation != m.generation {
			m.urgent = m.urgent || len(l.states) > 0 || l.counted || l.countedDry
			delete(m.lives, id)
		}
	}
}

func (l *life) at(rule int) *state {
	if rule < len(l.states) {
		return l.states[rule]
	}
	return nil
}

func (l *life) add(rule, rules int) *state {
	if len(l.states) < rules {
		l.states = append(l.states, make([]*state, rules-len(l.states))...)
	}
	l.states[rule] = new(state)
	return l.states[rule]
}

// matches tells whether the rule is about the container, which does not change
// unless its name does.
func (l *life) matches(r *Rule, n int, c *Container) bool {
	if r.TTL {
		return c.Consent.TTL > 0
	}
	if len(r.Match) == 0 {
		return true
	}
	if l.name != c.Name || l.image != c.Image {
		l.name, l.image, l.matched = c.Name, c.Image, nil
	}
	for n >= len(l.matched) {
		l.matched = append(l.matched, 0)
	}
	if l.matched[n] == 0 {
		l.matched[n] = -1
		if r.Match.holds(c) {
			l.matched[n] = 1
		}
	}
	return l.matched[n] > 0
}

// step takes in whether the conditions hold at the memory's time.
func (st *state) step(holds bool, m *Memory, forgive time.Duration) {
	switch {
	case holds && !st.Begun:
		st.Begun, st.Held, st.LastHeld = true, 0, m.at
	case holds:
		if st.LastHeld == m.at-m.pause { // it held in the snapshot before
			st.Held += time.Duration(m.step)
		}
		st.LastHeld = m.at
	case st.Begun && m.at-st.LastHeld > int64(forgive):
		st.Begun, st.Held, st.Condemned = false, 0, false
		m.urgent = true
	}
}

// Memories are those of the hosts of a stream. The zero Memories remember nothing.
type Memories struct {
	Replay bool   // as Memory's
	Policy string // the text of the policy's file that was in force last
	Open   bool   // its file is of the middle of a stream: who reads it knows that there was a crash
	hosts  map[string]*Memory
	lost   bool // what there was could not be read
}

// fileState is a Memory as it is kept in a file.
type fileState struct {
	Host, Clock   string
	At, Step      int64
	Pause, Usual  int64
	Alarm         bool `json:",omitempty"`
	Blind         bool `json:",omitempty"`
	Most, MostDry window
	Rules         []ruleMemory
	Lives         map[string]fileLife
}

type fileLife struct {
	PID                           int
	CPUNS                         float64
	Reported, Counted, CountedDry bool           `json:",omitempty"`
	Gone, GoneDry                 bool           `json:",omitempty"`
	States                        map[int]*state `json:",omitempty"`
}

// fileBody is what follows the head.
type fileBody struct {
	Policy string
	Open   bool `json:",omitempty"`
	Hosts  []fileState
}

// head is the first line of a memory's file: what follows it is checked by it.
type head struct {
	Type    string `json:"type"`
	Version int    `json:"version"`
	Bytes   int    `json:"bytes"`
	CRC32C  string `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is a memory that is not whole. All begins anew, and every bound on
// condemnations counts as reached just now.
var ErrDamaged = errors.New("is not whole")

// ErrNewer is a memory that a newer winnow wrote.
var ErrNewer = errors.New("was written by a newer winnow")

// Encode is the memories as a file has them, without the notices that are not Told.
func (all *Memories) Encode() ([]byte, error) {
	out := fileBody{Policy: all.Policy, Open: all.Open}
	for _, host := range slices.Sorted(maps.Keys(all.hosts)) {
		m := all.hosts[host]
		f := fileState{Host: host, Clock: m.clock, At: m.at, Step: m.step, Pause: m.pause, Usual: m.usual, Alarm: m.alarm, Blind: m.blind, Most: m.Most, MostDry: m.MostDry, Rules: m.rules, Lives: map[string]fileLife{}}
		for id, l := range m.lives {
			one := fileLife{PID: l.pid, CPUNS: l.cpuNS, Reported: l.reported, Counted: l.counted, CountedDry: l.countedDry, Gone: l.gone, GoneDry: l.goneDry}
			for n, st := range l.states {
				if st != nil && *st != (state{}) {
					if one.States == nil {
						one.States = map[int]*state{}
					}
					one.States[n] = st
				}
			}
			f.Lives[id] = one
		}
		out.Hosts = append(out.Hosts, f)
	}
	body, err := record.Marshal(out)
	if err != nil {
		return nil, err
	}
	first, err := record.Marshal(head{"winnow policy state", stateVersion, len(body), fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli))})
	return append(first, body...), err
}

// Decode reads what Encode wrote. Where the error is ErrDamaged the memories are
// such as make no condemnation earlier than the whole ones would have.
func Decode(text []byte) (*Memories, error) {
	first, body, _ := bytes.Cut(text, []byte{'\n'})
	var h head
	if err := json.Unmarshal(first, &h); err == nil && h.Version > stateVersion {
		return nil, fmt.Errorf("%w: version %d, not %d", ErrNewer, h.Version, stateVersion)
	}
	var in fileBody
	if h.Bytes != len(body) || h.CRC32C != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) || json.Unmarshal(body, &in) != nil {
		return &Memories{lost: true}, ErrDamaged
	}
	all := &Memories{Policy: in.Policy, hosts: map[string]*Memory{}}
	for _, f := range in.Hosts {
		m := &Memory{crashed: in.Open, clock: f.Clock, at: f.At, step: f.Step, pause: f.Pause, usual: f.Usual, alarm: f.Alarm, blind: f.Blind || in.Open, Most: f.Most, MostDry: f.MostDry, rules: f.Rules, lives: map[string]*life{}}
		for id, one := range f.Lives {
			l := &life{pid: one.PID, cpuNS: one.CPUNS, reported: one.Reported, counted: one.Counted, countedDry: one.CountedDry, gone: one.Gone, goneDry: one.GoneDry}
			for n, st := range one.States {
				if n >= 0 && n < len(f.Rules) {
					*l.add(n, len(f.Rules)) = *st
				}
			}
			m.lives[id] = l
		}
		all.hosts[f.Host] = m
	}
	return all, nil
}

// Of is the memory of a host.
func (all *Memories) Of(host string) *Memory {
	m := all.hosts[host]
	if m == nil {
		if all.hosts == nil {
			all.hosts = map[string]*Memory{}
		}
		m = &Memory{lost: all.lost}
		all.hosts[host] = m
	}
	m.Replay = all.Replay
	return m
}
