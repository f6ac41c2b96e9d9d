package door

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

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

const (
	maxJobs    = 3                     // stories and charts that are made at once; each holds some 5 MB
	maxWaiting = 32                    // of them that wait; more are told to come again
	waitTime   = 10 * time.Second      // that one waits
	jobTime    = time.Minute           // that one takes to be made, and its answer to be fetched
	turnTime   = 10 * time.Millisecond // after which one lets others use its processor
	// maxSearched bounds in bytes what jobs search at once, and maxStreamed what streams do.
	maxSearched = 8 << 20
	maxStreamed = 12 << 20
)

// What a job or a search fails by that is not its own fault. All but ErrHungUp may be tried again later.
var (
	ErrCrowded = errors.New("as many stories and charts are being made as there can be")
	ErrNoRoom  = errors.New("as much is being searched as there is room for")
	ErrTooLong = fmt.Errorf("this takes longer than %v: ask for a shorter span", jobTime)
	ErrHungUp  = errors.New("the client is gone")
)

// Share is what all readers have together: half of the processors, taken in turns, and a bounded number of bytes.
type Share struct {
	Jobs    JobQueue // stories and charts
	Scrapes JobQueue // beside them, so that no chart keeps Prometheus waiting

	processors *semaphore.Weighted
	searched   *semaphore.Weighted // bytes
	streamed   *semaphore.Weighted // bytes, beside them: a stream waits for its client
}

// JobQueue is for jobs of which only some are made at once.
type JobQueue struct {
	slots   *semaphore.Weighted
	waiting atomic.Int64
}

// NewShare is one of which nothing is taken.
func NewShare() *Share {
	half := max(1, runtime.GOMAXPROCS(0)/2)
	return &Share{Jobs: JobQueue{slots: semaphore.NewWeighted(maxJobs)}, Scrapes: JobQueue{slots: semaphore.NewWeighted(1)},
		processors: semaphore.NewWeighted(int64(half)), searched: semaphore.NewWeighted(maxSearched), streamed: semaphore.NewWeighted(maxStreamed)}
}

// enter waits for a slot, unless too many do.
func (q *JobQueue) enter(ctx context.Context) bool {
	defer q.waiting.Add(-1)
	if q.waiting.Add(1) > maxWaiting {
		return false
	}
	ctx, stop := context.WithTimeout(ctx, waitTime)
	defer stop()
	return q.slots.Acquire(ctx, 1) == nil
}

// Turn is the use of a processor for a while.
type Turn struct {
	processors, room *semaphore.Weighted
	begun            time.Time // zero while it is somebody else's
}

// Turn is that of a stream, or of what follows the log beside them. It has not begun.
func (s *Share) Turn() *Turn { return &Turn{processors: s.processors, room: s.streamed} }

// Begin waits for the turn, which comes soon: nobody keeps one who waits for
// anything else.
func (t *Turn) Begin() {
	if err := t.processors.Acquire(context.Background(), 1); err != nil {
		panic(err) // there is nothing that ends the wait
	}
	t.begun = time.Now()
}

// End gives the processor back, where it has one.
func (t *Turn) End() {
	if !t.begun.IsZero() {
		t.processors.Release(1)
		t.begun = time.Time{}
	}
}

// Over tells whether it has had it for long.
func (t *Turn) Over() bool { return time.Since(t.begun) > turnTime }

// Pause is called ever so often, and lets others go on.
func (t *Turn) Pause() error {
	if t.Over() {
		t.End()
		t.Begin()
	}
	return nil
}

// Search calls search while it has room for n bytes; it is to begin its turn then. What waits for room lets others have
// its turn. What needs more than there is waits until it has it all.
func (t *Turn) Search(ctx context.Context, n int64, search func() error) error {
	t.End()
	wait, stop := context.WithTimeout(ctx, waitTime)
	defer stop()
	n = min(n, maxSearched)
	if err := t.room.Acquire(wait, n); err != nil {
		return ErrNoRoom
	}
	defer t.room.Release(n)
	return search()
}

// Job is a story, a chart or a scrape that is being made. It has its turn.
type Job struct {
	Turn
	Context context.Context // done when the job is to end

	stop  context.CancelFunc
	queue *JobQueue
	conn  net.Conn // of who asked
}

// Job begins one for who asks on conn, when its turn has come. It is to be closed.
func (s *Share) Job(ctx context.Context, q *JobQueue, conn net.Conn) (*Job, error) {
	if !q.enter(ctx) {
		return nil, ErrCrowded
	}
	j := &Job{Turn: Turn{processors: s.processors, room: s.searched}, queue: q, conn: conn}
	j.Context, j.stop = context.WithTimeout(ctx, jobTime)
	if err := j.Next(); err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

// Close gives back all that the job had.
func (j *Job) Close() {
	j.End()
	j.stop()
	j.queue.slots.Release(1)
}

// Next waits for the job's next turn, unless nobody wants it any more.
func (j *Job) Next() error {
	j.End()
	if hungUp(j.conn) {
		return ErrHungUp
	}
	if err := j.Context.Err(); errors.Is(err, context.DeadlineExceeded) {
		return ErrTooLong
	} else if err != nil {
		return err
	}
	j.Begin()
	return nil
}

// Pause is the Turn's, and fails when nobody wants the job any more.
func (j *Job) Pause() error {
	if j.Over() {
		return j.Next()
	}
	return nil
}

// Answer is what the job made, on its way to the client: it counts as the job's until the client has it. Its Close closes
// the job.
func (j *Job) Answer(body []byte) io.ReadCloser {
	j.End()
	return &answer{body, time.Now().Add(jobTime), j}
}

type answer struct {
	left  []byte
	until time.Time
	job   *Job
}

func (a *answer) Read(to []byte) (int, error) {
	if len(a.left) == 0 {
		return 0, io.EOF
	}
	if time.Now().After(a.until) {
		return 0, ErrTooLong
	}
	n := copy(to, a.left)
	a.left = a.left[n:]
	return n, nil
}

func (a *answer) Close() error {
	a.left = nil
	a.job.Close()
	return nil
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
