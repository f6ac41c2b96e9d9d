package chart

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"winnow/tools/internal/record"

	"github.com/tidwall/gjson"
)

const (
	// slots is how many points a chart's time axis has; what falls into the
	// same one is averaged, so a chart of a year costs what one of an hour does.
	slots = 400
	// maxChartBytes bounds what is held of the containers, half of it for what
	// they are and half for their points.
	maxChartBytes = 4 << 20
	// maxChartText bounds a text, in bytes.
	maxChartText = 128
	// maxKills bounds the kills that are drawn one by one.
	maxKills = 10_000
	// prominent is how many containers keep their points by each measure when
	// there are too many points: so many that theirs take three quarters of the
	// room. A full track has room for 512.
	prominent = maxChartBytes / 2 * 3 / 4 / (len(measures) * 512 * int(unsafe.Sizeof(trackSlot{})))
)

// measures are those by which a container can be prominent.
var measures = [...]func(*track) float64{byMemory, byPeakCPU, byCPU}

// mean is an average in the making.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(v float64) { m.sum += v; m.n++ }

func (m *mean) join(other mean) { m.sum += other.sum; m.n += other.n }

func (m *mean) value() float64 {
	if m.n == 0 {
		return 0
	}
	return m.sum / float64(m.n)
}

// Data is what the charts of a host are drawn from.
type Data struct {
	host         string
	since, until int64 // ns since 1970
	hosts        map[int]*hostSlot
	containers   map[string]*track
	kills        []killMark
	held, points int  // bytes: of containers, and of their points
	whole        bool // the span is that of the lines
}

// hostSlot is a host in one slot.
type hostSlot struct {
	total, used, free mean // kB
	cpu               mean // percent of one core, over all containers
	low, high         mean // containers

	// of the snapshot being read
	snapshot             string
	cpuNow               float64
	lowNow, highNow, any int
}

// track is one container over time.
type track struct {
	id, name    string
	slots       []trackSlot
	peakMemory  float64 // kB
	peakCPU     float64 // percent
	cpuSum      float64
	killed      bool
	killedAtSec float64
}

// trackSlot is a container in one slot. There are many of them.
type trackSlot struct {
	slot              int16
	memoryN, cpuN     int32
	memorySum, cpuSum float32
}

func (s *trackSlot) memory() float64 { return float64(s.memorySum) / float64(max(1, s.memoryN)) }

func (s *trackSlot) cpu() float64 { return float64(s.cpuSum) / float64(max(1, s.cpuN)) }

type killMark struct {
	at    int64
	class string
}

func (d *Data) slot(at int64) int {
	return int(float64(at-d.since) / float64(d.until-d.since) * slots)
}

// seconds is the middle of a slot, in seconds since 1970.
func (d *Data) seconds(slot int) float64 {
	return float64(d.since)/1e9 + (float64(slot)+.5)*float64(d.until-d.since)/1e9/slots
}

// chartLine is what the charts take from a line.
type chartLine struct {
	kind, host, id, name, class, result, snapshot string
	at                                            int64
	memory, cpu, total, used, free                float64
	hasCPU                                        bool
}

// readChartLine reads by itself what record.Read could into record's types: that would take four times as long, and
// the charts of a long log three times.
func readChartLine(line []byte) (l chartLine, ok bool) {
	gjson.Parse(unsafe.String(unsafe.SliceData(line), len(line))).ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "type":
			l.kind = value.Str
		case "time":
			l.at, ok = record.ParseTime(value.Str)
		case "host":
			l.host = value.Str
		case "id":
			l.id = value.Str
		case "name":
			l.name = value.Str
		case "class":
			l.class = value.Str
		case "result":
			l.result = value.Str
		case "snapshot":
			l.snapshot = value.Str
		case "memory_kb":
			l.memory = amount(value)
		case "cpu_percent":
			l.cpu, l.hasCPU = amount(value), value.Type == gjson.Number
		case "total_memory_kb":
			l.total = amount(value)
		case "used_memory_kb":
			l.used = amount(value)
		case "free_memory_kb":
			l.free = amount(value)
		}
		return true
	})
	return l, ok
}

// amount is a number that can be drawn, and summed up many times over.
func amount(value gjson.Result) float64 { return min(max(value.Num, 0), 1e15) }

// New is for the charts of host from since until until, of which
// neither is before 1970.
func New(host string, since, until int64) *Data {
	return &Data{host: host, since: since, until: until, hosts: make(map[int]*hostSlot), containers: make(map[string]*track)}
}

// leastSpan is the shortest of Whole, in ns.
const leastSpan = 10e9

// Whole is for charts of all that a host's lines tell, from the first of them
// on, however many come. Without a name it is the host that the first is of.
func Whole(host string) *Data {
	d := New(host, 0, 0)
	d.whole = true
	return d
}

// Add takes in a line of the host and the span.
func (d *Data) Add(line []byte) {
	l, ok := readChartLine(line)
	if !ok || d.whole && !d.fit(&l) {
		return
	}
	slot := d.slot(l.at)
	switch l.kind {
	case record.TypeHost:
		h := d.hostSlot(slot)
		h.endSnapshot()
		h.snapshot, h.any = record.Clip(l.snapshot, maxChartText), 1
		h.total.add(l.total)
		h.used.add(l.used)
		h.free.add(l.free)
	case record.TypeContainer:
		d.hostSlot(slot).addContainer(&l)
		d.addContainer(slot, &l)
	case record.TypeKill:
		d.addKill(&l)
	}
}

// fit makes the span one that has the line, and is false where it is another
// host's, of no kind that is drawn, or older than the first.
func (d *Data) fit(l *chartLine) bool {
	switch l.kind {
	case record.TypeHost, record.TypeContainer, record.TypeKill:
	default:
		return false
	}
	if d.until == 0 {
		if d.host == "" {
			d.host = record.Clip(l.host, maxChartText)
		}
		d.since, d.until = l.at, l.at+leastSpan
	}
	if l.host != d.host && record.Clip(l.host, maxChartText) != d.host || l.at < d.since {
		return false
	}
	for l.at >= d.until {
		d.widen()
	}
	return true
}

// widen doubles the span: two slots become one.
func (d *Data) widen() {
	d.until += d.until - d.since
	hosts := make(map[int]*hostSlot, slots)
	for _, slot := range d.used() {
		if h := hosts[slot/2]; h != nil {
			h.join(d.hosts[slot])
		} else {
			hosts[slot/2] = d.hosts[slot]
		}
	}
	d.hosts = hosts
	for _, t := range d.containers {
		t.widen()
	}
}

// join adds a later slot, of which the last snapshot may still be coming.
func (h *hostSlot) join(later *hostSlot) {
	h.endSnapshot()
	for _, m := range []struct{ to, from *mean }{{&h.total, &later.total}, {&h.used, &later.used}, {&h.free, &later.free},
		{&h.cpu, &later.cpu}, {&h.low, &later.low}, {&h.high, &later.high}} {
		m.to.join(*m.from)
	}
	h.snapshot, h.cpuNow, h.lowNow, h.highNow, h.any = later.snapshot, later.cpuNow, later.lowNow, later.highNow, later.any
}

func (t *track) widen() {
	kept := t.slots[:0]
	for _, s := range t.slots {
		s.slot /= 2
		if n := len(kept); n > 0 && kept[n-1].slot == s.slot {
			last := &kept[n-1]
			last.memorySum, last.memoryN, last.cpuSum, last.cpuN = last.memorySum+s.memorySum, last.memoryN+s.memoryN, last.cpuSum+s.cpuSum, last.cpuN+s.cpuN
			continue
		}
		kept = append(kept, s)
	}
	t.slots = kept
}

// End is called after the last line.
func (d *Data) End() {
	for _, h := range d.hosts {
		h.endSnapshot()
	}
}

func (d *Data) addKill(l *chartLine) {
	if l.result != record.ResultKilled {
		return
	}
	class := ""
	if l.class == record.ClassLow || l.class == record.ClassHigh {
		class = strings.Clone(l.class)
	}
	if len(d.kills) < maxKills {
		d.kills = append(d.kills, killMark{l.at, class})
	}
	if t := d.container(l.id); t != nil {
		t.killed, t.killedAtSec = true, float64(l.at)/1e9
	}
}

func (d *Data) hostSlot(slot int) *hostSlot {
	h := d.hosts[slot]
	if h == nil {
		h = new(hostSlot)
		d.hosts[slot] = h
	}
	return h
}

func (h *hostSlot) addContainer(l *chartLine) {
	if l.snapshot != h.snapshot && record.Clip(l.snapshot, maxChartText) != h.snapshot {
		return
	}
	h.cpuNow += l.cpu
	switch l.class {
	case record.ClassLow:
		h.lowNow++
	case record.ClassHigh:
		h.highNow++
	}
}

func (h *hostSlot) endSnapshot() {
	if h.any == 0 {
		return
	}
	h.cpu.add(h.cpuNow)
	h.low.add(float64(h.lowNow))
	h.high.add(float64(h.highNow))
	h.cpuNow, h.lowNow, h.highNow, h.any = 0, 0, 0, 0
}

// addContainer adds to a container's track. A new one for which there is no
// room counts in the sums alone.
func (d *Data) addContainer(slot int, l *chartLine) {
	t := d.container(l.id)
	if t == nil {
		id := record.Clip(l.id, maxChartText)
		t = &track{id: id, name: record.Clip(l.name, maxChartText)}
		// Beside its texts it is a place in a map and a struct.
		if d.held += 256 + len(t.id) + maxChartText; d.held > maxChartBytes/2 {
			return
		}
		d.containers[id] = t
	}
	if t.name == "" {
		t.name = record.Clip(l.name, maxChartText)
	}
	before := cap(t.slots)
	t.add(slot, l)
	if d.points += (cap(t.slots) - before) * int(unsafe.Sizeof(trackSlot{})); d.points > maxChartBytes/2 {
		d.forgetPoints()
	}
}

// container is the track of a container, or nil.
func (d *Data) container(id string) *track {
	if t := d.containers[id]; t != nil || len(id) <= maxChartText/6 {
		return t
	}
	return d.containers[record.Clip(id, maxChartText)]
}

// forgetPoints frees the points of all containers but the most prominent ones.
// One that becomes prominent later is drawn from then on.
func (d *Data) forgetPoints() {
	stay := make(map[*track]bool)
	for _, by := range measures {
		for _, t := range d.top(prominent, by) {
			stay[t] = true
		}
	}
	d.points = 0
	for _, t := range d.containers {
		if !stay[t] {
			t.slots = nil
		}
		d.points += cap(t.slots) * int(unsafe.Sizeof(trackSlot{}))
	}
}

func byMemory(t *track) float64  { return t.peakMemory }
func byPeakCPU(t *track) float64 { return t.peakCPU }
func byCPU(t *track) float64     { return t.cpuSum }

func (t *track) add(slot int, l *chartLine) {
	if n := len(t.slots); n == 0 || int(t.slots[n-1].slot) != slot {
		t.slots = append(t.slots, trackSlot{slot: int16(slot)})
	}
	s := &t.slots[len(t.slots)-1]
	s.memorySum += float32(l.memory)
	s.memoryN++
	t.peakMemory = max(t.peakMemory, l.memory)
	if l.hasCPU {
		s.cpuSum += float32(l.cpu)
		s.cpuN++
		t.peakCPU = max(t.peakCPU, l.cpu)
		t.cpuSum += l.cpu
	}
}

// label is a container's name as it can be drawn: no control characters, and
// not too long.
func (t *track) label() string {
	name := printable(t.name)
	if name == "" {
		name = printable(t.id)
		name = string([]rune(name)[:min(12, utf8.RuneCountInString(name))])
	}
	if runes := []rune(name); len(runes) > 32 {
		name = string(runes[:31]) + "…"
	}
	return name
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

// top are the n containers of which by is greatest, and above 0.
func (d *Data) top(n int, by func(*track) float64) []*track {
	all := slices.SortedFunc(maps.Values(d.containers), func(a, b *track) int {
		return cmp.Or(cmp.Compare(by(b), by(a)), cmp.Compare(a.id, b.id))
	})
	all = all[:min(n, len(all))]
	return slices.DeleteFunc(all, func(t *track) bool { return by(t) <= 0 })
}

// used are the slots in which there was a snapshot.
func (d *Data) used() []int { return slices.Sorted(maps.Keys(d.hosts)) }

// gap is how far two slots may be apart for a line to join them: some times
// their usual distance.
func gap(slots []int) int {
	if len(slots) < 3 {
		return math.MaxInt
	}
	steps := make([]int, 0, len(slots))
	for i := range slots[1:] {
		steps = append(steps, slots[i+1]-slots[i])
	}
	slices.Sort(steps)
	return max(4*steps[len(steps)/2], 3)
}
