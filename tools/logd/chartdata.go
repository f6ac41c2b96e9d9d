package main

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unsafe"

	"winnow/tools/internal/record"
	"winnow/tools/logd/store"

	"github.com/tidwall/gjson"
)

const (
	// slots is how many points a chart's time axis has; what falls into the
	// same one is averaged, so a chart of a year costs what one of an hour does.
	slots = 400
	// maxTracked bounds the containers of a chart that are told apart. What
	// comes beyond counts in the sums alone.
	maxTracked = 20_000
)

// mean is an average in the making.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(v float64) { m.sum += v; m.n++ }

func (m *mean) value() float64 {
	if m.n == 0 {
		return 0
	}
	return m.sum / float64(m.n)
}

// chartData is what the charts of a host are drawn from.
type chartData struct {
	host         string
	since, until int64 // ns since 1970
	hosts        map[int]*hostSlot
	containers   map[string]*track
	kills        []killMark
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

type trackSlot struct {
	slot        int
	memory, cpu mean
}

type killMark struct {
	at    int64
	class string
}

func (d *chartData) slot(at int64) int {
	return int(float64(at-d.since) / float64(d.until-d.since) * slots)
}

// seconds is the middle of a slot, in seconds since 1970.
func (d *chartData) seconds(slot int) float64 {
	return float64(d.since)/1e9 + (float64(slot)+.5)*float64(d.until-d.since)/1e9/slots
}

// chartLine is what the charts take from a line.
type chartLine struct {
	kind, id, name, class, result, snapshot string
	at                                      int64
	memory, cpu, total, used, free          float64
	hasCPU                                  bool
}

func readChartLine(line []byte) (l chartLine, ok bool) {
	gjson.Parse(unsafe.String(unsafe.SliceData(line), len(line))).ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "type":
			l.kind = value.Str
		case "time":
			l.at, ok = store.ParseTime(value.Str)
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
			l.memory = value.Num
		case "cpu_percent":
			l.cpu, l.hasCPU = value.Num, value.Type == gjson.Number
		case "total_memory_kb":
			l.total = value.Num
		case "used_memory_kb":
			l.used = value.Num
		case "free_memory_kb":
			l.free = value.Num
		}
		return true
	})
	return l, ok
}

// readChart reads what the charts of host show of a span.
func readChart(s *store.Store, host string, since, until int64) (*chartData, error) {
	d := &chartData{host: host, since: since, until: until, hosts: make(map[int]*hostSlot), containers: make(map[string]*track)}
	f := &store.Filter{Since: since, Until: until, Equal: []store.Member{{Name: "host", Value: host}}}
	err := s.Query(f, store.LineFunc(func(line []byte) error {
		if l, ok := readChartLine(line); ok {
			d.add(&l)
		}
		return nil
	}))
	for _, h := range d.hosts {
		h.endSnapshot()
	}
	return d, err
}

func (d *chartData) add(l *chartLine) {
	slot := d.slot(l.at)
	switch l.kind {
	case record.TypeHost:
		h := d.hostSlot(slot)
		h.endSnapshot()
		h.snapshot, h.any = strings.Clone(l.snapshot), 1
		h.total.add(l.total)
		h.used.add(l.used)
		h.free.add(l.free)
	case record.TypeContainer:
		d.hostSlot(slot).addContainer(l)
		d.track(l).add(slot, l)
	case record.TypeKill:
		if l.result == record.ResultKilled {
			d.kills = append(d.kills, killMark{l.at, strings.Clone(l.class)})
			if t := d.containers[l.id]; t != nil {
				t.killed, t.killedAtSec = true, float64(l.at)/1e9
			}
		}
	}
}

func (d *chartData) hostSlot(slot int) *hostSlot {
	h := d.hosts[slot]
	if h == nil {
		h = new(hostSlot)
		d.hosts[slot] = h
	}
	return h
}

func (h *hostSlot) addContainer(l *chartLine) {
	if l.snapshot != h.snapshot {
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

func (d *chartData) track(l *chartLine) *track {
	t := d.containers[l.id]
	if t == nil {
		t = &track{id: strings.Clone(l.id)}
		if len(d.containers) < maxTracked {
			d.containers[t.id] = t
		}
	}
	if t.name == "" {
		t.name = strings.Clone(l.name)
	}
	return t
}

func (t *track) add(slot int, l *chartLine) {
	if n := len(t.slots); n == 0 || t.slots[n-1].slot != slot {
		t.slots = append(t.slots, trackSlot{slot: slot})
	}
	s := &t.slots[len(t.slots)-1]
	s.memory.add(l.memory)
	t.peakMemory = max(t.peakMemory, l.memory)
	if l.hasCPU {
		s.cpu.add(l.cpu)
		t.peakCPU = max(t.peakCPU, l.cpu)
		t.cpuSum += l.cpu
	}
}

// label is a container's name as it can be drawn: no control characters, and
// not too long.
func (t *track) label() string {
	name := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, t.name)
	if name == "" {
		name = t.id[:min(12, len(t.id))]
	}
	if runes := []rune(name); len(runes) > 32 {
		name = string(runes[:31]) + "…"
	}
	return name
}

// top are the n containers of which by is greatest, and above 0.
func (d *chartData) top(n int, by func(*track) float64) []*track {
	all := slices.SortedFunc(maps.Values(d.containers), func(a, b *track) int {
		return cmp.Or(cmp.Compare(by(b), by(a)), cmp.Compare(a.id, b.id))
	})
	all = all[:min(n, len(all))]
	return slices.DeleteFunc(all, func(t *track) bool { return by(t) <= 0 })
}

// used are the slots in which there was a snapshot.
func (d *chartData) used() []int { return slices.Sorted(maps.Keys(d.hosts)) }

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
