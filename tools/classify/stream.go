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

// stream puts the lines of a snapshot together, decides on its containers at its
// end, and writes the lines in the order in which they came.
type stream struct {
	policy   policy
	out      *bufio.Writer // keeps its error until the flush
	complain func(error)
	ended    bool // there were end lines, so a snapshot without one is cut short

	host, snapshot string  // at hand
	announced      int     // its container lines
	totalKB        float64 // its host's
	limitKB        float64 // high-memory on that
	spanMS         float64 // of its rates, where the containers do not say it
	lines          int     // of it so far: host, containers and processes
	spoilt         bool    // a line since its first could not be read
	shut           string  // why its containers are kept; "" while they can still be judged

	held    []item
	ids     map[string]bool // of the containers among held
	size    int             // bytes that held takes
	maxHeld int

	reason []byte // reused
}

func newStream(p policy, out *bufio.Writer, complain func(error)) *stream {
	s := &stream{policy: p, out: out, complain: complain, maxHeld: maxHeld, ids: map[string]bool{}}
	s.begin(&item{})
	s.shut = noHost
	return s
}

// noHost is why containers are kept that no host line of their snapshot precedes.
const noHost = "a snapshot without a host line"

// take takes a line and writes all that it makes ready.
func (s *stream) take(it *item) {
	switch it.kind {
	case record.TypeHost:
		s.takeHost(it)
	case record.TypeContainer:
		s.takeContainer(it)
	case record.TypeEnd:
		s.takeEnd(it)
	case record.TypeProcess:
		if s.isOf(it) {
			s.lines++
		}
		s.pass(it)
	default:
		s.pass(it)
	}
}

// pass lets a line go that takes no verdict, after those before it.
func (s *stream) pass(it *item) {
	if len(s.held) > 0 {
		s.hold(it)
	} else {
		s.write(&it.line)
	}
}

func (s *stream) takeHost(it *item) {
	again := s.isOf(it)
	if again {
		s.release(beganTwice)
	}
	s.close()
	s.begin(it)
	switch {
	case s.snapshot == "":
		s.shut = "a snapshot without a name"
	case again:
		s.shut = beganTwice
	case s.announced < 0:
		s.shut = "a snapshot that does not say how many containers it has"
	}
	s.write(&it.line)
}

const beganTwice = "a snapshot with more than one beginning"

// begin makes the snapshot of the line the one at hand.
func (s *stream) begin(it *item) {
	s.host, s.snapshot, s.announced = it.host, it.snapshot, it.count
	s.totalKB, s.limitKB, s.spanMS = it.totalKB, s.policy.highMemory.kb(it.totalKB), it.spanMS
	s.lines, s.spoilt, s.shut = 1, false, ""
}

// isOf tells whether the line is of the snapshot at hand.
func (s *stream) isOf(it *item) bool { return it.snapshot == s.snapshot && it.host == s.host }

func (s *stream) takeContainer(it *item) {
	if !s.isOf(it) {
		s.cutShort()
		s.begin(it)
		s.shut = noHost
	}
	s.lines++
	if !it.container.ownSpan {
		it.container.spanMS = s.spanMS
	}
	it.container.measure(&s.policy, s.limitKB)
	if s.shut != "" {
		s.writeContainer(it, nil)
		return
	}
	twice := s.ids[it.container.id]
	s.ids[it.container.id] = true
	s.hold(it)
	if twice {
		s.release("a snapshot that has a container twice")
	}
}

// takeEnd decides on the snapshot at hand, if all of it came.
func (s *stream) takeEnd(it *item) {
	s.ended = true
	switch {
	case !s.isOf(it):
		s.cutShort()
	case it.count < 0:
		s.release("a snapshot whose end does not say how many lines it has")
	case it.count != s.lines:
		s.release(fmt.Sprintf("a snapshot of %d lines of which %d came", it.count, s.lines))
	default:
		s.decide()
	}
	s.write(&it.line)
}

// close ends the snapshot at hand where no end line did: in a stream that has
// none it is whole if the announced containers came.
func (s *stream) close() {
	switch {
	case s.ended || len(s.ids) < s.announced:
		s.cutShort()
	case s.spoilt:
		s.release("a snapshot in which a line could not be read")
	default:
		s.decide()
	}
}

// cutShort gives up waiting for the rest of the snapshot.
func (s *stream) cutShort() {
	s.release(fmt.Sprintf("an unfinished snapshot, %d of %d containers and no end", len(s.ids), s.announced))
}

// spoil tells that a line could not be read, which may have been any.
func (s *stream) spoil() { s.spoilt = true }

// hold keeps a line until its snapshot is whole, or until that takes too much.
func (s *stream) hold(it *item) {
	s.held = append(s.held, *it)
	s.size += len(it.line.Text()) + int(unsafe.Sizeof(*it))
	if s.size > s.maxHeld {
		s.complain(fmt.Errorf("snapshot %q on %q takes more than %d MiB until it is whole: its containers are kept",
			s.snapshot, s.host, s.maxHeld>>20))
		s.release("a snapshot too large to judge")
	}
}

// decide gives the verdicts on a snapshot of which all came that was to come.
func (s *stream) decide() {
	if n := len(s.ids); n != s.announced {
		s.release(fmt.Sprintf("a snapshot that was announced with %d containers and has %d", s.announced, n))
		return
	}
	var containers []*container
	for i := range s.held {
		if s.held[i].kind == record.TypeContainer {
			containers = append(containers, &s.held[i].container)
		}
	}
	s.writeHeld(rank(containers, &s.policy))
	s.shut = "a snapshot with lines after its end"
}

// release lets everything held go, and keeps the containers among it and those
// of the snapshot that are still to come.
func (s *stream) release(why string) {
	if s.shut == "" {
		s.shut = why
		s.writeHeld(nil)
	}
}

func (s *stream) writeHeld(count map[string]int) {
	for i := range s.held {
		if it := &s.held[i]; it.kind == record.TypeContainer {
			s.writeContainer(it, count)
		} else {
			s.write(&it.line)
		}
	}
	s.held, s.size = s.held[:0], 0
	clear(s.ids)
}

// writeContainer writes the verdict. count says how many of each class take
// part, nil that none does.
func (s *stream) writeContainer(it *item, count map[string]int) {
	p, c := &s.policy, &it.container
	verdict, place := record.VerdictKeep, "null"
	reason := append(s.reason[:0], '"')
	switch {
	case c.rank > 0:
		keep := p.keep(c.class)
		if c.rank > keep {
			verdict = record.VerdictKill
		}
		place = strconv.Itoa(c.rank)
		reason = append(append(reason, "rank "...), place...)
		reason = strconv.AppendInt(append(reason, " of "...), int64(count[c.class]), 10)
		reason = append(append(reason, ' '), c.class...)
		reason = append(append(reason, ", the "...), p.victims...)
		reason = strconv.AppendInt(append(reason, " go first, "...), int64(keep), 10)
		reason = append(reason, " kept"...)
	case count == nil:
		reason = append(append(reason, "kept, part of "...), s.shut...)
	default:
		reason = append(append(reason, "kept, "...), c.exempt(p)...)
	}
	reason = c.appendMeasure(append(reason, ": "...), p, s.totalKB)
	s.reason = append(reason, '"')
	class := "null"
	if c.class != "" {
		class = `"` + c.class + `"`
	}
	s.write(&it.line,
		record.Raw("class", class), record.Raw("verdict", `"`+verdict+`"`),
		record.Raw("reason", string(s.reason)), record.Raw("rank", place))
}

func (s *stream) write(line *record.Kept, set ...record.Member) {
	s.out.Write(append(line.AppendWith(s.out.AvailableBuffer(), set...), '\n'))
}
