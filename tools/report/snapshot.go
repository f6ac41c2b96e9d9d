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
	rules            []row
	condemned        bool // a container's verdict is kill
	ended            bool // its end line came
	early            bool // it is shown before the next one begins: kills may still come
	rest             bool // what came for it since
	size             int  // bytes kept, about
	left             int  // lines that were not kept, for there were too many
}

// row is one of a table: its cells, and the colour of all of it.
type row struct {
	cells []string
	code  string
}

// member is a container, as a row of its table.
type member struct {
	row
	rank float64 // NaN where it has none
}

// kill is what became of a verdict, as a row of its table.
type kill struct {
	row
	result string
}

// collector puts a stream's lines together to snapshots. One is shown when the
// next one begins, since kills come late.
type collector struct {
	room int
	show func(*snapshot) error
	now  *snapshot // nil before the first
}

// pause shows a snapshot that has ended before the next one begins, and what came for
// it since.
func (c *collector) pause() error {
	before := c.now
	if before == nil || !before.ended {
		return nil
	}
	before.early = true
	err := c.end()
	c.now = &snapshot{host: before.host, id: before.id, totalKB: before.totalKB, ended: true, rest: true}
	return err
}

// end shows what is at hand.
func (c *collector) end() error {
	if c.now == nil || c.now.rest && c.now.size+c.now.left == 0 {
		c.now = nil
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
	if kind == record.TypeEnd && c.now != nil && !c.now.isAnother(line) {
		c.now.ended = true
	}
	adds := map[string]func(*snapshot, *record.Line, int){
		record.TypeContainer: (*snapshot).addMember, record.TypeRule: (*snapshot).addRule, record.TypeKill: (*snapshot).addKill,
	}[kind]
	if adds == nil || line.Check() != nil {
		return nil
	}
	if c.now == nil || kind != record.TypeKill && c.now.isAnother(line) { // its host line is missing
		if err := c.begin(line); err != nil {
			return err
		}
	}
	adds(c.now, line, c.room)
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
	s.title = cmp.Or(s.host, "-") + "  " + moment(line, "time") + "  " + text(line, "source", "-") + ", " +
		count(number(line, "cpus")) + " cores, " + count(number(line, "containers")) + " containers"
	s.memory = "memory: " + size(s.totalKB) + " total, " + size(number(line, "used_memory_kb")) + " used, " +
		size(number(line, "free_memory_kb")) + " free, " + size(number(line, "available_memory_kb")) + " available"
	c.now = s
	return nil
}

// isAnother tells whether a line names another snapshot.
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
	m := member{row{[]string{
		count(number(line, "pid")), text(line, "name", "-"), shortID(line), text(line, "image", "-"),
		percent(number(line, "cpu_percent")), size(kb), percent(share),
		verdict(line), text(line, "reason", ""),
	}, colours[line.Get("verdict").Str]}, number(line, "rank")}
	if !s.fits(m.cells, room) {
		return
	}
	s.condemned = s.condemned || line.Get("verdict").Str == record.VerdictKill
	class := line.Get("class").Str
	judged := !math.IsNaN(m.rank) || text(line, "rule", "") != "" // a rule that does not hold gives no rank
	switch {
	case class == record.ClassLow && judged:
		s.low = append(s.low, m)
	case class == record.ClassHigh && judged:
		s.high = append(s.high, m)
	default:
		m.rank = math.NaN()
		s.other = append(s.other, m)
	}
}

// colours are those of what is to be noticed.
var colours = map[string]string{record.VerdictWarn: yellow, record.VerdictKill: red}

// verdict tells of a warning from when on it may be carried out, and of a rule that
// is dry what it would have said.
func verdict(line *record.Line) string {
	said := text(line, "verdict", "-")
	if would := text(line, "would", ""); would != "" {
		said += ", would " + would
	}
	if at := moment(line, "kill_at"); at != "-" && said == record.VerdictWarn {
		_, ofDay, _ := strings.Cut(at, "T")
		if day, _, _ := strings.Cut(moment(line, "time"), "T"); strings.HasPrefix(at, day) {
			at = ofDay
		}
		said += ", kill " + at
	}
	return said
}

func (s *snapshot) addRule(line *record.Line, room int) {
	event := text(line, "event", "-")
	if text(line, "mode", "") == "dry" {
		event += ", dry"
	}
	rule := row{cells: []string{cmp.Or(text(line, "name", ""), "-"), shortID(line), cmp.Or(text(line, "rule", ""), "-"), event, text(line, "reason", "")}}
	if s.fits(rule.cells, room) {
		s.rules = append(s.rules, rule)
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
	return head(cmp.Or(text(line, "id", ""), "-"), short)
}

// number is a member that is a number from 0 up, else NaN.
func number(line *record.Line, name string) float64 {
	value := line.Get(name)
	if value.Type != gjson.Number || !(value.Num >= 0) || math.IsInf(value.Num, 0) {
		return math.NaN()
	}
	return value.Num
}

// moment is a member that is a time, to the second.
func moment(line *record.Line, name string) string {
	at, err := time.Parse(time.RFC3339, line.Get(name).Str)
	if err != nil {
		return "-"
	}
	return at.UTC().Format("2006-01-02T15:04:05Z")
}
