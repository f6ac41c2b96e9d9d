package main

import (
	"container/list"
	"context"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"
)

// queue is connections whose clients are to do something, in the order in which
// they began to keep logd waiting. Where room is wanted, the first gives way:
// so those that are slow, however many, keep nobody else out.
type queue struct {
	mu    sync.Mutex
	order list.List // of queued
	at    map[net.Conn]*list.Element
}

type queued struct {
	conn  net.Conn
	since time.Time
}

func newQueue() *queue { return &queue{at: map[net.Conn]*list.Element{}} }

// enter puts c at the end, also where it is in the queue.
func (q *queue) enter(c net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.at[c]; e != nil {
		q.order.Remove(e)
	}
	q.at[c] = q.order.PushBack(queued{c, time.Now()})
}

func (q *queue) leave(c net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.at[c]; e != nil {
		q.order.Remove(e)
		delete(q.at, c)
	}
}

// cut ends what logd waits for of the first, if it has been in the queue for that long,
// and tells whether there was one.
func (q *queue) cut(after time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.order.Front()
	if e == nil || time.Since(e.Value.(queued).since) < after {
		return false
	}
	c := q.order.Remove(e).(queued).conn
	delete(q.at, c)
	return c.SetDeadline(time.Unix(1, 0)) == nil
}

const (
	// maxConns is how many connections there are at once: at some 20 kB each
	// they fit into logd's memory beside the bodies, and into the files that it may open.
	maxConns = 1024
	// leaving is how many more there may be that are about to end.
	leaving = 256
)

// connected is told by fasthttp what becomes of a connection. It is in the queue
// while its request, a body or that its answer is taken is waited for: whatever
// clients are slow at, they hold no connection that others want.
func (s *server) connected(c net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		s.waiting.enter(c)
		if s.conns.Add(1) > maxConns {
			s.waiting.cut(0)
		}
		// No more are accepted until those that were cut have ended.
		for end := time.Now().Add(slow); s.conns.Load() > maxConns+leaving/2 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	case fasthttp.StateIdle:
		s.waiting.enter(c)
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		s.waiting.leave(c)
		s.conns.Add(-1)
	}
}

const (
	// maxBodies bounds all bodies together that are being read or stored, in bytes.
	maxBodies = 32 << 20
	// slow is how long an upload is left alone while others want room.
	slow = time.Second
)

// uploads is the bodies of POSTs, and the room that they share. Those that have
// not arrived yet are in the queue.
type uploads struct {
	*queue
	room *semaphore.Weighted
}

func newUploads() *uploads { return &uploads{newQueue(), semaphore.NewWeighted(maxBodies)} }

// take takes n bytes of the room, if need be from a slow one.
func (u *uploads) take(n int64) bool {
	if u.room.TryAcquire(n) {
		return true
	}
	if !u.cut(slow) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	return u.room.Acquire(ctx, n) == nil
}
