// Package record is the contract of the pipe: the types of the lines that
// winnow's tools write, and the reader and the editor of the lines that they
// pass on.
//
// A stream is JSON Lines in UTF-8, one object a line. Names are snake_case and
// carry their unit; times are RFC 3339 in UTC. Fields are only ever added. A
// nil pointer stands for null: not known.
package record

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"
)

// The values of Header.Type.
const (
	TypeHost      = "host"
	TypeContainer = "container"
	TypeProcess   = "process"
	TypeEnd       = "end"
	TypeKill      = "kill"
	TypeRule      = "rule"
	TypeStage     = "stage"
)

// The values of Host.Source: where a snapshot was read.
const (
	SourceModule  = "module"
	SourceCgroup2 = "cgroup2"
	SourceCgroup1 = "cgroup1"
	SourceFile    = "file"
)

// The values of Host.Cause.
const (
	CauseClock     = "clock"     // it was time, or it was asked for
	CauseAvailable = "available" // little memory was available
	CausePressure  = "pressure"  // tasks waited, by a trigger of the kernel's
)

// The values of Container.Engine.
const (
	EngineDocker     = "docker"
	EnginePodman     = "podman"
	EngineContainerd = "containerd"
	EngineCRIO       = "crio"
)

// The values of Container.Class.
const (
	ClassLow  = "low"
	ClassHigh = "high"
)

// The values of Container.Verdict.
const (
	VerdictKeep = "keep"
	VerdictWarn = "warn"
	VerdictKill = "kill"
)

// The values of Kill.Result.
const (
	ResultKilled    = "killed"    // stopped, and seen to be gone
	ResultGone      = "gone"      // was no longer running when its turn came
	ResultStale     = "stale"     // the sample is too old, or the container restarted since
	ResultProtected = "protected" // its labels do not allow it
	ResultDryRun    = "dry_run"   // would have been killed
	ResultFailed    = "failed"    // Error says why
)

// The values of Rule.Event.
const (
	RuleWithdrawn = "withdrawn" // the notice of a container that had one
	RuleLimited   = "limited"   // so many were condemned that the next must wait
	RuleUnread    = "unread"    // a label of winnow's cannot be read, and protects
)

// The labels by which a container takes part in winnow.
const (
	LabelPrefix  = "winnow."
	LabelManaged = "winnow.managed" // "true": may be judged and killed
	LabelProtect = "winnow.protect" // "true": is never killed, whatever else is said
	LabelTTL     = "winnow.ttl"     // the age, such as 2h, at which a policy lets it go
	LabelKind    = "winnow.kind"    // a word for people, which nothing reads
	LabelAs      = "winnow.as"      // of logd: what it was started with
	LabelState   = "winnow.state"   // of logd: the directory of its winnow
	LabelTest    = "winnow.test"    // of a test container: the name of the winnow that started it
)

// Header begins every line.
type Header struct {
	Type     string    `json:"type"`     // what the line is
	Time     time.Time `json:"time"`     // when the snapshot was taken, UTC; of a kill, when it ended
	Host     string    `json:"host"`     // the host's name
	Snapshot string    `json:"snapshot"` // the same for all lines of one snapshot, unique on its host
}

// Host is the first line of a snapshot.
type Host struct {
	Header
	Source     string `json:"source"`      // module, cgroup2, cgroup1 or file: what served
	BootID     string `json:"boot_id"`     // the host's boot, which at_ns counts from
	Containers int    `json:"containers"`  // how many container lines follow
	CPUs       int    `json:"cpus"`        // cores online
	IntervalMS *int64 `json:"interval_ms"` // the span of the rates of all that ran throughout
	Cause      string `json:"cause"`       // clock, available or pressure: why it was taken now

	TotalMemoryKB     uint64 `json:"total_memory_kb"`     // that the kernel has
	FreeMemoryKB      uint64 `json:"free_memory_kb"`      // used for nothing
	UsedMemoryKB      uint64 `json:"used_memory_kb"`      // total less free
	AvailableMemoryKB uint64 `json:"available_memory_kb"` // that could be had without swapping

	// The share of the last 10 s in which some task waited, from
	// /proc/pressure; null where the kernel has no PSI.
	CPUPressurePercent    *float64 `json:"cpu_pressure_percent"`
	MemoryPressurePercent *float64 `json:"memory_pressure_percent"`
	IOPressurePercent     *float64 `json:"io_pressure_percent"`

	// The share of the time since the snapshot before in which some task waited,
	// from the totals in /proc/pressure; null without PSI or a snapshot before.
	CPUStallPercent    *float64 `json:"cpu_stall_percent"`
	MemoryStallPercent *float64 `json:"memory_stall_percent"`
	IOStallPercent     *float64 `json:"io_stall_percent"`
}

// Container is one running container. A nil pointer is printed as null; the
// fields that a later stage adds are left out until it has.
type Container struct {
	Header
	ID               string   `json:"id"`                // 64 hex digits
	Engine           string   `json:"engine"`            // docker, podman, containerd or crio, by the name of its cgroup
	PID              int      `json:"pid"`               // its first process, as the host numbers it
	Process          string   `json:"process"`           // that one's name
	Cmdline          *string  `json:"cmdline"`           // that one's; null where it could not be had without waiting
	CmdlineTruncated bool     `json:"cmdline_truncated"` // there was more than is shown
	Processes        int      `json:"processes"`         // how many it has
	MemoryKB         uint64   `json:"memory_kb"`         // usage less inactive file cache
	MemoryLimitKB    *uint64  `json:"memory_limit_kb"`   // null without a limit of its own
	RSSKB            uint64   `json:"rss_kb"`            // resident, summed over its processes
	VSZKB            uint64   `json:"vsz_kb"`            // mapped, summed over its processes
	MemoryPercent    float64  `json:"memory_percent"`    // memory_kb of the host's total
	CPUNS            uint64   `json:"cpu_ns"`            // since it started, exited processes included
	AtNS             *int64   `json:"at_ns"`             // when cpu_ns was read, since the host's boot
	CPUPercent       *float64 `json:"cpu_percent"`       // 100 is one core; null in a first sample
	IntervalMS       *int64   `json:"interval_ms"`       // the span that cpu_percent is taken over; null with it
	CPULimitPercent  *float64 `json:"cpu_limit_percent"` // null without a limit of its own

	// Added by namectr, from Docker.
	Name    string            `json:"name,omitempty"`    // as docker ps shows it
	Image   string            `json:"image,omitempty"`   // that it was made from
	Labels  map[string]string `json:"labels,omitzero"`   // an empty map is known to be empty
	Created *time.Time        `json:"created,omitempty"` // when it was made

	// Added by classify. It writes null for a class that is not known yet,
	// and for the rank of a container that takes no part.
	Class   string `json:"class,omitempty"`   // low or high
	Verdict string `json:"verdict,omitempty"` // keep, warn or kill
	Reason  string `json:"reason,omitempty"`  // of the verdict, for people
	Rank    int    `json:"rank,omitempty"`    // 1 is the last of its class, or of its rule's group, to be killed

	// Added by classify with a policy file, where they say something.
	Rule    string     `json:"rule,omitempty"`     // whose verdict it is, or that came nearest
	Would   string     `json:"would,omitempty"`    // warn or kill: what the rule would have said, were it not dry
	KillAt  *time.Time `json:"kill_at,omitempty"`  // of a warning: it is killed in the first snapshot from then on in which all still holds
	GraceMS *int64     `json:"grace_ms,omitempty"` // of a kill: between SIGTERM and SIGKILL, in place of killctr's --grace
}

// Process is one process of a container, with readsysinfo --processes.
type Process struct {
	Header
	ID               string   `json:"id"`                // its container's
	PID              int      `json:"pid"`               // as the host numbers it
	Name             string   `json:"name"`              // up to 15 bytes, as the kernel keeps it
	State            string   `json:"state"`             // the letter of /proc/PID/stat
	Cmdline          *string  `json:"cmdline"`           // null where it could not be had without waiting
	CmdlineTruncated bool     `json:"cmdline_truncated"` // there was more than is shown
	VSZKB            uint64   `json:"vsz_kb"`            // mapped
	RSSKB            uint64   `json:"rss_kb"`            // resident
	MemoryPercent    float64  `json:"memory_percent"`    // rss_kb of the host's total
	CPUNS            *uint64  `json:"cpu_ns"`            // since it started; null where it has too many threads to count
	CPUPercent       *float64 `json:"cpu_percent"`       // 100 is one core; null in a first sample
}

// End is the last line of a snapshot, by which one that was cut short is known.
type End struct {
	Header
	Lines int `json:"lines"` // how many host, container and process lines of the snapshot came before it
}

// Stage is one process of the pipeline that the snapshot comes from, with
// readsysinfo --stages: of the process group that readsysinfo is in. Such lines
// come once a minute, before the line of the host.
type Stage struct {
	Header
	Name         string    `json:"name"`           // up to 15 bytes, as the kernel keeps it
	PID          int       `json:"pid"`            // as the host numbers it
	Started      time.Time `json:"started"`        // UTC, to the second
	CPUNS        uint64    `json:"cpu_ns"`         // since it started, in steps of 10 ms
	MemoryKB     uint64    `json:"memory_kb"`      // resident
	MemoryPeakKB *uint64   `json:"memory_peak_kb"` // the most that ever was resident; null where that is not told
}

// Rule is what a rule of the policy says besides the verdicts.
type Rule struct {
	Header
	Rule   string `json:"rule"`   // its name, "" where it is about all rules
	Event  string `json:"event"`  // withdrawn, limited or unread
	Mode   string `json:"mode"`   // enforce or dry
	ID     string `json:"id"`     // the container's, "" where it is about none
	Name   string `json:"name"`   // the container's
	Reason string `json:"reason"` // for people
}

// Kill is what became of one verdict kill.
type Kill struct {
	Header
	// The container's.
	ID    string `json:"id"`
	Name  string `json:"name"`
	Image string `json:"image"`
	Class string `json:"class"`

	Reason string `json:"reason"`  // the verdict's
	Result string `json:"result"`  // killed, gone, stale, protected, dry_run or failed
	Signal string `json:"signal"`  // the one that ended it, "" where none did
	TookMS int64  `json:"took_ms"` // from the first question to Docker to the last
	Error  string `json:"error"`   // why it was not killed, "" where it was

	Follows string `json:"follows,omitempty"` // what else its end brings, such as that it comes back
}

// Set makes a member with a value that is encoded as Marshal does.
func Set(name string, v any) (Member, error) {
	value, err := Marshal(v)
	return Raw(name, string(bytes.TrimSuffix(value, []byte{'\n'}))), err
}

// Text makes a member whose value is a text. Few texts need an escape.
func Text(name, text string) Member {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			m, err := Set(name, text)
			if err != nil {
				panic(err) // a string can always be encoded
			}
			return m
		}
	}
	return Raw(name, `"`+text+`"`)
}

// Marshal encodes v as one line with its newline.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := NewEncoder(&b).Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// NewEncoder makes one that writes each value as a line. Unlike json.Marshal it
// leaves <, > and & as they are: the lines are read by people too.
func NewEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}
