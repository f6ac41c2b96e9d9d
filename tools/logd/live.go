package main

import (
	"maps"
	"slices"
	"sync"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
	"winnow/tools/logd/store"

	"github.com/tidwall/gjson"
)

const (
	liveEvery = 250 * time.Millisecond // at most, the newest lines are looked at
	// liveRest is how many times as long as a look took the next one waits: a
	// flood of lines costs a tenth of a processor here.
	liveRest = 9
	// liveSpan is how much of the log's end is looked at at once. When more
	// came, what came first is passed over: only the latest is shown.
	liveSpan = 16 << 20
	// liveBytes bounds what is held of all hosts together.
	liveBytes = 8 << 20
	maxHosts  = 256 // that are shown; the one not heard of for longest goes
	maxShown  = 10  // kills of a host, and notices that were withdrawn
	maxStages = 32  // of a host's pipeline that are counted
	// maxAhead is how far a host's clock may be ahead of logd's.
	maxAhead = time.Minute
)

// live is what the newest lines say: of each host its last snapshot and its
// last kills.
type live struct {
	now     func() time.Time
	mu      sync.RWMutex
	hosts   map[string]*liveHost
	changed chan struct{} // closed and replaced
	warn    func(format string, a ...any)
	held    int  // bytes, about
	loaded  bool // what comes from now on comes as it is taken
}

// liveHost is a host's part.
type liveHost struct {
	name   string
	record record.Host // the line of its last snapshot; the zero one before the first
	at     time.Time   // of the snapshot; of its arrival, where its time is ahead of logd's clock
	ahead  bool        // its time says nothing then

	containers []record.Container // appended to, and replaced as a whole, but never changed
	ids        map[string]bool    // of them
	held       int                // bytes of them
	kills      []record.Kill      // the newest first
	withdrawn  []record.Rule      // notices, the newest first
	stages     []record.Stage     // of one snapshot; replaced as a whole, but never changed
	boots      boots
	pulse      pulse
}

// sizeOf is what a container takes, its place in ids included.
func sizeOf(c *record.Container) int { return 700 + textsOf(c) }

// textsOf is what the texts of a container line take, but for its labels, in bytes.
func textsOf(c *record.Container) int {
	n := len(c.Host) + len(c.Snapshot) + len(c.ID) + len(c.Engine) + len(c.Process) + len(c.Name) + len(c.Image) + len(c.Class) + len(c.Verdict) + len(c.Reason) +
		len(c.Rule) + len(c.Would)
	if c.Cmdline != nil {
		n += len(*c.Cmdline)
	}
	return n
}

func sizeOfKill(k *record.Kill) int {
	return 256 + len(k.Host) + len(k.Snapshot) + len(k.ID) + len(k.Name) + len(k.Image) + len(k.Class) + len(k.Reason) + len(k.Result) + len(k.Signal) + len(k.Error)
}

func sizeOfRule(r *record.Rule) int {
	return 256 + len(r.Host) + len(r.Snapshot) + len(r.Rule) + len(r.ID) + len(r.Name) + len(r.Mode) + len(r.Reason)
}

func sizeOfStage(s *record.Stage) int { return 256 + len(s.Host) + len(s.Snapshot) + len(s.Name) }

func (h *liveHost) size() int {
	n := 1024 + 3*len(h.name) + len(h.record.Snapshot) + h.held
	for i := range h.kills {
		n += sizeOfKill(&h.kills[i])
	}
	for i := range h.withdrawn {
		n += sizeOfRule(&h.withdrawn[i])
	}
	for i := range h.stages {
		n += sizeOfStage(&h.stages[i])
	}
	return n
}

func newLive(now func() time.Time, warn func(string, ...any)) *live {
	return &live{now: now, warn: warn, hosts: make(map[string]*liveHost), changed: make(chan struct{})}
}

// run looks at new lines until stop is closed.
func (l *live) run(s *store.Store, shared *door.Share, stop <-chan struct{}, warn func(string, ...any)) {
	var at store.Position
	all := store.AnyTime(store.Filter{})
	t := shared.Turn()
	each := store.LineFunc(func(line []byte) error {
		t.Pause()
		return l.add(line)
	})
	for {
		views, end, grown := s.Views(&all, at)
		t.Begin()
		begun := time.Now()
		if err := s.QueryViews(store.Last(views, liveSpan), &all, store.NewLimited(each, 0)); err != nil {
			warn("the newest lines: %v", err)
		}
		l.mu.Lock()
		l.loaded = true
		l.mu.Unlock()
		t.End()
		rest := max(liveEvery, liveRest*time.Since(begun))
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
		case <-time.After(rest):
		}
	}
}

// add takes in a line.
func (l *live) add(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch gjson.GetBytes(line, "type").Str {
	case record.TypeHost:
		var r record.Host
		record.Read(line, &r, maxText)
		l.addHost(&r)
	case record.TypeContainer:
		var c record.Container
		record.Read(line, &c, maxText)
		l.addContainer(&c)
	case record.TypeRule:
		var r record.Rule
		if record.Read(line, &r, maxText); r.Event == record.RuleWithdrawn {
			l.addWithdrawn(&r)
		}
	case record.TypeStage:
		var st record.Stage
		record.Read(line, &st, maxText)
		l.addStage(&st)
	case record.TypeKill:
		var k record.Kill
		record.Read(line, &k, maxText)
		l.addKill(&k)
	}
	return nil
}

// addHost begins a snapshot, unless a later one was seen: what waited in a
// spool arrives late. A time ahead of logd's clock makes none later.
func (l *live) addHost(r *record.Host) {
	h := l.host(r.Host)
	if h.boots.add(r.BootID, l.now()) {
		l.warn("two machines send as the host %q, by their boots %.36q and %.36q: give one another name, as with readsysinfo --host", h.name, h.boots.last, h.boots.before)
	}
	now := l.now()
	heard := now
	if !l.loaded && r.Time.Before(now) { // it came before logd started, about when it was taken
		heard = r.Time
	}
	h.pulse.add(r, heard)
	if !h.ahead && r.Time.Before(h.at) {
		return
	}
	l.held -= h.size()
	h.at, h.ahead = r.Time, r.Time.After(now.Add(maxAhead))
	if r.Time.After(now) {
		h.at = now
	}
	h.record = *r
	h.containers, h.ids, h.held = nil, make(map[string]bool), 0
	l.held += h.size()
	l.fit(h)
}

// addContainer adds to its host's snapshot, if it is of the last one and there is room.
func (l *live) addContainer(c *record.Container) {
	h := l.hosts[c.Host]
	if h == nil || h.record.Snapshot != c.Snapshot || len(h.containers) >= h.record.Containers {
		return
	}
	if h.ids[c.ID] || l.held+sizeOf(c) > liveBytes {
		return
	}
	c.Type, c.Host, c.Snapshot = record.TypeContainer, h.name, h.record.Snapshot // held once for all
	c.Labels = nil                                                               // of any length, and on no page
	h.ids[c.ID] = true
	h.containers = append(h.containers, *c)
	h.held += sizeOf(c)
	l.held += sizeOf(c)
}

func (l *live) addWithdrawn(r *record.Rule) {
	h := l.host(r.Host)
	l.held -= h.size()
	h.withdrawn = newest(h.withdrawn, r)
	l.held += h.size()
	l.fit(h)
}

// addStage adds to those of the same snapshot, which replace the ones before.
func (l *live) addStage(st *record.Stage) {
	h := l.host(st.Host)
	stages := h.stages
	if len(stages) > 0 && stages[0].Snapshot != st.Snapshot {
		stages = nil
	}
	if len(stages) >= maxStages {
		return
	}
	l.held -= h.size()
	h.stages = append(stages[:len(stages):len(stages)], *st)
	l.held += h.size()
	l.fit(h)
}

func (l *live) addKill(k *record.Kill) {
	h := l.host(k.Host)
	l.held -= h.size()
	h.kills = newest(h.kills, k)
	l.held += h.size()
	l.fit(h)
}

// newest puts one before those that are shown, the last of which may go.
func newest[T any](shown []T, one *T) []T {
	shown = slices.Insert(shown, 0, *one)
	return shown[:min(len(shown), maxShown)]
}

// host is the one of a name, which may be new.
func (l *live) host(name string) *liveHost {
	h := l.hosts[name]
	if h == nil {
		h = &liveHost{name: name, kills: []record.Kill{}, withdrawn: []record.Rule{}}
		l.hosts[name] = h
		l.held += h.size()
		l.fit(h)
	}
	return h
}

// fit makes room for what h was given: the hosts that were not heard of for
// longest go.
func (l *live) fit(h *liveHost) {
	for len(l.hosts) > 1 && (len(l.hosts) > maxHosts || l.held > liveBytes) {
		var oldest *liveHost
		for _, other := range l.hosts {
			if other != h && (oldest == nil || other.at.Before(oldest.at)) {
				oldest = other
			}
		}
		l.held -= oldest.size()
		delete(l.hosts, oldest.name)
	}
}

func (l *live) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// names are those of all hosts, in order.
func (l *live) names() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Sorted(maps.Keys(l.hosts))
}

// pageHost is what the page is told of each host.
type pageHost struct {
	Name     string     `json:"name"`
	Heard    *time.Time `json:"heard"`     // when a snapshot came last, by logd's clock; null before the first
	SilentMS int64      `json:"silent_ms"` // after so long without one it is silent

	// Of its last snapshot.
	Containers        int    `json:"containers"`
	Condemned         int    `json:"condemned"`
	AvailableMemoryKB uint64 `json:"available_memory_kb"`
	TotalMemoryKB     uint64 `json:"total_memory_kb"`
}

// pageHosts are all, by name.
func (l *live) pageHosts() []pageHost {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := []pageHost{} // none is [] to the page
	for _, name := range slices.Sorted(maps.Keys(l.hosts)) {
		h := l.hosts[name]
		p := h.pulse // a copy
		host := pageHost{Name: name, SilentMS: p.patience().Milliseconds(), Containers: h.record.Containers,
			AvailableMemoryKB: h.record.AvailableMemoryKB, TotalMemoryKB: h.record.TotalMemoryKB}
		if !p.heard.IsZero() {
			host.Heard = &p.heard
		}
		for i := range h.containers {
			if h.containers[i].Verdict == record.VerdictKill {
				host.Condemned++
			}
		}
		all = append(all, host)
	}
	return all
}

// view is the host called name, if there is one, but for its containers, and
// what is closed when there is more to see.
func (l *live) view(name string) (host *liveHost, changed <-chan struct{}) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if h := l.hosts[name]; h != nil {
		copied := *h
		copied.containers, copied.stages, copied.kills, copied.withdrawn = nil, nil, slices.Clone(h.kills), slices.Clone(h.withdrawn)
		host = &copied
	}
	return host, l.changed
}

// all are copies of all hosts, by name.
func (l *live) all() []liveHost {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var all []liveHost
	for _, name := range slices.Sorted(maps.Keys(l.hosts)) {
		all = append(all, *l.hosts[name])
	}
	return all
}

// part are some containers of a snapshot from one of them on, for as long as
// it is the newest.
func (l *live) part(name, snapshot string, from int) []record.Container {
	l.mu.RLock()
	defer l.mu.RUnlock()
	h := l.hosts[name]
	if h == nil || h.record.Snapshot != snapshot || from >= len(h.containers) {
		return nil
	}
	return slices.Clone(h.containers[from:min(from+pagePart, len(h.containers))])
}
