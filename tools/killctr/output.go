package main

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"winnow/tools/internal/record"
)

// output is stdout and stderr, shared by all kills. Each line is written whole, that
// of a kill at once and those that pass before more is read or a kill begins: a write
// for each would wake all that read behind. A stdout that is stuck does not keep
// stderr.
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

// maxHeld is how many bytes of lines wait at most.
const maxHeld = 64 << 10

// line writes a line, soon.
func (o *output) line(text string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.buf = append(append(o.buf, text...), '\n')
	}
	if len(o.buf) < maxHeld {
		return o.err
	}
	return o.writeHeld()
}

// flush writes the lines that wait.
func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writeHeld()
}

func (o *output) writeHeld() error {
	if o.err != nil || len(o.buf) == 0 {
		return o.err
	}
	_, err := o.w.Write(o.buf)
	if o.buf = o.buf[:0]; err != nil {
		o.err = fmt.Errorf("writing: %w", err)
		o.broken(o.err)
	}
	return o.err
}

// before is r, which is read when nothing waits.
func (o *output) before(r io.Reader) io.Reader { return flushing{r, o} }

type flushing struct {
	io.Reader
	out *output
}

func (f flushing) Read(b []byte) (int, error) {
	if err := f.out.flush(); err != nil {
		return 0, err
	}
	return f.Reader.Read(b)
}

// kill writes the line of a kill. Where it cannot, stderr tells how it ended.
func (o *output) kill(kill record.Kill) {
	text, err := record.Marshal(kill)
	if err == nil {
		err = errors.Join(o.line(string(text[:len(text)-1])), o.flush())
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
	err := o.writeHeld()
	o.err = errClosed
	return err
}

// silence ends the complaints alone, which waits for nobody's reading.
func (o *output) silence() {
	o.complaints.Lock()
	defer o.complaints.Unlock()
	o.closed = true
}
