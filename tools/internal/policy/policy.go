// Package policy is the decision over containers: a policy, what it remembers of
// the snapshots before, and one function from a snapshot and both to verdicts and
// to what is remembered next. It opens nothing, and knows no clock but the
// snapshots' own.
//
//	parse.go     a policy file, in TOML, and what is wrong with one
//	quantity.go  sizes, shares, durations, hours and comparisons as a file has them
//	match.go     which containers a rule is about
//	judge.go     a snapshot -> verdicts
//	group.go     who of a rule's groups goes first, and who stays
//	memory.go    what is remembered, and its file
//	read.go      a snapshot from its lines
//	reason.go    verdicts and policies in words
package policy

import (
	"time"

	"winnow/tools/internal/record"
)

// The modes of a Rule.
const (
	ModeEnforce = "enforce"
	ModeDry     = "dry"
)

// orders are the values of Rule.Order: who goes first. The heaviest and lightest
// are so by the nearer of the two thresholds of Class.
var orders = []string{"heaviest", "lightest", "memory", "cpu", "newest", "oldest"}

// Policy is what a file says, or the flags of classify.
type Policy struct {
	Class   Class
	Span    time.Duration // over how long a CPU rate must be for its container to take part; 0 is any
	All     bool          // containers that did not opt in take part too
	Gap     time.Duration // a longer pause between two snapshots was not seen
	Most    Most          // new condemnations over all rules
	Protect []Match
	Rules   []Rule // each judges, in their order

	Plain bool // made of flags: one rule for each class, of which reasons don't tell the name
}

// Class says from which use on a container is high.
type Class struct {
	CPU    float64 // percent of a core
	Memory Amount
}

// Rule says who of those that it matches goes, and when.
type Rule struct {
	Name       string
	Mode       string
	Match      Match
	Class      string // low or high; "" is either
	Cause      string // of the snapshot: clock, available or pressure; "" is any
	Conditions []Condition
	Hours      *Hours
	TTL        bool // the container is older than its own label winnow.ttl says

	For, Forgive time.Duration
	Per          string // label=KEY, image, or "": one group
	Keep         int
	KeepMemory   *Amount // budgets: as many stay as fit, and no fewer than Keep
	KeepCPU      *Amount
	Order        string
	Notice       time.Duration
	Most         Most
	Grace        *time.Duration // nil is the one that killctr has

	text string // as it was understood, by which one that changed is known
}

// Most bounds new condemnations: Count within Within. The zero Most is no bound.
type Most struct {
	Count  int
	Within time.Duration
}

func (m Most) none() bool { return m == Most{} }

// Snapshot is what a policy judges at a time. Numbers that are not known are NaN.
type Snapshot struct {
	Host, Boot  string
	Time        time.Time
	TotalKB     float64
	AvailableKB float64
	// The share of the last 10 s in which some task waited, in percent.
	CPUPressure, MemoryPressure, IOPressure float64
	// The share of the time since the snapshot before, likewise.
	CPUStall, MemoryStall, IOStall float64
	Cause                          string // why it was taken, "" where that is not known
	Containers                     []*Container
}

// Container is one of a snapshot's. Numbers that are not known are NaN.
type Container struct {
	ID, Name, Image, Engine string
	PID                     int
	AtNS                    int64 // when it was measured, since the host's boot; 0 where that is not known
	CPU, MemoryKB           float64
	CPUNS                   float64
	SpanMS                  float64 // that CPU is taken over
	MemoryLimitKB, CPULimit float64
	Labelled                bool // its labels are known
	Consent                 record.Consent
	Labels                  map[string]string // those that the policy asks for
	Created                 time.Time         // zero where it is not known

	class  string
	weight float64 // how many times the class's threshold of memory it uses
	load   float64 // how many times the nearer of both thresholds
}

// Verdict is what is to become of a container.
type Verdict struct {
	Class   string // "" where it is not known
	Verdict string // record.VerdictKeep, VerdictWarn or VerdictKill
	Would   string // what a rule in dry mode would have said, "" where none did
	Rule    string // whose verdict this is, or which came nearest
	Rank    int    // among those of its group, 1 is the last to go; 0 where it is in none
	Reason  string
	KillAt  time.Time
	Grace   *time.Duration
}

// Event is what a rule says besides the verdicts, as a line of type rule.
type Event struct {
	Container *Container // nil where it is about none
	Rule      string     // "" where it is about all
	Event     string     // record.RuleWithdrawn, RuleLimited
	Mode      string
	Reason    string
}
