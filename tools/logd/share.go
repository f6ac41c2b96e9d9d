package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// What readers ask for has a share of logd, of which no writer ever waits for
// any: half of the processors, taken in turns, and a bounded number of bytes.
const (
	maxJobs    = 3                     // stories and charts that are made at once; each holds some 5 MB
	maxWaiting = 32                    // of them that wait; more are told to come again
	waitTime   = 10 * time.Second      // that one waits
	jobTime    = time.Minute           // that one takes to be made, and its answer to be fetched
	turnTime   = 10 * time.Millisecond // after which one lets others use its processor
	maxText    = 512                   // bytes of a text that is kept of a line, as JSON
	// maxSearched bounds in bytes the blocks that jobs search at once, and
	// maxStreamed those that streams do. It is the length of the lines that
	// counts, of which the index knows only that they fit in their block.
	maxSearched = 8 << 20
	maxStreamed = 12 << 20
)

var (
	errCrowded = errors.New("as many stories and charts are being made as there can be")
	errNoRoom  = errors.New("as much is being searched as there is room for")
	errTooLong = fmt.Errorf("this takes longer than %v: ask for a shorter span", jobTime)
	errHungUp  = errors.New("the client is gone")
)

// share is what all readers have together.
type share struct {
	processors *semaphore.Weighted
	jobs       jobQueue
	scrapes    jobQueue            // beside the jobs, so that no chart keeps Prometheus waiting
	searched   *semaphore.Weighted // bytes
	streamed   *semaphore.Weighted // bytes, beside them: a stream waits for its client
}

// jobQueue is for jobs of which only some are made at once.
type jobQueue struct {
	slots   *semaphore.Weighted
	waiting atomic.Int64
}

func newShare() *share {
	half := max(1, runtime.GOMAXPROCS(0)/2)
	return &share{processors: semaphore.NewWeighted(int64(half)), jobs: jobQueue{slots: semaphore.NewWeighted(maxJobs)},
		scrapes: jobQueue{slots: semaphore.NewWeighted(1)}, searched: semaphore.NewWeighted(maxSearched), streamed: semaphore.NewWeighted(maxStreamed)}
}

// enter waits for a slot, unless too many do.
func (q *jobQueue) enter(ctx context.Context) bool {
	defer q.waiting.Add(-1)
	if q.waiting.Add(1) > maxWaiting {
		return false
	}
	ctx, stop := context.WithTimeout(ctx, waitTime)
	defer stop()
	return q.slots.Acquire(ctx, 1) == nil
}

// turn is the use of a processor for a while.
type turn struct {
	of    *semaphore.Weighted
	begun time.Time // zero while it is somebody else's
}

// begin waits for its turn, which comes soon: nobody keeps one who waits for
// anything else.
func (t *turn) begin() {
	if err := t.of.Acquire(context.Background(), 1); err != nil {
		panic(err) // there is nothing that ends the wait
	}
	t.begun = time.Now()
}

func (t *turn) end() {
	if !t.begun.IsZero() {
		t.of.Release(1)
		t.begun = time.Time{}
	}
}

func (t *turn) over() bool { return time.Since(t.begun) > turnTime }

// job is a story, a chart or a scrape that is being made.
type job struct {
	turn
	ctx   context.Context
	stop  context.CancelFunc
	share *share
	queue *jobQueue
	conn  net.Conn // of who asked
}

func (s *share) job(ctx context.Context, q *jobQueue, conn net.Conn) (*job, error) {
	if !q.enter(ctx) {
		return nil, errCrowded
	}
	j := &job{turn: turn{of: s.processors}, share: s, queue: q, conn: conn}
	j.ctx, j.stop = context.WithTimeout(ctx, jobTime)
	if err := j.next(); err != nil {
		j.end()
		return nil, err
	}
	return j, nil
}

// end gives back all that the job had.
func (j *job) end() {
	j.turn.end()
	j.stop()
	j.queue.slots.Release(1)
}

// next waits for the job's next turn, unless nobody wants it any more.
func (j *job) next() error {
	j.turn.end()
	if hungUp(j.conn) {
		return errHungUp
	}
	if err := j.ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
		return errTooLong
	} else if err != nil {
		return err
	}
	j.begin()
	return nil
}

// pause is called ever so often, and lets others go on.
func (j *job) pause() error {
	if j.over() {
		return j.next()
	}
	return nil
}

// query calls each for the lines that f asks for.
func (j *job) query(s *store.Store, f *store.Filter, each store.LineFunc) error {
	out := store.NewLimited(store.LineFunc(func(line []byte) error {
		if err := j.pause(); err != nil {
			return err
		}
		return each(line)
	}), f.Limit)
	out.Before = j.pause
	views, _, _ := s.Views(f, store.Position{})
	for i := range views {
		err := withRoom(j.ctx, &j.turn, j.share.searched, held(&views[i], f), func() error {
			if err := j.next(); err != nil {
				return err
			}
			return s.QueryViews(views[i:i+1], f, out)
		})
		if err != nil && !store.Torn(err) { // else the rest is told; logd has named the day
			return err
		}
	}
	return nil
}

// withRoom calls search while it has n bytes of room. What waits for room lets
// others have its turn.
func withRoom(ctx context.Context, t *turn, room *semaphore.Weighted, n int64, search func() error) error {
	t.end()
	wait, stop := context.WithTimeout(ctx, waitTime)
	defer stop()
	if err := room.Acquire(wait, n); err != nil {
		return errNoRoom
	}
	defer room.Release(n)
	return search()
}

// held is how many bytes of room a search of v takes. What is beyond the room
// that there is waits until it has it all.
func held(v *store.View, f *store.Filter) int64 { return min(v.Held(f), maxSearched) }

// scan is the search for a stream's lines. It has its turn while it searches,
// but not while the client takes what was found, nor for all lines, which cost
// no search. Room those take, too: a line is held as a whole.
func (s *server) scan(views []store.View, f *store.Filter, w out, l *store.Limited) error {
	t := &turned{out: w, turn: turn{of: s.share.processors}}
	defer t.turn.end()
	if !f.All() {
		defer l.Through(t)()
		l.Before = t.pause
	}
	var torn error
	for i := range views {
		err := withRoom(context.Background(), &t.turn, s.share.streamed, held(&views[i], f), func() error {
			if !f.All() {
				t.turn.begin()
			}
			return s.store.QueryViews(views[i:i+1], f, l)
		})
		if store.Torn(err) {
			torn = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return torn
}

// turned is a stream's writer that lets others have its turn while it waits
// for its client.
type turned struct {
	out  out
	turn turn
}

func (t *turned) Write(p []byte) (int, error) {
	if len(p) <= t.out.Available() && !t.turn.over() {
		return t.out.Write(p)
	}
	t.turn.end()
	defer t.turn.begin()
	return t.out.Write(p)
}

// pause lets others have its turn when it has had it for long.
func (t *turned) pause() error {
	if t.turn.over() {
		t.turn.end()
		t.turn.begin()
	}
	return nil
}

// work answers with what a job makes. What is made counts as the job's until
// the client has it.
func (s *server) work(ctx *fasthttp.RequestCtx, q *jobQueue, contentType string, make func(*job) ([]byte, error)) error {
	j, err := s.share.job(s.life, q, ctx.Conn())
	if err != nil {
		return err
	}
	var made *product
	defer func() {
		if made == nil {
			j.end()
		}
	}()
	body, err := make(j)
	if err != nil {
		return err
	}
	j.turn.end()
	made = &product{body, time.Now().Add(jobTime), j}
	ctx.SetContentType(contentType)
	ctx.Response.SetBodyStream(made, len(body))
	return nil
}

// product is an answer on its way.
type product struct {
	left  []byte
	until time.Time
	job   *job
}

func (p *product) Read(to []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	if time.Now().After(p.until) {
		return 0, errTooLong
	}
	n := copy(to, p.left)
	p.left = p.left[n:]
	return n, nil
}

func (p *product) Close() error {
	p.left = nil
	p.job.end()
	return nil
}

// failWork answers for a job that failed.
func (s *server) failWork(ctx *fasthttp.RequestCtx, err error) {
	switch {
	case errors.Is(err, errHungUp):
		ctx.SetConnectionClose()
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
	case errors.Is(err, errCrowded), errors.Is(err, errNoRoom), errors.Is(err, errTooLong), errors.Is(err, store.ErrIndexing), errors.Is(err, context.Canceled):
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
	default:
		s.warn("GET %s: %v", ctx.Path(), err)
		fail(ctx, fasthttp.StatusInternalServerError, "%v", err)
	}
}

// hungUp tells whether a client has closed its connection.
func hungUp(c net.Conn) bool {
	tcp, ok := bare(c).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(poll, 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}
