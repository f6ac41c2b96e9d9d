package main

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

// maxHeld bounds the bytes of memory that a snapshot may take until it is
// whole.
const maxHeld = 64 << 20

// assembler puts the lines of a stream together to snapshots, has each judged at
// its end, and writes the lines in the order in which they came.
type assembler struct {
	decider  *decider
	out      *bufio.Writer // keeps its error until the flush
	complain func(error)
	ended    bool // there were end lines, so a snapshot without one is cut short

	header    record.Header // of the snapshot at hand
	announced int           // its container lines; -1 where that is not known
	spanMS    float64       // of its rates, where the containers do not say it
	lines     int           // of it so far: host, containers and processes
	spoilt    bool          // a line since its first could not be read
	shut      string        // why its containers are kept; "" while they can still be judged

	held    []heldLine
	judged  policy.Snapshot     // with the containers among held
	spare   []*policy.Container // of snapshots before, to be used again
	ids     map[string]bool     // of these
	size    int                 // bytes that held takes
	maxHeld int

	judgedBy *policy.Memory // whose verdicts may not be out yet
	any      bool           // was judged
}

// heldLine waits for its snapshot's end.
type heldLine struct {
	line      record.Kept
	container bool
	judged    bool // it has members that only a policy file sets, from before
}

func newAssembler(j *decider, out *bufio.Writer, complain func(error)) *assembler {
	return &assembler{decider: j, out: out, complain: complain, shut: noHost, ids: map[string]bool{}, maxHeld: maxHeld}
}

const (
	noHost     = "a snapshot without a host line"
	beganTwice = "a snapshot with more than one beginning"
)

// add takes the next line and writes all that it makes ready.
func (a *assembler) add(line *record.Line) {
	switch line.Type() {
	case record.TypeHost:
		a.addHost(line)
	case record.TypeContainer:
		a.addContainer(line)
	case record.TypeEnd:
		a.addEnd(line)
	case record.TypeProcess:
		if a.isOf(line) {
			a.lines++
		}
		a.pass(line)
	default:
		a.pass(line)
	}
}

// pass lets a line go that takes no verdict, after those before it.
func (a *assembler) pass(line *record.Line) {
	if len(a.held) > 0 {
		a.hold(line, false)
	} else {
		a.write(line.Text())
	}
}

func (a *assembler) addHost(line *record.Line) {
	again := a.isOf(line)
	if again {
		a.release(beganTwice)
	}
	a.close()
	a.decider.readAgain() // before the first container, of which it says what to read
	a.begin(line)
	a.announced = wholeNumber(line.Get("containers"))
	a.spanMS = policy.Number(line.Get("interval_ms"))
	a.judged = policy.ReadHost(line)
	switch {
	case a.header.Snapshot == "":
		a.shut = "a snapshot without a name"
	case again:
		a.shut = beganTwice
	case a.announced < 0:
		a.shut = "a snapshot that does not say how many containers it has"
	}
	a.write(line.Text())
}

// begin makes the snapshot of the line the one at hand.
func (a *assembler) begin(line *record.Line) {
	a.header = record.Header{Host: line.Get("host").Str, Snapshot: line.Get("snapshot").Str}
	a.announced, a.spanMS, a.judged = 0, 0, policy.Snapshot{}
	a.lines, a.spoilt, a.shut = 1, false, ""
}

// isOf tells whether the line is of the snapshot at hand.
func (a *assembler) isOf(line *record.Line) bool {
	return line.Get("snapshot").Str == a.header.Snapshot && line.Get("host").Str == a.header.Host
}

func (a *assembler) addContainer(line *record.Line) {
	if !a.isOf(line) {
		a.cutShort()
		a.begin(line)
		a.shut = noHost
	}
	a.lines++
	c := new(policy.Container)
	if n := len(a.spare); n > 0 {
		c, a.spare = a.spare[n-1], a.spare[:n-1]
	}
	policy.ReadContainer(c, line, a.spanMS, a.decider.labels)
	twice := a.ids[c.ID]
	a.ids[c.ID] = true
	a.judged.Containers = append(a.judged.Containers, c)
	a.hold(line, true)
	switch {
	case a.shut != "":
		a.writeHeld(a.decider.policy.Spare(&a.judged, a.shut))
	case twice:
		a.release("a snapshot that has a container twice")
	}
}

// addEnd has the snapshot at hand judged, if all of it came.
func (a *assembler) addEnd(line *record.Line) {
	a.ended = true
	lines := wholeNumber(line.Get("lines"))
	switch {
	case !a.isOf(line):
		a.cutShort()
	case lines < 0:
		a.release("a snapshot whose end does not say how many lines it has")
	case lines != a.lines:
		a.release(fmt.Sprintf("a snapshot of %d lines of which %d came", lines, a.lines))
	default:
		a.judgeWhole()
	}
	a.write(line.Text())
}

// close ends the snapshot at hand where no end line did: in a stream that has
// none it is whole if the announced containers came.
func (a *assembler) close() {
	switch {
	case a.ended || len(a.judged.Containers) < a.announced:
		a.cutShort()
	case a.spoilt:
		a.release("a snapshot in which a line could not be read")
	default:
		a.judgeWhole()
	}
}

// cutShort gives up waiting for the rest of the snapshot.
func (a *assembler) cutShort() {
	a.release(fmt.Sprintf("an unfinished snapshot, %d of %d containers and no end", len(a.judged.Containers), a.announced))
}

// spoil tells that a line could not be read, which may have been any.
func (a *assembler) spoil() { a.spoilt = true }

// verdictMembers are those that a verdict sets.
var verdictMembers = []string{"class", "verdict", "reason", "rank", "rule", "would", "kill_at", "grace_ms"}

// hold keeps a line until its snapshot is whole, or until that takes too much.
func (a *assembler) hold(line *record.Line, isContainer bool) {
	a.held = append(a.held, heldLine{line.Keep(verdictMembers...), isContainer, isContainer && wasJudged(line)})
	a.size += len(line.Text()) + int(unsafe.Sizeof(heldLine{}))
	if isContainer {
		a.size += int(unsafe.Sizeof(policy.Container{}) + unsafe.Sizeof(policy.Verdict{}))
	}
	if a.size > a.maxHeld {
		a.complain(fmt.Errorf("snapshot %q on %q takes more than %d MiB until it is whole: its containers are kept",
			a.header.Snapshot, a.header.Host, a.maxHeld>>20))
		a.release("a snapshot too large to judge")
	}
}

// judgeWhole has a snapshot judged of which all came that was to come.
func (a *assembler) judgeWhole() {
	if n := len(a.judged.Containers); n != a.announced {
		a.release(fmt.Sprintf("a snapshot that was announced with %d containers and has %d", a.announced, n))
		return
	}
	memory := a.decider.memories.Of(a.header.Host)
	verdicts, events := a.decider.policy.Judge(&a.judged, memory)
	a.decider.saveBefore(memory)
	at := a.judged.Time
	a.writeHeld(verdicts)
	for i := range events {
		a.writeEvent(&events[i], at)
	}
	a.shut = "a snapshot with lines after its end"
	a.judgedBy, a.any = memory, true
}

// release lets everything held go, and keeps the containers among it and those
// of the snapshot that are still to come.
func (a *assembler) release(why string) {
	if a.shut == "" {
		a.shut = why
		a.writeHeld(a.decider.policy.Spare(&a.judged, why))
	}
}

// writeHeld writes what is held, with the verdicts on the containers among it.
func (a *assembler) writeHeld(verdicts []policy.Verdict) {
	for i := range a.held {
		if h := &a.held[i]; h.container {
			a.writeVerdict(h, &verdicts[0])
			verdicts = verdicts[1:]
		} else {
			a.write(h.line.Text())
		}
	}
	a.spare = append(a.spare, a.judged.Containers...)
	a.held, a.judged.Containers, a.size = a.held[:0], a.judged.Containers[:0], 0
	clear(a.ids)
}

func (a *assembler) writeVerdict(h *heldLine, v *policy.Verdict) {
	class, rank := "null", "null"
	if v.Class != "" {
		class = `"` + v.Class + `"`
	}
	if v.Rank > 0 {
		rank = strconv.Itoa(v.Rank)
	}
	set := []record.Member{record.Raw("class", class), record.Raw("verdict", `"`+v.Verdict+`"`),
		record.Text("reason", v.Reason), record.Raw("rank", rank)}
	add := func(name string, member record.Member, there bool) {
		if there {
			set = append(set, member)
		} else if h.judged {
			set = append(set, record.Raw(name, "null")) // it is of an earlier judgement
		}
	}
	if v.Rule != "" || h.judged {
		add("rule", record.Text("rule", v.Rule), v.Rule != "")
		add("would", record.Text("would", v.Would), v.Would != "")
		add("kill_at", record.Text("kill_at", v.KillAt.UTC().Format(time.RFC3339Nano)), !v.KillAt.IsZero())
		grace := ""
		if v.Grace != nil {
			grace = strconv.FormatInt(v.Grace.Milliseconds(), 10)
		}
		add("grace_ms", record.Raw("grace_ms", grace), grace != "")
	}
	a.out.Write(append(h.line.AppendWith(a.out.AvailableBuffer(), set...), '\n'))
}

// wasJudged tells whether the line has a verdict by a policy file.
func wasJudged(line *record.Line) bool {
	return slices.ContainsFunc(verdictMembers[4:], func(name string) bool { return line.Get(name).Exists() })
}

// writeEvent writes what a rule says besides the verdicts.
func (a *assembler) writeEvent(e *policy.Event, at time.Time) {
	rule := record.Rule{Header: a.header, Rule: e.Rule, Event: e.Event, Mode: e.Mode, Reason: e.Reason}
	rule.Type, rule.Time = record.TypeRule, at.UTC()
	if e.Container != nil {
		rule.ID, rule.Name = e.Container.ID, e.Container.Name
	}
	text, err := record.Marshal(rule)
	if err != nil {
		a.complain(err)
		return
	}
	a.out.Write(text)
}

func (a *assembler) write(text string) {
	a.out.WriteString(text)
	a.out.WriteByte('\n')
}

// finish writes what is ready, and only then keeps what that told: a crash in
// between repeats a warning, and skips none.
func (a *assembler) finish() error {
	if err := a.out.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if a.judgedBy != nil {
		a.decider.saveAfter(a.judgedBy)
		a.judgedBy = nil
	}
	return nil
}

// end finishes the stream.
func (a *assembler) end() error {
	err := a.finish()
	if err == nil && a.any {
		a.decider.save(false)
	}
	return err
}

// wholeNumber is -1 where the value is not a whole number.
func wholeNumber(value gjson.Result) int {
	n := int(min(value.Num, 1e9))
	if value.Type != gjson.Number || float64(n) != value.Num {
		return -1
	}
	return n
}
