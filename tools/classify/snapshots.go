package main

import (
	"bufio"
	"fmt"
	"strconv"
	"unsafe"

	"winnow/tools/internal/record"
)

// maxHeld bounds the bytes of memory that a snapshot may take until it is
// whole.
const maxHeld = 64 << 20

// assembler puts the lines of a stream together to snapshots, has each judged at
// its end, and writes the lines in the order in which they came.
type assembler struct {
	policy   policy
	out      *bufio.Writer // keeps its error until the flush
	complain func(error)
	ended    bool // there were end lines, so a snapshot without one is cut short

	host, name string  // of the snapshot at hand
	announced  int     // its container lines; -1 where that is not known
	spanMS     float64 // of its rates, where the containers do not say it
	lines      int     // of it so far: host, containers and processes
	spoilt     bool    // a line since its first could not be read
	shut       string  // why its containers are kept; "" while they can still be judged

	held    []heldLine
	judged  snapshot        // with the containers among held
	ids     map[string]bool // of these
	size    int             // bytes that held takes
	maxHeld int
}

// heldLine waits for its snapshot's end.
type heldLine struct {
	line      record.Kept
	container bool
}

func newAssembler(p policy, out *bufio.Writer, complain func(error)) *assembler {
	return &assembler{policy: p, out: out, complain: complain, shut: noHost, ids: map[string]bool{}, maxHeld: maxHeld}
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
	a.begin(line)
	a.announced = wholeNumber(line.Get("containers"))
	a.spanMS = number(line.Get("interval_ms"))
	a.judged.totalKB = line.Get("total_memory_kb").Num
	switch {
	case a.name == "":
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
	a.host, a.name = line.Get("host").Str, line.Get("snapshot").Str
	a.announced, a.spanMS, a.judged.totalKB = 0, 0, 0
	a.lines, a.spoilt, a.shut = 1, false, ""
}

// isOf tells whether the line is of the snapshot at hand.
func (a *assembler) isOf(line *record.Line) bool {
	return line.Get("snapshot").Str == a.name && line.Get("host").Str == a.host
}

func (a *assembler) addContainer(line *record.Line) {
	if !a.isOf(line) {
		a.cutShort()
		a.begin(line)
		a.shut = noHost
	}
	a.lines++
	c := readContainer(line, a.spanMS)
	twice := a.ids[c.id]
	a.ids[c.id] = true
	a.judged.containers = append(a.judged.containers, c)
	a.hold(line, true)
	switch {
	case a.shut != "":
		a.writeHeld(a.policy.spare(&a.judged, a.shut))
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
		a.judge()
	}
	a.write(line.Text())
}

// close ends the snapshot at hand where no end line did: in a stream that has
// none it is whole if the announced containers came.
func (a *assembler) close() {
	switch {
	case a.ended || len(a.judged.containers) < a.announced:
		a.cutShort()
	case a.spoilt:
		a.release("a snapshot in which a line could not be read")
	default:
		a.judge()
	}
}

// cutShort gives up waiting for the rest of the snapshot.
func (a *assembler) cutShort() {
	a.release(fmt.Sprintf("an unfinished snapshot, %d of %d containers and no end", len(a.judged.containers), a.announced))
}

// spoil tells that a line could not be read, which may have been any.
func (a *assembler) spoil() { a.spoilt = true }

// hold keeps a line until its snapshot is whole, or until that takes too much.
func (a *assembler) hold(line *record.Line, isContainer bool) {
	a.held = append(a.held, heldLine{line.Keep(), isContainer})
	a.size += len(line.Text()) + int(unsafe.Sizeof(heldLine{}))
	if isContainer {
		a.size += int(unsafe.Sizeof(container{}) + unsafe.Sizeof(verdict{}))
	}
	if a.size > a.maxHeld {
		a.complain(fmt.Errorf("snapshot %q on %q takes more than %d MiB until it is whole: its containers are kept",
			a.name, a.host, a.maxHeld>>20))
		a.release("a snapshot too large to judge")
	}
}

// judge has a snapshot judged of which all came that was to come.
func (a *assembler) judge() {
	if n := len(a.judged.containers); n != a.announced {
		a.release(fmt.Sprintf("a snapshot that was announced with %d containers and has %d", a.announced, n))
		return
	}
	a.writeHeld(a.policy.judge(&a.judged))
	a.shut = "a snapshot with lines after its end"
}

// release lets everything held go, and keeps the containers among it and those
// of the snapshot that are still to come.
func (a *assembler) release(why string) {
	if a.shut == "" {
		a.shut = why
		a.writeHeld(a.policy.spare(&a.judged, why))
	}
}

// writeHeld writes what is held, with the verdicts on the containers among it.
func (a *assembler) writeHeld(verdicts []verdict) {
	for i := range a.held {
		if h := &a.held[i]; h.container {
			a.writeVerdict(h.line, &verdicts[0])
			verdicts = verdicts[1:]
		} else {
			a.write(h.line.Text())
		}
	}
	a.held, a.judged.containers, a.size = a.held[:0], a.judged.containers[:0], 0
	clear(a.ids)
}

func (a *assembler) writeVerdict(line record.Kept, v *verdict) {
	class, rank := "null", "null"
	if v.class != "" {
		class = `"` + v.class + `"`
	}
	if v.rank > 0 {
		rank = strconv.Itoa(v.rank)
	}
	text := line.AppendWith(a.out.AvailableBuffer(), record.Raw("class", class), record.Raw("verdict", `"`+v.verdict+`"`),
		record.Text("reason", v.reason), record.Raw("rank", rank))
	a.out.Write(append(text, '\n'))
}

func (a *assembler) write(text string) {
	a.out.WriteString(text)
	a.out.WriteByte('\n')
}
