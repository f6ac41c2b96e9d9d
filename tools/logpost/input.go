package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"winnow/tools/internal/record"
)

// line is one record on its way, or what was wrong with it.
type line struct {
	number int
	text   string
	end    bool // of a snapshot
	err    error
}

const (
	maxQueued = record.MaxLine  // bytes of the lines that wait for the deliverer
	maxStuck  = 3 * time.Second // that stdout may take nothing once logpost is to end
)

// input passes the records of stdin on to stdout and then to the deliverer.
// A slow store holds it up only when queue is full.
type input struct {
	queue chan line
	room  *semaphore.Weighted // for the text of the lines in queue
	in    *stoppable
	out   *bufio.Writer
	outOK bool
	last  int // the number of the line that next gave last
}

func newInput(stdin io.Reader, stdout io.Writer) *input {
	i := &input{queue: make(chan line, maxLines), room: semaphore.NewWeighted(maxQueued), out: bufio.NewWriterSize(stdout, 64<<10), outOK: true}
	i.in = &stoppable{r: stdin, before: i.flush}
	go i.run()
	return i
}

func (i *input) run() {
	defer close(i.queue)
	for l, err := range record.Lines(i.in) {
		if err != nil {
			i.queue <- line{err: err}
			continue
		}
		if i.outOK {
			_, err := i.out.WriteString(l.Text() + "\n")
			i.wrote(err)
		}
		if err := i.room.Acquire(context.Background(), int64(len(l.Text()))); err != nil {
			return // it ends only with the process
		}
		i.queue <- line{number: l.Number, text: l.Text(), end: l.Type() == record.TypeEnd}
	}
	i.flush()
}

// flush is called before each read, which is when all that was read has been
// used and the next read may wait.
func (i *input) flush() {
	if i.outOK {
		i.wrote(i.out.Flush())
	}
}

func (i *input) wrote(err error) {
	if err == nil {
		return
	}
	i.outOK = false
	i.queue <- line{err: fmt.Errorf("stdout: %w", err)}
}

// what a call of next found.
type found int

const (
	aLine   found = iota
	nothing       // for as long as it was told to wait
	theEnd
)

// next is the next line. It waits for one until then, or for ever where that
// is zero. Once ctx is done it returns all that was read before, then the end.
func (i *input) next(ctx context.Context, until time.Time) (line, found) {
	select {
	case l, ok := <-i.queue:
		return i.received(l, ok)
	default:
	}
	var over <-chan time.Time
	if !until.IsZero() {
		over = time.After(time.Until(until))
	}
	select {
	case l, ok := <-i.queue:
		return i.received(l, ok)
	case <-over:
		return line{}, nothing
	case <-ctx.Done():
		return i.rest()
	}
}

// rest is next when no more is to be read. What was read is to come out of
// stdout first; where that takes nothing for too long it is named lost.
func (i *input) rest() (line, found) {
	for give := time.Now().Add(maxStuck); ; time.Sleep(time.Millisecond) {
		done := i.in.stop()
		select {
		case l, ok := <-i.queue:
			return i.received(l, ok)
		default:
		}
		if done {
			return line{}, theEnd
		}
		if time.Now().After(give) {
			i.in.state.Store(stopped)
			return line{err: fmt.Errorf("stdout takes nothing: what was read after line %d is lost", i.last)}, aLine
		}
	}
}

func (i *input) received(l line, ok bool) (line, found) {
	i.room.Release(int64(len(l.text)))
	i.last = max(i.last, l.number)
	if !ok {
		return l, theEnd
	}
	return l, aLine
}

// stoppable is a reader that can be told to end while a read waits. What such
// a read still brings is dropped.
type stoppable struct {
	r      io.Reader
	before func()
	state  atomic.Int32
}

const (
	using int32 = iota // what was read
	reading
	stopped
)

func (s *stoppable) Read(p []byte) (int, error) {
	s.before()
	if !s.state.CompareAndSwap(using, reading) {
		return 0, io.EOF
	}
	n, err := s.r.Read(p)
	if !s.state.CompareAndSwap(reading, using) {
		return 0, io.EOF
	}
	return n, err
}

// stop ends the input if it waits for more. It is false while what was read is
// still being used, and may then be called again.
func (s *stoppable) stop() bool {
	return s.state.CompareAndSwap(reading, stopped) || s.state.Load() == stopped
}
