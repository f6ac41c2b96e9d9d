package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"winnow/tools/internal/record"
)

const (
	quiet     = 300 * time.Millisecond // after its end that a snapshot is shown
	maxQueued = 4                      // snapshots that wait for a terminal
	lastWords = time.Second            // that it has for them when the input ends
	maxLive   = maxKept / 16           // bytes of each, about
)

// live shows the snapshots of a pipe that goes on, each once the stream is quiet
// after its end. Nothing holds it up: what the terminal does not take in time is
// dropped and counted.
func live(in io.Reader, stdout io.Writer, screenNow func() screen) error {
	q := &queue{texts: make(chan []byte, maxQueued), failed: make(chan struct{}), w: stdout}
	written := make(chan struct{})
	go func() { q.work(screenNow); close(written) }()
	err := collect(in, q, screenNow)
	close(q.texts)
	select {
	case <-written:
		return cmp.Or(err, q.err)
	case <-time.After(lastWords):
		return errors.Join(err, errors.New("writing: nobody takes what is shown"))
	}
}

// collect offers the snapshots of in to the queue.
func collect(in io.Reader, q *queue, screenNow func() screen) error {
	var mu sync.Mutex // of c, which a timer uses too
	c := collector{room: maxLive, show: func(shown *snapshot) error {
		var text bytes.Buffer
		out := bufio.NewWriter(&text)
		screenNow().snapshot(out, shown)
		out.Flush() // to memory
		return q.offer(text.Bytes())
	}}
	pause := time.AfterFunc(quiet, func() {
		mu.Lock()
		defer mu.Unlock()
		c.pause() // a writing that fails ends the reading
	})
	defer pause.Stop()
	for line, err := range record.Lines(in) {
		var bad *record.LineError
		if errors.As(err, &bad) {
			continue
		}
		mu.Lock()
		if err == nil {
			err = c.add(line)
		}
		mu.Unlock()
		if err != nil {
			return err
		}
		pause.Reset(quiet)
	}
	mu.Lock()
	defer mu.Unlock()
	return c.end()
}

// queue is what waits for the terminal.
type queue struct {
	texts   chan []byte
	dropped atomic.Int64
	w       io.Writer
	err     error         // of w
	failed  chan struct{} // is closed with it
}

// offer puts a text into the queue, in the place of the oldest where it is full.
func (q *queue) offer(text []byte) error {
	for {
		select {
		case <-q.failed:
			return q.err
		case q.texts <- text:
			return nil
		default:
		}
		select {
		case <-q.texts:
			q.dropped.Add(1)
		default:
		}
	}
}

// work writes what comes, until there is no more or the writing fails.
func (q *queue) work(screenNow func() screen) {
	for text := range q.texts {
		var before bytes.Buffer
		if n := q.dropped.Swap(0); n > 0 {
			out := bufio.NewWriter(&before)
			screenNow().line(out, bold, fmt.Sprintf("%d before were not shown: the terminal took nothing", n))
			out.WriteByte('\n')
			out.Flush()
		}
		if _, err := q.w.Write(append(before.Bytes(), text...)); err != nil {
			q.err = fmt.Errorf("writing: %w", err)
			close(q.failed)
			return
		}
	}
}
