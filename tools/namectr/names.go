package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const (
	minBackoff = time.Second            // until a question is asked again that was not answered, or not about an id
	maxBackoff = 30 * time.Second       // where it was not answered
	moment     = 100 * time.Millisecond // that an engine is waited for which did not answer before
)

// namer names the containers of one snapshot after the other. It asks for those that
// are new; labels, image and creation of the others never change.
type namer struct {
	fresh    time.Duration // then it asks for renames, and forgets who is gone
	list     func(context.Context) (known, error)
	complain func(error)
	warn     func(string, ...any)

	known    known
	since    time.Time         // known is of then
	missing  map[string]*retry // those of the last snapshot that the engine does not list
	question chan answer       // under way; nil where there is none
	away     *retry            // the engine did not answer last; nil where it did

	unseen    unseen
	snapshots int
	snapshot  string
	asked     bool // for a new id, in the snapshot at hand
	answered  bool // that question was
	recent    bool // the last question was begun in the snapshot at hand
}

func newNamer(fresh time.Duration, list func(context.Context) (known, error), t *cli.Tool) *namer {
	return &namer{fresh: fresh, list: list, complain: t.Complain, warn: t.Warn, missing: map[string]*retry{}, unseen: unseen{here: map[string]bool{}, told: map[string]bool{}}}
}

// wait waits for the question under way.
func (n *namer) wait() {
	if n.question != nil {
		<-n.question
	}
}

// known is what to set in a container's line, by its id.
type known map[string][]record.Member

type answer struct {
	known known
	err   error
}

// retry is when to ask again.
type retry struct {
	wait time.Duration
	at   time.Time
	seen bool // in the snapshot at hand
}

func (r *retry) later(most time.Duration) {
	r.wait = min(max(2*r.wait, minBackoff), most)
	r.at = time.Now().Add(r.wait)
}

// appendLine appends the line to dst, a container's with what Docker knows.
func (n *namer) appendLine(ctx context.Context, dst []byte, line *record.Line) []byte {
	switch line.Type() {
	case record.TypeHost:
		n.begin(ctx, line.Get("snapshot").Str)
	case record.TypeContainer:
		if snapshot := line.Get("snapshot").Str; snapshot != n.snapshot {
			n.begin(ctx, snapshot)
		}
		return line.AppendWith(dst, n.name(ctx, line.Get("id").Str)...)
	case record.TypeEnd:
		n.unseen.whole = true
		n.tellUnseen()
	}
	return append(dst, line.Text()...)
}

// begin begins a snapshot, and renews what is known beside it where that is old.
func (n *namer) begin(ctx context.Context, snapshot string) {
	n.take(0)
	n.tellUnseen()
	n.unseen.begin(n.known == nil)
	n.snapshot, n.asked, n.answered, n.recent = strings.Clone(snapshot), false, false, false
	for id, r := range n.missing {
		if !r.seen {
			delete(n.missing, id)
		}
		r.seen = false
	}
	n.snapshots++
	// In a long stream also where there is none to name: there may be some that cannot be seen.
	if (len(n.known) > 0 || n.snapshots > 1) && time.Since(n.since) >= n.fresh && n.mayAsk() {
		n.unseen.notes = true
		n.ask(ctx)
	}
}

// name is what to set in the line of a container; nothing where it is not known.
func (n *namer) name(ctx context.Context, id string) []record.Member {
	n.unseen.note(id)
	if set, ok := n.known[id]; ok {
		return set
	}
	r := n.missing[id]
	if r == nil {
		r = &retry{}
		n.missing[strings.Clone(id)] = r
	}
	r.seen = true
	if time.Now().Before(r.at) {
		return nil
	}
	if !n.asked {
		n.asked = true
		n.answered = n.askFor(ctx, id)
	}
	if set, ok := n.known[id]; ok {
		delete(n.missing, id)
		return set
	}
	if n.answered { // another engine's, or only just starting
		r.later(max(n.fresh, minBackoff))
	}
	return nil
}

// askFor asks about a new id, and tells whether there was an answer. That is not
// waited for, but for a moment, where the last question had none.
func (n *namer) askFor(ctx context.Context, id string) bool {
	patience := time.Duration(1<<63 - 1) // the question has its own
	if n.away != nil {
		if patience = moment; n.question != nil && !n.recent {
			return false
		}
	}
	if n.question != nil {
		recent := n.recent
		if !n.take(patience) {
			return false
		}
		if _, ok := n.known[id]; ok || recent {
			return true
		}
	}
	if !n.mayAsk() {
		return false
	}
	n.ask(ctx)
	return n.take(patience)
}

func (n *namer) mayAsk() bool {
	return n.question == nil && (n.away == nil || !time.Now().Before(n.away.at))
}

func (n *namer) ask(ctx context.Context) {
	question := make(chan answer, 1)
	n.question, n.recent = question, true
	n.unseen.asked = n.unseen.notes
	go func() {
		known, err := n.list(ctx)
		question <- answer{known, err}
	}()
}

// take takes the answer to the question under way, if it comes in time, and tells
// whether it did.
func (n *namer) take(patience time.Duration) bool {
	if n.question == nil {
		return false
	}
	var a answer
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case a = <-n.question:
	case <-over.C:
		if len(n.question) == 0 {
			return false
		}
		a = <-n.question
	}
	n.question = nil
	return n.heed(a)
}

// heed takes on what the engine knows. Where it did not answer, what was known stays.
func (n *namer) heed(a answer) bool {
	switch {
	case a.err == nil && n.away != nil:
		n.warn("Docker answers again")
		n.away = nil
	case a.err != nil && n.away == nil:
		n.away = &retry{}
		who := "lines"
		if n.known != nil {
			who = "new containers' lines"
		}
		n.complain(fmt.Errorf("%s pass unnamed: %w", who, a.err))
	}
	if a.err != nil {
		n.away.later(maxBackoff)
		return false
	}
	n.known, n.since = a.known, time.Now()
	return true
}

// engine is the one that the environment names.
type engine struct {
	timeout time.Duration
	docker  *client.Client // nil until there is a container to name
}

// list is all that runs now.
func (e *engine) list(ctx context.Context) (known, error) {
	known, err := e.ask(ctx)
	if err != nil {
		e.close() // it may come back as another version
	}
	return known, err
}

func (e *engine) ask(ctx context.Context) (known, error) {
	if e.docker == nil {
		docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
		if err != nil {
			return nil, err
		}
		e.docker = docker
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	running, err := e.docker.ContainerList(ctx, container.ListOptions{})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer from Docker within %v", e.timeout)
	}
	if err != nil {
		return nil, err
	}
	known := make(known, len(running))
	for _, c := range running {
		if known[c.ID], err = members(c); err != nil {
			return nil, fmt.Errorf("container %s: %w", c.ID, err)
		}
	}
	return known, nil
}

func (e *engine) close() {
	if e.docker != nil {
		e.docker.Close()
		e.docker = nil
	}
}

// members are what namectr sets in the line of c.
func members(c container.Summary) ([]record.Member, error) {
	labels := c.Labels
	if labels == nil {
		labels = map[string]string{} // known to be none
	}
	var set []record.Member
	for _, field := range []struct {
		name  string
		value any
	}{
		{"name", name(c.Names)},
		{"image", c.Image},
		{"labels", labels},
		{"created", time.Unix(c.Created, 0).UTC()},
	} {
		m, err := record.Set(field.name, field.value)
		if err != nil {
			return nil, err
		}
		set = append(set, m)
	}
	return set, nil
}

// name is the container's own among its names: those given to it by links
// ("/web/db") have a second slash.
func name(names []string) string {
	for _, name := range names {
		if own := strings.TrimPrefix(name, "/"); !strings.Contains(own, "/") {
			return own
		}
	}
	return ""
}
