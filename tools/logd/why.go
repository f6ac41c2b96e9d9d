package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/store"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

const (
	maxSamples    = 500  // of a story
	maxConsidered = 2000 // containers that a decision was made among
)

// story is what became of one container, and why.
type story struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Host    string            `json:"host"`
	Labels  map[string]string `json:"labels"`
	Created *time.Time        `json:"created"`
	First   time.Time         `json:"first"` // and last time that it was seen
	Last    time.Time         `json:"last"`

	Count   int      `json:"sample_count"`
	Samples []sample `json:"samples"` // all where its class or verdict changed; of the others as many as there is room for

	// Considered are the containers of the snapshot in which it was last
	// condemned, or else last seen: it is one of them.
	Considered []choice      `json:"considered"`
	Kills      []record.Kill `json:"kills"`  // each attempt
	End        *record.Kill  `json:"end"`    // the one that ended it; null while it runs, or ended otherwise
	Others     []string      `json:"others"` // ids of other containers of its name
}

// sample is a container in one snapshot.
type sample struct {
	Time       time.Time `json:"time"`
	Snapshot   string    `json:"snapshot"`
	MemoryKB   uint64    `json:"memory_kb"`
	CPUPercent *float64  `json:"cpu_percent"`
	Class      string    `json:"class"`
	Verdict    string    `json:"verdict"`
	Rank       int       `json:"rank"`
	Reason     string    `json:"reason"`
	changed    bool
}

// choice is a container beside others of the same snapshot.
type choice struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Class      string   `json:"class"`
	Verdict    string   `json:"verdict"`
	Rank       int      `json:"rank"`
	MemoryKB   uint64   `json:"memory_kb"`
	CPUPercent *float64 `json:"cpu_percent"`
	Reason     string   `json:"reason"`
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
	st, err := why(s.store, container)
	switch {
	case errors.Is(err, errUnknown):
		fail(ctx, fasthttp.StatusNotFound, "%q: %v", container, err)
	case errors.Is(err, store.ErrIndexing):
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
	case err != nil:
		s.warn("GET /why/%s: %v", container, err)
		fail(ctx, fasthttp.StatusInternalServerError, "%v", err)
	default:
		reply(ctx, st)
	}
}

// why tells the story of the container that has this id, or that had this name
// last, or whose id begins so.
func why(s *store.Store, container string) (*story, error) {
	newest, err := newestOf(s, container)
	if err != nil {
		return nil, err
	}
	st := &story{ID: newest.ID, Labels: map[string]string{}, Samples: []sample{}, Considered: []choice{}, Kills: []record.Kill{}, Others: []string{}}
	about := store.AnyTime(store.Filter{Equal: []store.Member{{Name: "id", Value: newest.ID}}})
	if newest.Created != nil {
		about.Since = newest.Created.UnixNano()
	}
	if err := s.Query(&about, store.LineFunc(st.add)); err != nil {
		return nil, err
	}
	if err := consider(s, st); err != nil {
		return nil, err
	}
	return st, others(s, st)
}

// newestOf is the newest line of a container.
func newestOf(s *store.Store, container string) (*record.Container, error) {
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
		err := s.Query(&f, store.LineFunc(func(line []byte) error {
			c := new(record.Container)
			if kind := gjson.GetBytes(line, "type").Str; kind != record.TypeContainer && kind != record.TypeKill || !decode(line, c) || c.ID == "" {
				return nil
			}
			found = c
			return store.ErrEnough
		}))
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

// decode reads as much of a line as has the right types.
func decode(line []byte, v any) bool {
	err := json.Unmarshal(line, v)
	var wrong *json.UnmarshalTypeError
	return err == nil || errors.As(err, &wrong)
}

func (st *story) add(line []byte) error {
	switch gjson.GetBytes(line, "type").Str {
	case record.TypeContainer:
		var c record.Container
		if decode(line, &c) && c.ID == st.ID {
			st.addSample(&c)
		}
	case record.TypeKill:
		var k record.Kill
		if decode(line, &k) && k.ID == st.ID {
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
	changed := n == 0 || st.Samples[n-1].Class != c.Class || st.Samples[n-1].Verdict != c.Verdict
	st.Samples = append(st.Samples, sample{c.Time, c.Snapshot, c.MemoryKB, c.CPUPercent, c.Class, c.Verdict, c.Rank, c.Reason, changed})
	if len(st.Samples) >= 2*maxSamples {
		st.thin()
	}
}

// thin leaves out every other sample, the oldest of those that must go first.
func (st *story) thin() {
	kept := st.Samples[:0]
	for i, s := range st.Samples {
		if i%2 == 0 || s.changed || i == len(st.Samples)-1 {
			kept = append(kept, s)
		}
	}
	st.Samples = kept[max(0, len(kept)-2*maxSamples+1):]
}

func (st *story) addKill(k *record.Kill) {
	st.seen(k.Time, k.Host, k.Name, k.Image)
	st.Kills = append(st.Kills, *k)
	st.Kills = st.Kills[max(0, len(st.Kills)-maxSamples):]
	if k.Result == record.ResultKilled {
		st.End = k
	}
}

// consider finds who else was there when it was decided about.
func consider(s *store.Store, st *story) error {
	if len(st.Samples) == 0 {
		return nil
	}
	decision := st.Samples[len(st.Samples)-1]
	for _, at := range st.Samples {
		if at.Verdict == record.VerdictKill {
			decision = at
		}
	}
	f := &store.Filter{
		Equal: []store.Member{{Name: "snapshot", Value: decision.Snapshot}, {Name: "host", Value: st.Host}, {Name: "type", Value: record.TypeContainer}},
		Since: decision.Time.Add(-time.Minute).UnixNano(), Until: decision.Time.Add(time.Minute).UnixNano(), Limit: maxConsidered,
	}
	return ignoreEnough(s, f, func(line []byte) error {
		var c record.Container
		if decode(line, &c) {
			st.Considered = append(st.Considered, choice{c.ID, c.Name, c.Class, c.Verdict, c.Rank, c.MemoryKB, c.CPUPercent, c.Reason})
		}
		return nil
	})
}

// others finds containers that had the same name within a day of it.
func others(s *store.Store, st *story) error {
	if st.Name == "" {
		return nil
	}
	f := &store.Filter{
		Equal: []store.Member{{Name: "name", Value: st.Name}, {Name: "host", Value: st.Host}},
		Since: st.First.AddDate(0, 0, -1).UnixNano(), Until: st.Last.AddDate(0, 0, 1).UnixNano(),
	}
	seen := map[string]bool{st.ID: true}
	return ignoreEnough(s, f, func(line []byte) error {
		id := strings.Clone(gjson.GetBytes(line, "id").Str)
		if id == "" || seen[id] {
			return nil
		}
		seen[id] = true
		st.Others = append(st.Others, id)
		if len(st.Others) == 100 {
			return store.ErrEnough
		}
		return nil
	})
}

func ignoreEnough(s *store.Store, f *store.Filter, each store.LineFunc) error {
	if err := s.Query(f, each); !errors.Is(err, store.ErrEnough) {
		return err
	}
	return nil
}
