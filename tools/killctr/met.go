package main

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// mostMet bounds the descriptors that are held. About more containers Docker is only
// asked when they are to be killed.
const mostMet = 512

// met are the containers of the stream that Docker was asked about before any was to
// be killed, so that one without a grace ends at once where Docker is slow to answer:
// that takes seconds when memory is short. What was learnt stays true: labels never
// change, and a descriptor is of one process for good.
type met struct {
	ctx  context.Context
	quit context.CancelFunc
	look func(ctx context.Context, id string) (a acquaintance, answered bool)

	mu     sync.Mutex
	all    map[string]*acquaintance
	fresh  []string // to be asked about
	asking sync.WaitGroup
	asks   bool
}

// acquaintance is what is known of a container.
type acquaintance struct {
	process int // a pidfd, 0 where it is not to be ended without Docker
	dry     bool
	started time.Time
	signal  string // its stop signal
	follows string // from its end

	seen     bool // in the snapshot at hand
	answered bool // by Docker
	again    time.Time
}

func newMet(ctx context.Context, look func(context.Context, string) (acquaintance, bool)) *met {
	ctx, quit := context.WithCancel(ctx)
	return &met{ctx: ctx, quit: quit, look: look, all: map[string]*acquaintance{}}
}

// meet sees to it that the container of a line is known.
func (m *met) meet(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.all[id]
	if a == nil && len(m.all) < mostMet {
		a = &acquaintance{}
		m.all[id] = a
	}
	if a == nil {
		return
	}
	a.seen = true
	if a.answered || time.Now().Before(a.again) {
		return
	}
	a.again = time.Now().Add(maxPause)
	m.fresh = append(m.fresh, id)
	if !m.asks {
		m.asks = true
		m.asking.Go(m.ask)
	}
}

// ask asks beside the stream, about one after the other.
func (m *met) ask() {
	for id := m.next(); id != ""; id = m.next() {
		found, answered := m.look(m.ctx, id)
		m.learn(id, found, answered)
	}
}

func (m *met) next() (id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asks = len(m.fresh) > 0 && m.ctx.Err() == nil; m.asks {
		id, m.fresh = m.fresh[0], m.fresh[1:]
	}
	return id
}

func (m *met) learn(id string, found acquaintance, answered bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.all[id]; a != nil && !a.answered {
		found.seen, found.answered, found.again = a.seen, answered, a.again
		*a = found
	} else {
		found.forget()
	}
}

func (a *acquaintance) forget() {
	if a.process != 0 {
		unix.Close(a.process)
	}
}

// turn forgets who was not in the last snapshot, or has come back as another process.
func (m *met) turn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, a := range m.all {
		if !a.seen || a.process != 0 && unix.PidfdSendSignal(a.process, 0, nil, 0) != nil {
			a.forget()
			delete(m.all, id)
		}
		a.seen = false
	}
}

// dry gives what is known of a container that --only spares, so that Docker is not
// asked in each snapshot about each that is condemned in vain.
func (m *met) dry(t target) *acquaintance {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.all[t.id]; a != nil && a.dry && !a.started.After(t.sampled) {
		known := *a
		return &known
	}
	return nil
}

// end ends the container, and gives what was known of it, which is to be forgotten; nil where that does not
// suffice, because the sample is of a time before its start, say.
func (m *met) end(t target) *acquaintance {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.all[t.id]
	if a == nil || a.process == 0 || a.started.After(t.sampled) {
		return nil
	}
	delete(m.all, t.id)
	if !endHeld(a.process) {
		a.forget()
		return nil
	}
	return a
}

// ended tells whether the process has.
func (a *acquaintance) ended() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(a.process), Events: unix.POLLIN}}, 0)
	return err == nil && n == 1
}

// close asks no more, and forgets all.
func (m *met) close() {
	m.quit()
	m.asking.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.all {
		a.forget()
	}
	clear(m.all)
}
