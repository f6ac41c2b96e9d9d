package record

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// LineError is a bad line: it is reported and passed over, and the stream goes
// on.
type LineError struct {
	Number int // counted from 1
	Err    error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Number, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Lines yields the records of r. Empty lines are skipped, and a carriage
// return before the newline is taken off. For a bad line it yields a
// *LineError and goes on; any other error is r's own, and the last. The next
// line is read into the same Line: Keep gives what is to stay.
func Lines(r io.Reader) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		var line Line
		var long []byte
		for number := 1; ; number++ {
			text, err := readLine(in, &long)
			if len(bytes.TrimSpace(text)) > 0 {
				bad := line.Parse(text)
				line.Number = number
				if bad != nil && !yield(nil, &LineError{number, bad}) {
					return
				}
				if bad == nil && !yield(&line, nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("line %d: %w", number, err))
				return
			}
		}
	}
}

// Records is Lines, but a line that fails Check is a bad one too.
func Records(r io.Reader) iter.Seq2[*Line, error] {
	return func(yield func(*Line, error) bool) {
		for line, err := range Lines(r) {
			if err == nil {
				if bad := line.Check(); bad != nil {
					line, err = nil, &LineError{line.Number, bad}
				}
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// FlushBefore gives r back as a reader that flushes w before each read: what
// a filter has written goes out before it waits for more.
func FlushBefore(r io.Reader, w *bufio.Writer) io.Reader { return flusher{r, w} }

type flusher struct {
	r io.Reader
	w *bufio.Writer
}

func (f flusher) Read(p []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, fmt.Errorf("writing: %w", err)
	}
	return f.r.Read(p)
}

// readLine reads up to the next newline, which it takes off. Of a line that is
// longer than MaxLine it reads all but returns just more than that, for Parse to
// refuse. What it returns is in in's buffer or in *long, until the next call.
func readLine(in *bufio.Reader, long *[]byte) ([]byte, error) {
	text, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		*long = append((*long)[:0], text...)
		for errors.Is(err, bufio.ErrBufferFull) {
			text, err = in.ReadSlice('\n')
			if len(*long) <= MaxLine+len("\r\n") {
				*long = append(*long, text...)
			}
		}
		text = *long
	}
	text = bytes.TrimSuffix(text, []byte{'\n'})
	return bytes.TrimSuffix(text, []byte{'\r'}), err
}
