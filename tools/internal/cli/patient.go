package cli

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"
)

// patience is how long a message waits for a terminal that takes nothing.
const patience = 300 * time.Millisecond

// patient is a stderr that holds up nobody. A terminal takes nothing for as long as
// Ctrl-S, or a connection that is lost, lets it; meanwhile messages are dropped and
// counted, and what has them to say goes on.
type patient struct {
	name string
	w    io.Writer

	mu      sync.Mutex
	stuck   chan struct{} // is closed when the writing under way is over; nil without
	dropped int
}

// Write is true to its name only as long as w takes what it is given.
func (p *patient) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stuck != nil {
		select {
		case <-p.stuck:
			p.stuck = nil
		default:
			p.dropped++
			return len(text), nil
		}
	}
	var all []byte
	if p.dropped > 0 {
		all = fmt.Appendf(nil, "%s: messages before that nobody took: %d\n", p.name, p.dropped)
		p.dropped = 0
	}
	p.begin(append(all, bytes.Clone(text)...))
	return len(text), nil
}

// begin writes the text, and leaves that alone where it takes long.
func (p *patient) begin(text []byte) {
	written := make(chan struct{})
	go func() {
		p.w.Write(text) // one that fails has nobody to be told to
		close(written)
	}()
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case <-written:
	case <-over.C:
		p.stuck = written
	}
}
