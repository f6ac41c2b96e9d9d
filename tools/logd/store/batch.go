package store

import (
	"bytes"
	"fmt"
	"sync"

	"winnow/tools/internal/record"
)

// Batch is lines to be stored, all or none.
type Batch struct {
	ID    string // "" is never a duplicate
	Lines []byte // each with its newline
	Count int    // how many
	span  block  // their times

	Duplicate bool // the answer: it was stored before
	done      chan error
}

var checkers = sync.Pool{New: func() any { return new(checker) }}

// NewBatch checks the lines of body, which it keeps and changes. What can never
// be stored it refuses, by the line's number, from 1; of the others it tells
// stored the type, class and result. Unless host is "", only its lines can be.
func NewBatch(id, host string, body []byte, refuse func(line int, err error), stored func(kind, class, result []byte)) *Batch {
	b := &Batch{ID: id, span: newBlock(0)}
	b.Lines = body[:0] // what is kept of it is never longer than what was read
	number := 0
	c := checkers.Get().(*checker)
	defer checkers.Put(c)
	for len(body) > 0 {
		var text []byte
		text, body, _ = bytes.Cut(body, []byte{'\n'})
		number++
		text = bytes.TrimSuffix(text, []byte{'\r'})
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		f, err := c.check(text)
		if err == nil && string(f.kind) == record.TypeCommit {
			err = fmt.Errorf("the type %q is the log's own", record.TypeCommit)
		}
		if err == nil && host != "" && string(f.host) != host {
			err = fmt.Errorf("it is of the host %.64q, and came with the token of %s", f.host, host)
		}
		if err != nil {
			refuse(number, err)
			continue
		}
		b.span.extend(int64(len(text)+1), f.at, f.timed)
		stored(f.kind, f.class, f.result)
		b.Count++
		b.Lines = append(append(b.Lines, text...), '\n')
	}
	return b
}
