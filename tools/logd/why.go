package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
	"winnow/tools/logd/store"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

const (
	maxSamples    = 500  // of a story
	maxConsidered = 2000 // containers that a decision was made among
	maxAttempts   = 100  // to kill it, the last ones
	maxRuled      = 100  // lines of rules about it, the last ones
	maxOthers     = 100  // containers of its name
	// maxStory bounds the texts of all its samples, and of all those
	// considered, in bytes.
	maxStory = 1 << 20
)

// story is what became of one container, and why.
type story struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Host    string            `json:"host"`
	Answer  []string          `json:"answer"` // why it was killed, or is still here, in plain sentences
	Labels  map[string]string `json:"labels"`
	Created *time.Time        `json:"created"`
	First   time.Time         `json:"first"` // and last time that it was seen
	Last    time.Time         `json:"last"`

	Count   int      `json:"sample_count"`
	Samples []sample `json:"samples"` // all where its class or verdict changed; of the others as many as there is room for

	Latest *record.Container `json:"latest"` // its last line, where it still lives as far as is known; else null

	// Considered are the containers of the snapshot in which it was last
	// condemned, or else last seen: it is one of them.
	Considered []record.Container `json:"considered"`
	Rules      []record.Rule      `json:"rules"`  // what rules said of it, such as that a notice is withdrawn
	Kills      []record.Kill      `json:"kills"`  // each attempt
	End        *record.Kill       `json:"end"`    // the one that ended it; null while it runs, or ended otherwise
	Others     []string           `json:"others"` // ids of other containers of its name

	ConsideredMore int `json:"considered_more,omitempty"` // that were considered, too, and for which there is no room

	held int // bytes of samples
}

// sample is a container in one snapshot.
type sample struct {
	record.Container
	changed bool // of another class, verdict or notice than the one before
}

var errUnknown = errors.New("no line speaks of it")

// why answers GET /why/<container>: the page to a browser, else the story.
func (s *server) why(ctx *fasthttp.RequestCtx, container string) {
	ctx.Response.Header.Set(fasthttp.HeaderVary, fasthttp.HeaderAccept)
	if bytes.Contains(ctx.Request.Header.Peek(fasthttp.HeaderAccept), []byte("text/html")) {
		servePage(ctx, "why.html")
		return
	}
	if container == "" {
		fail(ctx, fasthttp.StatusBadRequest, "say which container: /why/NAME or /why/ID")
		return
	}
	err := s.work(ctx, &s.share.Jobs, "application/json", func(j *door.Job) ([]byte, error) {
		st, err := s.tell(j, container)
		if err != nil {
			return nil, err
		}
		return record.Marshal(st)
	})
	if errors.Is(err, errUnknown) {
		fail(ctx, fasthttp.StatusNotFound, "%q: %v", record.Clip(container, maxText), err)
	} else if err != nil {
		s.failWork(ctx, err)
	}
}

// tell tells the story of the container that has this id, or that had this name
// last, or whose id begins so.
func (s *server) tell(j *door.Job, container string) (*story, error) {
	newest, err := s.newestOf(j, container)
	if err != nil {
		return nil, err
	}
	st := &story{ID: newest.ID, Labels: map[string]string{}, Samples: []sample{}, Considered: []record.Container{}, Rules: []record.Rule{}, Kills: []record.Kill{}, Others: []string{}}
	about := store.AnyTime(store.Filter{Equal: []store.Member{{Name: "id", Value: newest.ID}}})
	if newest.Created != nil && !newest.Created.After(newest.Time) { // or the clock went back since
		about.Since = nanoseconds(*newest.Created)
	}
	if err := s.query(j, &about, st.add); err != nil {
		return nil, err
	}
	if err := s.consider(j, st); err != nil {
		return nil, err
	}
	if err := s.findLatest(j, st); err != nil {
		return nil, err
	}
	st.Answer = st.answer()
	return st, s.others(j, st)
}

// newestOf is the newest line of a container.
func (s *server) newestOf(j *door.Job, container string) (*record.Container, error) {
	by := []string{"name", "id"}
	switch {
	case isWholeID(container):
		by = []string{"id", "name"}
	case !isID(container):
		by = []string{"name"}
	}
	for _, by := range by {
		f := store.AnyTime(store.Filter{Equal: []store.Member{{Name: by, Value: container}}, NewestFirst: true})
		var found *record.Container
		err := s.query(j, &f, func(line []byte) error {
			c := new(record.Container)
			record.Read(line, c, maxText)
			if c.ID == "" || c.Type != record.TypeContainer && c.Type != record.TypeRule && c.Type != record.TypeKill {
				return nil
			}
			found = c
			return store.ErrEnough
		})
		if err != nil && !errors.Is(err, store.ErrEnough) {
			return nil, err
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, errUnknown
}

// isID tells whether text can be an id, in whole or its beginning.
func isID(text string) bool {
	return len(text) >= 4 && len(text) <= 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// isWholeID takes the 12 characters that Docker shows for a whole id: nobody
// hides a container by giving its id to another one as the name.
func isWholeID(text string) bool { return isID(text) && (len(text) == 12 || len(text) == 64) }

func (st *story) add(line []byte) error {
	switch gjson.GetBytes(line, "type").Str {
	case record.TypeContainer:
		var c record.Container
		if record.Read(line, &c, maxText); c.ID == st.ID {
			st.addSample(&c)
		}
	case record.TypeRule:
		var r record.Rule
		if record.Read(line, &r, maxText); r.ID == st.ID {
			st.addRule(&r)
		}
	case record.TypeKill:
		var k record.Kill
		if record.Read(line, &k, maxText); k.ID == st.ID {
			st.addKill(&k)
		}
	}
	return nil
}

func (st *story) seen(at time.Time, host, name, image string) {
	if st.First.IsZero() || at.Before(st.First) {
		st.First = at
	}
	if at.After(st.Last) {
		st.Last = at
	}
	st.Host = host
	if name != "" {
		st.Name, st.Image = name, image
	}
}

func (st *story) addSample(c *record.Container) {
	st.seen(c.Time, c.Host, c.Name, c.Image)
	if c.Labels != nil {
		st.Labels = c.Labels
	}
	if c.Created != nil {
		st.Created = c.Created
	}
	st.Count++
	n := len(st.Samples)
	changed := n == 0 || st.Samples[n-1].differs(c)
	c.Labels = nil // of any length, and once in the story is enough
	st.Samples = append(st.Samples, sample{*c, changed})
	st.held += textsOf(c)
	if len(st.Samples) >= 2*maxSamples || st.held > maxStory {
		st.thin()
	}
}

func (s *sample) differs(c *record.Container) bool {
	return s.Class != c.Class || s.Verdict != c.Verdict || s.Would != c.Would || !sameTime(s.KillAt, c.KillAt)
}

// thin leaves out every other sample, the oldest of those that must go first.
func (st *story) thin() {
	kept := st.Samples[:0]
	for i, s := range st.Samples {
		if i%2 == 0 || s.changed || i == len(st.Samples)-1 {
			kept = append(kept, s)
		}
	}
	kept = kept[max(0, len(kept)-2*maxSamples+1):]
	st.held = 0
	for i := range kept {
		st.held += textsOf(&kept[i].Container)
	}
	for st.held > maxStory {
		st.held -= textsOf(&kept[0].Container)
		kept = kept[1:]
	}
	st.Samples = slices.Clone(kept)
}

func (st *story) addRule(r *record.Rule) {
	st.seen(r.Time, r.Host, r.Name, st.Image)
	st.Rules = append(st.Rules, *r)
	st.Rules = st.Rules[max(0, len(st.Rules)-maxRuled):]
}

func (st *story) addKill(k *record.Kill) {
	st.seen(k.Time, k.Host, k.Name, k.Image)
	st.Kills = append(st.Kills, *k)
	st.Kills = st.Kills[max(0, len(st.Kills)-maxAttempts):]
	if k.Result == record.ResultKilled {
		st.End = k
	}
}

// findLatest finds whether it still lives: no stop came after its last line, nor the end of a later snapshot without it,
// and that line is not so old that nobody knows.
func (s *server) findLatest(j *door.Job, st *story) error {
	const lately = 24 * time.Hour
	if len(st.Samples) == 0 {
		return nil
	}
	last := &st.Samples[len(st.Samples)-1].Container
	for _, k := range st.Kills {
		isOver := k.Result == record.ResultKilled || k.Result == record.ResultGone
		if isOver && (k.Snapshot == last.Snapshot || k.Time.After(last.Time)) {
			return nil
		}
	}
	if s.now().Sub(last.Time) > lately {
		return nil
	}
	later := store.AnyTime(store.Filter{Equal: []store.Member{{Name: "host", Value: st.Host}, {Name: "type", Value: record.TypeEnd}}})
	later.Since = nanoseconds(last.Time)
	err := s.query(j, &later, func(line []byte) error {
		var end record.End
		record.Read(line, &end, maxText)
		if end.Snapshot == last.Snapshot || !end.Time.After(last.Time) {
			return nil
		}
		return store.ErrEnough
	})
	if errors.Is(err, store.ErrEnough) {
		return nil
	}
	st.Latest = last
	return err
}

// consider finds who else was there when it was decided about.
func (s *server) consider(j *door.Job, st *story) error {
	if len(st.Samples) == 0 {
		return nil
	}
	decision := st.Samples[len(st.Samples)-1]
	for _, at := range st.Samples {
		if at.Verdict == record.VerdictKill {
			decision = at
		}
	}
	f := around(decision.Time, decision.Time, time.Minute)
	f.Equal = []store.Member{{Name: "snapshot", Value: decision.Snapshot}, {Name: "host", Value: st.Host}, {Name: "type", Value: record.TypeContainer}}
	held := 0
	return s.query(j, f, func(line []byte) error {
		var c record.Container
		record.Read(line, &c, maxText)
		if held += textsOf(&c); len(st.Considered) == maxConsidered || held > maxStory {
			st.ConsideredMore++
			return nil
		}
		c.Labels = nil
		st.Considered = append(st.Considered, c)
		return nil
	})
}

// others finds containers that had the same name within a day of it.
func (s *server) others(j *door.Job, st *story) error {
	if st.Name == "" {
		return nil
	}
	f := around(st.First, st.Last, 24*time.Hour)
	f.Equal = []store.Member{{Name: "name", Value: st.Name}, {Name: "host", Value: st.Host}}
	seen := map[string]bool{st.ID: true}
	err := s.query(j, f, func(line []byte) error {
		id := record.Clip(gjson.GetBytes(line, "id").Str, maxText)
		if id == "" || seen[id] {
			return nil
		}
		seen[id] = true
		st.Others = append(st.Others, id)
		if len(st.Others) == maxOthers {
			return store.ErrEnough
		}
		return nil
	})
	if errors.Is(err, store.ErrEnough) {
		return nil
	}
	return err
}

// around asks for a span and what is so close to it.
func around(first, last time.Time, close time.Duration) *store.Filter {
	return &store.Filter{Since: nanoseconds(first.Add(-close)), Until: nanoseconds(last.Add(close))}
}
