package door

import (
	"container/list"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Queue is connections whose clients are to do something, in the order in which
// they began to keep logd waiting. Where room is wanted, the first gives way:
// so those that are slow, however many, keep nobody else out.
type Queue struct {
	mu    sync.Mutex
	order list.List // of queued
	at    map[net.Conn]*list.Element
}

type queued struct {
	conn  net.Conn
	since time.Time
}

// NewQueue is an empty one.
func NewQueue() *Queue { return &Queue{at: map[net.Conn]*list.Element{}} }

// Await is called when logd begins to wait for the client of c, also where it did before: c is the last of the queue then.
func (q *Queue) Await(c net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.at[c]; e != nil {
		q.order.Remove(e)
	}
	q.at[c] = q.order.PushBack(queued{c, time.Now()})
}

// Go is called when the client of c has done what logd waited for.
func (q *Queue) Go(c net.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.at[c]; e != nil {
		q.order.Remove(e)
		delete(q.at, c)
	}
}

// Cut ends what logd waits for of the first, if it has been in the queue for that long,
// and tells whether there was one.
func (q *Queue) Cut(after time.Duration) bool {
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
	// endTime is how long those may take of which there are too many.
	endTime = time.Second
	// MaxConns is how many a server has to take on, those that are about to end included.
	MaxConns = maxConns + leaving
)

// Conns are the connections. One is in the queue while its request, a body or that its answer is taken is waited for:
// whatever clients are slow at, they hold no connection that others want.
type Conns struct {
	*Queue
	open atomic.Int64
}

// Count is how many are open.
func (q *Conns) Count() int64 { return q.open.Load() }

// NewConns is for a server of which MaxConns is the Concurrency.
func NewConns() *Conns { return &Conns{Queue: NewQueue()} }

// Changed is told by fasthttp what becomes of a connection.
func (q *Conns) Changed(c net.Conn, state fasthttp.ConnState) {
	switch state {
	case fasthttp.StateNew:
		q.Await(c)
		if q.open.Add(1) > maxConns {
			q.Cut(0)
		}
		// No more are accepted until those that were cut have ended.
		for end := time.Now().Add(endTime); q.open.Load() > maxConns+leaving/2 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	case fasthttp.StateIdle:
		q.Await(c)
	case fasthttp.StateClosed, fasthttp.StateHijacked:
		q.Go(c)
		q.open.Add(-1)
	}
}
