package main

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"winnow/tools/internal/record"
)

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
