package main

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/client"
	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

const (
	// parallel is how many kills are under way at a time; more wait their turn.
	parallel = 128
	// A kill line has six texts of up to longestText bytes and an error of up to
	// longestError: even with each byte escaped it is shorter than record.MaxLine.
	longestText  = 64 << 10
	longestError = 4 << 10
)

// killer begins the kills of a stream and reports how they end.
type killer struct {
	settings
	ctx    context.Context // its end lets no more stops begin
	under  context.Context // its end leaves those alone that have begun
	out    *output
	docker connection
	met    *met
	turns  chan struct{}
	kills  sync.WaitGroup

	mu     sync.Mutex
	begun  map[string]bool  // ids of this snapshot, and of kills under way, which are true
	again  map[string]again // of ids that were not killed
	closed bool
}

// again is when a container is tried again whose kill did not come to that: each
// beat of 100 ms would be a question and a line.
type again struct {
	at    time.Time
	pause time.Duration
}

const (
	minPause = time.Second
	maxPause = 10 * time.Second
)

// next is when the one after a try is, which came to its end at now.
func (a again) next(now time.Time) again {
	pause := min(max(2*a.pause, minPause), maxPause)
	return again{now.Add(pause), pause}
}

func newKiller(ctx, under context.Context, s settings, out *output) *killer {
	connect := func() (*client.Client, error) {
		return client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	}
	k := &killer{settings: s, ctx: ctx, under: under, out: out, docker: connection{make: connect},
		turns: make(chan struct{}, parallel), begun: map[string]bool{}, again: map[string]again{}}
	k.met = newMet(ctx, k.look)
	return k
}

// connection is the one to Docker, which all kills share.
type connection struct {
	make func() (*client.Client, error)
	mu   sync.Mutex
	now  *client.Client // nil until it is needed
}

func (c *connection) get() (*client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil {
		return c.now, nil
	}
	docker, err := c.make()
	if err == nil {
		c.now = docker
	}
	return docker, err
}

// renew has the next kill connect anew: a dockerd that comes back may be of another
// version, and speak another one of its API.
func (c *connection) renew(failed *client.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == failed {
		c.now = nil
	}
	failed.Close() // what is under way has its connection still
}

// begin begins the kill that the line asks for, if it does, and returns at once.
// A container that the same snapshot named before, or whose kill is under way,
// is left to that.
func (k *killer) begin(line *record.Line) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if line.Type() == record.TypeHost {
		for id, underWay := range k.begun {
			if !underWay {
				delete(k.begun, id)
			}
		}
		maps.DeleteFunc(k.again, func(_ string, a again) bool { return time.Since(a.at) > maxPause })
		k.met.turn()
	}
	k.meet(line)
	if !condemns(line) || k.closed {
		return
	}
	text := func(name string) string { return record.Shorten(line.Get(name).Str, longestText) }
	kill := record.Kill{
		Header: record.Header{Type: record.TypeKill, Host: text("host"), Snapshot: text("snapshot")},
		ID:     text("id"), Name: text("name"), Image: text("image"), Class: text("class"), Reason: text("reason"),
	}
	if _, begun := k.begun[kill.ID]; begun || time.Now().Before(k.again[kill.ID].at) {
		return
	}
	k.begun[kill.ID] = true
	t := target{id: kill.ID, grace: k.grace}
	t.sampled, _ = time.Parse(time.RFC3339, text("time"))
	if grace := line.Get("grace_ms"); grace.Type == gjson.Number && grace.Num <= float64(maxGrace.Milliseconds()) {
		t.grace = time.Duration(grace.Num) * time.Millisecond
	}
	k.kills.Go(func() { k.carryOut(kill, t) })
}

// condemns tells whether a line asks for a kill.
func condemns(line *record.Line) bool {
	return line.Type() == record.TypeContainer && line.Get("verdict").Str == record.VerdictKill
}

// meet has Docker asked early about a container that it is allowed to kill, by its
// line.
func (k *killer) meet(line *record.Line) {
	if !k.askEarly || k.dryRun || k.closed || line.Type() != record.TypeContainer {
		return
	}
	var consent record.Consent
	for name, value := range line.Get("labels").ForEach {
		consent.Label(name.Str, value.Str)
	}
	if forbidden(consent, k.all) == "" {
		k.met.meet(strings.Clone(line.Get("id").Str))
	}
}

// carryOut waits for the kill's turn, does it and reports it.
func (k *killer) carryOut(kill record.Kill, t target) {
	end, took := k.inTurn(t)
	kill.Time = time.Now().UTC()
	kill.TookMS = took.Milliseconds()
	kill.Result, kill.Signal, kill.Error = end.result, end.signal, record.Shorten(end.why, longestError)
	kill.Follows = end.follows
	k.out.kill(kill)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.begun[kill.ID] = false
	if end.result != record.ResultKilled {
		k.again[kill.ID] = k.again[kill.ID].next(time.Now())
	}
}

// inTurn gives its turn back before the line is written: a reader that is
// stuck holds no kill up.
func (k *killer) inTurn(t target) (outcome, time.Duration) {
	select {
	case k.turns <- struct{}{}:
		defer func() { <-k.turns }()
	case <-k.ctx.Done(): // it will not begin, and need not wait to say so
	}
	start := time.Now()
	end := k.attempt(t)
	return end, time.Since(start)
}

// wait begins no more kills and waits for those that have begun.
func (k *killer) wait() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.kills.Wait()
	k.met.close()
}
