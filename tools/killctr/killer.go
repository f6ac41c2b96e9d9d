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

// parallel is how many kills are under way at a time; more wait their turn.
const parallel = 128

// killer begins the kills of a stream and reports how they end.
type killer struct {
	settings
	ctx     context.Context // its end stops new kills, not those that have begun
	out     *output
	connect func() (*client.Client, error)
	turns   chan struct{}
	kills   sync.WaitGroup

	mu     sync.Mutex
	taken  map[string]bool // ids that need no more; true while the kill is under way
	closed bool
}

func newKiller(ctx context.Context, s settings, out *output) *killer {
	connect := func() (*client.Client, error) {
		return client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	}
	return &killer{settings: s, ctx: ctx, out: out, connect: sync.OnceValues(connect),
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
	text := func(name string) string { return line.Get(name).Str }
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
	k.turns <- struct{}{}
	defer func() { <-k.turns }()
	end := outcome{result: record.ResultFailed, why: "interrupted before it began"}
	start := time.Now()
	if k.ctx.Err() == nil {
		end = k.attempt(context.WithoutCancel(k.ctx), kill.ID, sampled)
	}
	kill.Time = time.Now().UTC()
	kill.TookMS = kill.Time.Sub(start).Milliseconds()
	kill.Result, kill.Signal, kill.Error = end.result, end.signal, end.why
	k.out.kill(kill)
	k.mu.Lock()
	k.taken[kill.ID] = false
	k.mu.Unlock()
}

// wait begins no more kills and waits for those that have begun.
func (k *killer) wait() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.kills.Wait()
}

// output is stdout and stderr, shared by all kills. Each line is written whole
// and at once.
type output struct {
	complain func(error)
	mu       sync.Mutex
	w        io.Writer
	err      error // the first of w; nothing is written after it
	buf      []byte
}

var errClosed = errors.New("closed")

func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	o.buf = append(append(o.buf[:0], text...), '\n')
	if _, err := o.w.Write(o.buf); err != nil {
		o.err = fmt.Errorf("writing: %w", err)
	}
}

func (o *output) kill(kill record.Kill) {
	text, err := record.Marshal(kill)
	if err != nil { // cannot be: a Kill holds nothing that JSON does not
		o.complaint(err)
	}
	o.line(string(text[:len(text)-1]))
	if kill.Result == record.ResultFailed {
		o.complaint(fmt.Errorf("container %s %s: not killed: %s", kill.ID[:12], kill.Name, kill.Error))
	}
}

func (o *output) complaint(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != errClosed {
		o.complain(err)
	}
}

// close ends all output and gives the first error in it.
func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.err
	o.err = errClosed
	return err
}
