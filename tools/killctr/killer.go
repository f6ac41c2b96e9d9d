package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"winnow/tools/internal/record"
)

const (
	// parallel is how many kills are under way at a time; more wait their turn.
	parallel = 128
	// longestText and longestError bound the texts of a kill line in bytes, six
	// and one of them: with each byte escaped it is below record.MaxLine.
	longestText  = 64 << 10
	longestError = 4 << 10
)

// killer begins the kills of a stream and reports how they end.
type killer struct {
	settings
	ctx     context.Context // its end lets no more stops begin
	under   context.Context // its end leaves those alone that have begun
	out     *output
	connect func() (*client.Client, error)
	turns   chan struct{}
	kills   sync.WaitGroup

	mu     sync.Mutex
	taken  map[string]bool // ids that need no more; true while the kill is under way
	closed bool
}

func newKiller(ctx, under context.Context, s settings, out *output) *killer {
	connect := func() (*client.Client, error) {
		return client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	}
	return &killer{settings: s, ctx: ctx, under: under, out: out, connect: sync.OnceValues(connect),
		turns: make(chan struct{}, parallel), taken: map[string]bool{}}
}

// take begins the kill that the line asks for, if it does, and returns at once.
// A container that the same snapshot named before, or whose kill is under way,
// is left to that.
func (k *killer) take(line *record.Line) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if line.Type() == record.TypeHost {
		for id, underWay := range k.taken {
			if !underWay {
				delete(k.taken, id)
			}
		}
	}
	if line.Type() != record.TypeContainer || line.Get("verdict").Str != record.VerdictKill || k.closed {
		return
	}
	text := func(name string) string { return record.Shorten(line.Get(name).Str, longestText) }
	kill := record.Kill{
		Header: record.Header{Type: record.TypeKill, Host: text("host"), Snapshot: text("snapshot")},
		ID:     text("id"), Name: text("name"), Image: text("image"), Class: text("class"), Reason: text("reason"),
	}
	if _, taken := k.taken[kill.ID]; taken {
		return
	}
	k.taken[kill.ID] = true
	sampled, _ := time.Parse(time.RFC3339, text("time")) // without one it is as old as can be
	k.kills.Go(func() { k.carryOut(kill, sampled) })
}

// carryOut waits for the kill's turn, does it and reports it.
func (k *killer) carryOut(kill record.Kill, sampled time.Time) {
	end, took := k.inTurn(kill.ID, sampled)
	kill.Time = time.Now().UTC()
	kill.TookMS = took.Milliseconds()
	kill.Result, kill.Signal, kill.Error = end.result, end.signal, record.Shorten(end.why, longestError)
	k.out.kill(kill)
	k.mu.Lock()
	k.taken[kill.ID] = false
	k.mu.Unlock()
}

// inTurn gives its turn back before the line is written: a reader that is
// stuck holds no kill up.
func (k *killer) inTurn(id string, sampled time.Time) (outcome, time.Duration) {
	select {
	case k.turns <- struct{}{}:
		defer func() { <-k.turns }()
	case <-k.ctx.Done(): // it will not begin, and need not wait to say so
	}
	start := time.Now()
	end := k.attempt(id, sampled)
	return end, time.Since(start)
}

// wait begins no more kills and waits for those that have begun.
func (k *killer) wait() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.kills.Wait()
}

// output is stdout and stderr, shared by all kills. Each line is written whole
// and at once, and a stdout that is stuck does not keep stderr.
type output struct {
	broken func(error) // is told of the first error in writing
	w      io.Writer

	mu  sync.Mutex
	err error // the first of w; nothing is written after it
	buf []byte

	complain   func(error)
	complaints sync.Mutex
	closed     bool
}

var errClosed = errors.New("closed")

func (o *output) line(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	o.buf = append(append(o.buf[:0], text...), '\n')
	if _, err := o.w.Write(o.buf); err != nil {
		o.err = fmt.Errorf("writing: %w", err)
		o.broken(o.err)
	}
	return o.err
}

// kill writes the line of a kill. Where it cannot, stderr tells how it ended.
func (o *output) kill(kill record.Kill) {
	text, err := record.Marshal(kill)
	if err == nil {
		err = o.line(string(text[:len(text)-1]))
	}
	if kill.Result == record.ResultFailed {
		o.complaint(fmt.Errorf("container %s %s: not killed: %s", kill.ID[:12], kill.Name, kill.Error))
	} else if err != nil {
		o.complaint(fmt.Errorf("container %s %s: %s: its line was lost", kill.ID[:12], kill.Name, kill.Result))
	}
}

func (o *output) complaint(err error) {
	o.complaints.Lock()
	defer o.complaints.Unlock()
	if !o.closed {
		o.complain(err)
	}
}

// close ends all output and gives the first error in it.
func (o *output) close() error {
	o.silence()
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.err
	o.err = errClosed
	return err
}

// silence ends the complaints alone, which waits for nobody's reading.
func (o *output) silence() {
	o.complaints.Lock()
	defer o.complaints.Unlock()
	o.closed = true
}
