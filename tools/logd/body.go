package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"winnow/tools/logd/door"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"
)

const (
	maxBody = 8 << 20 // of a POST, in bytes
	// maxBodies bounds all bodies together that are being read or stored, in bytes.
	maxBodies = 32 << 20
	// slow is how long an upload is left alone while others want room.
	slow = time.Second
)

// uploads is the bodies of POSTs, and the room that they share. Those that have
// not arrived yet are in the queue.
type uploads struct {
	*door.Queue
	room *semaphore.Weighted
}

func newUploads() *uploads { return &uploads{door.NewQueue(), semaphore.NewWeighted(maxBodies)} }

// reserve takes n bytes of the room, if need be from a slow one.
func (u *uploads) reserve(n int64) bool {
	if u.room.TryAcquire(n) {
		return true
	}
	if !u.Cut(slow) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), slow)
	defer cancel()
	return u.room.Acquire(ctx, n) == nil
}

var errBusy = errors.New("as many lines are on their way to the disk as memory allows")

// bodyBuffer holds one body, and its part of what all of them may take.
type bodyBuffer struct {
	bytes   []byte
	uploads *uploads
	taken   int64
}

// bodyBuffers keeps the bytes for the next body.
var bodyBuffers = sync.Pool{New: func() any { return new(bodyBuffer) }}

// read reads a body of length bytes piece by piece: a client takes only as much
// memory as it has sent.
func (b *bodyBuffer) read(r io.Reader, length int) error {
	b.bytes = b.bytes[:0]
	if length > maxBody {
		return fasthttp.ErrBodyTooLarge
	}
	for {
		// One byte more than the body has room, for the end to be seen.
		if want := min(length+1, max(16<<10, 2*len(b.bytes))); len(b.bytes) == min(cap(b.bytes), int(b.taken)) {
			if !b.uploads.reserve(int64(want) - b.taken) {
				return errBusy
			}
			b.taken = int64(want)
			if cap(b.bytes) < want { // append would take a fifth more than there is room for
				b.bytes = append(make([]byte, 0, want), b.bytes...)
			}
		}
		n, err := r.Read(b.bytes[len(b.bytes):b.taken])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if errors.Is(err, io.EOF) && len(b.bytes) != length {
			return io.ErrUnexpectedEOF
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// free gives back what it took. The bytes are no longer to be used.
func (b *bodyBuffer) free() {
	b.uploads.room.Release(b.taken)
	b.taken, b.uploads = 0, nil
	if cap(b.bytes) <= 1<<20 { // rare large ones are not kept
		bodyBuffers.Put(b)
	}
}
