package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/store"

	"github.com/tidwall/gjson"
)

const (
	liveEvery = 250 * time.Millisecond // at most, the newest lines are looked at
	// liveSpan is how much of the log's end is looked at at once. When more
	// came, what came first is passed over: only the latest is shown.
	liveSpan = 1 << 20
	// liveBytes bounds the lines that are held for all hosts together.
	liveBytes = 16 << 20
	maxHosts  = 256 // that are shown; the one not heard of for longest goes
	maxShown  = 10  // kills of a host
)

// live is what the newest lines say: of each host its last snapshot and its
// last kills.
type live struct {
	mu      sync.RWMutex
	hosts   map[string]*liveHost
	changed chan struct{} // closed and replaced
	held    int           // bytes of container lines
}

// liveHost is a host's part. It is what the page is sent.
type liveHost struct {
	Host       json.RawMessage `json:"host"` // its line
	Containers []liveContainer `json:"containers"`
	Kills      []liveKill      `json:"kills"` // the newest first

	name, snapshot string
	at             time.Time // of the snapshot
	record         record.Host
	lines          [][]byte // of its containers; read when someone looks
	held           int      // bytes of lines
}

// liveContainer is what is shown of a container line.
type liveContainer struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Image         string   `json:"image"`
	MemoryKB      float64  `json:"memory_kb"`
	MemoryPercent float64  `json:"memory_percent"`
	CPUPercent    *float64 `json:"cpu_percent"`
	CPUNS         float64  `json:"cpu_ns"`
	Processes     int64    `json:"processes"`
	Class         string   `json:"class"`
	Verdict       string   `json:"verdict"`
	Reason        string   `json:"reason"`
	Rank          int64    `json:"rank"`
}

// liveKill is what is shown of a kill line.
type liveKill struct {
	Time   string `json:"time"`
	ID     string `json:"id"`
	Name   string `json:"name"`
	Image  string `json:"image"`
	Class  string `json:"class"`
	Reason string `json:"reason"`
	Result string `json:"result"`
	Error  string `json:"error"`
}

func newLive() *live {
	return &live{hosts: make(map[string]*liveHost), changed: make(chan struct{})}
}

// run looks at new lines until stop is closed.
func (l *live) run(s *store.Store, stop <-chan struct{}, warn func(string, ...any)) {
	var at store.Position
	all := store.AnyTime(store.Filter{})
	for {
		views, end, grown := s.Views(&all, at)
		if err := s.QueryViews(store.Last(views, liveSpan), &all, store.NewLimited(store.LineFunc(l.take), 0)); err != nil {
			warn("the newest lines: %v", err)
		}
		if at != end {
			l.tell()
		}
		at = end
		select {
		case <-stop:
			return
		case <-grown:
		}
		select {
		case <-stop:
			return
		case <-time.After(liveEvery):
		}
	}
}

func (l *live) take(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(line)
	return nil
}

func (l *live) add(line []byte) {
	got := gjson.GetManyBytes(line, "type", "host", "snapshot", "time")
	name := got[1].Str
	switch got[0].Str {
	case record.TypeHost:
		l.addHost(name, got[2].Str, line)
	case record.TypeContainer:
		h := l.hosts[name]
		if h == nil || h.snapshot != got[2].Str || len(h.lines) >= h.record.Containers || l.held+len(line) > liveBytes {
			return
		}
		h.lines = append(h.lines, bytes.Clone(line))
		h.held += len(line)
		l.held += len(line)
	case record.TypeKill:
		h := l.host(name)
		var k liveKill
		if json.Unmarshal(line, &k) == nil {
			h.Kills = slices.Insert(h.Kills, 0, k)
			h.Kills = h.Kills[:min(len(h.Kills), maxShown)]
		}
	}
}

// addHost begins a snapshot, unless a later one was seen: what waited in a
// spool arrives late.
func (l *live) addHost(name, snapshot string, line []byte) {
	var r record.Host
	if json.Unmarshal(line, &r) != nil {
		return
	}
	h := l.host(name)
	if r.Time.Before(h.at) {
		return
	}
	h.Host, h.snapshot, h.at, h.record = bytes.Clone(bytes.TrimSpace(line)), snapshot, r.Time, r
	l.held -= h.held
	h.lines, h.held = nil, 0
}

func (l *live) host(name string) *liveHost {
	if h := l.hosts[name]; h != nil {
		return h
	}
	if len(l.hosts) >= maxHosts {
		oldest := slices.MinFunc(slices.Collect(maps.Values(l.hosts)), func(a, b *liveHost) int { return a.at.Compare(b.at) })
		l.held -= oldest.held
		delete(l.hosts, oldest.name)
	}
	name = strings.Clone(name)
	h := &liveHost{name: name, Kills: []liveKill{}}
	l.hosts[name] = h
	return h
}

// copy is h with its containers read.
func (h *liveHost) copy() liveHost {
	c := *h
	c.Kills = slices.Clone(h.Kills)
	c.Containers = make([]liveContainer, 0, len(h.lines))
	for _, line := range h.lines {
		var shown liveContainer
		if decode(line, &shown) {
			c.Containers = append(c.Containers, shown)
		}
	}
	return c
}

func (l *live) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// view is the state for a page: the names of all hosts, and the one called
// name; with an empty name the first. The rest of it is not changed after.
func (l *live) view(name string) (names []string, host *liveHost, changed <-chan struct{}) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	names = slices.AppendSeq([]string{}, maps.Keys(l.hosts))
	slices.Sort(names)
	if name == "" && len(names) > 0 {
		name = names[0]
	}
	if h := l.hosts[name]; h != nil {
		copied := h.copy()
		host = &copied
	}
	return names, host, l.changed
}

// all are copies of all hosts, by name.
func (l *live) all() []liveHost {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var all []liveHost
	for _, name := range slices.Sorted(maps.Keys(l.hosts)) {
		all = append(all, l.hosts[name].copy())
	}
	return all
}
