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

// stream puts the lines of a snapshot together, decides on its containers, and
// writes the lines in the order in which they came.
type stream struct {
	policy   policy
	out      *bufio.Writer // keeps its error until the flush
	complain func(error)

	host, snapshot string // at hand
	announced      int    // its container lines
	totalKB        float64
	limitKB        float64 // high-memory on its host
	shut           string  // why its containers are kept; "" while it can still be whole

	held    []item
	ids     map[string]bool // of the containers among held
	size    int             // bytes that held takes
	maxHeld int

	reason []byte // reused
}

func newStream(p policy, out *bufio.Writer, complain func(error)) *stream {
	return &stream{policy: p, out: out, complain: complain, maxHeld: maxHeld, ids: map[string]bool{}}
}

// take takes a line and writes all that it makes ready.
func (s *stream) take(it *item) {
	switch {
	case it.kind == record.TypeHost:
		s.end()
		s.begin(it)
		s.write(&it.line)
	case it.kind == record.TypeContainer:
		s.takeContainer(it)
	case len(s.held) > 0:
		s.hold(it)
	default:
		s.write(&it.line)
	}
}

// begin starts the snapshot of a host line.
func (s *stream) begin(it *item) {
	again := s.isOf(it)
	s.host, s.snapshot, s.announced = it.host, it.snapshot, it.announced
	s.totalKB, s.limitKB = it.totalKB, s.policy.highMemory.kb(it.totalKB)
	s.shut = ""
	switch {
	case s.snapshot == "":
		s.shut = "a snapshot without a name"
	case again:
		s.shut = "a snapshot with more than one beginning"
	case s.announced < 0:
		s.shut = "a snapshot that does not say how many containers it has"
	case s.announced == 0:
		s.shut = "a snapshot that was announced with 0 containers"
	}
}

// isOf tells whether the line is of the snapshot at hand.
func (s *stream) isOf(it *item) bool { return it.snapshot == s.snapshot && it.host == s.host }

func (s *stream) takeContainer(it *item) {
	if !s.isOf(it) {
		s.end()
		s.host, s.snapshot = it.host, it.snapshot
		s.totalKB, s.limitKB = 0, s.policy.highMemory.kb(0)
		s.shut = "a snapshot without a host line"
	}
	it.container.measure(&s.policy, s.limitKB)
	if s.shut != "" {
		s.writeContainer(it, nil)
		return
	}
	twice := s.ids[it.container.id]
	s.ids[it.container.id] = true
	s.hold(it)
	switch {
	case s.shut != "":
	case twice:
		s.release("a snapshot that has a container twice")
	case len(s.ids) == s.announced:
		s.decide()
	}
}

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

// decide gives the verdicts on a whole snapshot.
func (s *stream) decide() {
	var containers []*container
	for i := range s.held {
		if s.held[i].kind == record.TypeContainer {
			containers = append(containers, &s.held[i].container)
		}
	}
	count := rank(containers, &s.policy)
	s.writeHeld(count)
	s.shut = fmt.Sprintf("a snapshot that was announced with %d containers and has more", s.announced)
}

// end gives up waiting for the rest of the snapshot.
func (s *stream) end() {
	if len(s.held) > 0 {
		s.release(fmt.Sprintf("an unfinished snapshot, %d of %d containers", len(s.ids), s.announced))
	}
}

// release lets everything held go, and keeps the containers among it.
func (s *stream) release(why string) {
	s.shut = why
	s.writeHeld(nil)
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

func (s *stream) write(line *record.Line, set ...record.Member) {
	s.out.Write(append(line.AppendWith(s.out.AvailableBuffer(), set...), '\n'))
}
