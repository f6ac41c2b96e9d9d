package main

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const (
	// maxKept is how many bytes of one snapshot are kept, about: those of some
	// 100,000 containers.
	maxKept = 64 << 20
	// maxText is how many bytes of one text are.
	maxText = 4 << 10
	// rowSize is about what a row takes beside its texts.
	rowSize = 256
)

// snapshot is what is shown together: a host line and what came after it.
type snapshot struct {
	host, id         string
	title, memory    string
	totalKB          float64 // NaN where it is not known
	low, high, other []member
	kills            []kill
	size             int // bytes kept, about
	left             int // lines that were not kept, for there were too many
}

// member is a container, as a row of its table.
type member struct {
	cells []string
	rank  float64 // NaN where it is not judged
}

// kill is what became of a verdict, as a row of its table.
type kill struct {
	cells  []string
	result string
}

// collector puts a stream's lines together to snapshots. One is shown when the
// next one begins, since kills come late.
type collector struct {
	room int
	show func(*snapshot) error
	now  *snapshot // nil before the first
}

// end shows what is at hand.
func (c *collector) end() error {
	if c.now == nil {
		return nil
	}
	shown := c.now
	c.now = nil
	return c.show(shown)
}

// add adds a line. One that fails Check is passed over, but for a host line:
// what follows it is not of the snapshot at hand.
func (c *collector) add(line *record.Line) error {
	kind := line.Type()
	if kind == record.TypeHost {
		return c.begin(line)
	}
	if kind != record.TypeContainer && kind != record.TypeKill || line.Check() != nil {
		return nil
	}
	if c.now == nil || kind == record.TypeContainer && c.now.isAnother(line) { // its host line is missing
		if err := c.begin(line); err != nil {
			return err
		}
	}
	if kind == record.TypeKill {
		c.now.addKill(line, c.room)
	} else {
		c.now.addMember(line, c.room)
	}
	return nil
}

// begin shows what is at hand and begins the next snapshot, of which the line
// tells as much as it knows.
func (c *collector) begin(line *record.Line) error {
	if err := c.end(); err != nil {
		return err
	}
	s := &snapshot{host: text(line, "host", ""), id: text(line, "snapshot", "")}
	if line.Type() != record.TypeHost {
		line = &record.Line{} // what else it tells is not the host's
	}
	s.totalKB = number(line, "total_memory_kb")
	s.title = cmp.Or(s.host, "-") + "  " + when(line) + "  " + text(line, "source", "-") + ", " +
		count(number(line, "cpus")) + " cores, " + count(number(line, "containers")) + " containers"
	s.memory = "memory: " + size(s.totalKB) + " total, " + size(number(line, "used_memory_kb")) + " used, " +
		size(number(line, "free_memory_kb")) + " free, " + size(number(line, "available_memory_kb")) + " available"
	c.now = s
	return nil
}

// isAnother tells whether a container line names another snapshot.
func (s *snapshot) isAnother(line *record.Line) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return differ(s.id, text(line, "snapshot", "")) || differ(s.host, text(line, "host", ""))
}

func (s *snapshot) addMember(line *record.Line, room int) {
	kb := number(line, "memory_kb")
	share := 100 * kb / s.totalKB // memory_percent is rounded
	if !(s.totalKB > 0) {
		share = number(line, "memory_percent")
	}
	m := member{[]string{
		count(number(line, "pid")), text(line, "name", "-"), shortID(line), text(line, "image", "-"),
		percent(number(line, "cpu_percent")), size(kb), percent(share),
		text(line, "verdict", "-"), text(line, "reason", ""),
	}, number(line, "rank")}
	if !s.fits(m.cells, room) {
		return
	}
	class := line.Get("class").Str
	switch {
	case class == record.ClassLow && !math.IsNaN(m.rank):
		s.low = append(s.low, m)
	case class == record.ClassHigh && !math.IsNaN(m.rank):
		s.high = append(s.high, m)
	default:
		m.rank = math.NaN()
		s.other = append(s.other, m)
	}
}

func (s *snapshot) addKill(line *record.Line, room int) {
	took := count(number(line, "took_ms"))
	if took != "-" {
		took += " ms"
	}
	k := kill{result: text(line, "result", "-")}
	why := cmp.Or(text(line, "error", ""), text(line, "reason", ""))
	if k.result == record.ResultDryRun {
		why = strings.TrimSuffix("dry run: would have been killed: "+why, ": ")
	}
	k.cells = []string{text(line, "name", "-"), shortID(line), k.result, text(line, "signal", "-"), took, why}
	if s.fits(k.cells, room) {
		s.kills = append(s.kills, k)
	}
}

// fits tells whether there is room for a row, and counts it.
func (s *snapshot) fits(cells []string, room int) bool {
	n := rowSize
	for _, cell := range cells {
		n += len(cell)
	}
	if s.size+n > room {
		s.left++
		return false
	}
	s.size += n
	return true
}

// text is a member that is a text, safe to show and not endlessly long. It is a
// copy, since a line's own texts keep all of the line.
func text(line *record.Line, name, unknown string) string {
	value := line.Get(name)
	if value.Type != gjson.String {
		return unknown
	}
	return strings.Clone(cli.Printable(record.Shorten(value.Str, maxText)))
}

func shortID(line *record.Line) string {
	const short = 12
	return head(text(line, "id", "-"), short)
}

// number is a member that is a number from 0 up, else NaN.
func number(line *record.Line, name string) float64 {
	value := line.Get(name)
	if value.Type != gjson.Number || !(value.Num >= 0) || math.IsInf(value.Num, 0) {
		return math.NaN()
	}
	return value.Num
}

// when is a line's time to the second.
func when(line *record.Line) string {
	at, err := time.Parse(time.RFC3339, line.Get("time").Str)
	if err != nil {
		return "-"
	}
	return at.UTC().Format("2006-01-02T15:04:05Z")
}
