package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"winnow/tools/internal/record"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

const (
	maxBody     = 8 << 20 // of a POST, in bytes
	maxReported = 1000    // refused lines that an answer names
)

func (s *server) post(ctx *fasthttp.RequestCtx) {
	id := string(ctx.Request.Header.Peek(record.BatchHeader))
	if id != "" && !record.ValidBatchID(id) {
		fail(ctx, fasthttp.StatusBadRequest, "%s: not 1 to %d of A-Z a-z 0-9 . _ : -", record.BatchHeader, record.MaxBatchID)
		return
	}
	if how := ctx.Request.Header.ContentEncoding(); len(how) > 0 && string(how) != "identity" {
		ctx.SetConnectionClose()
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "the body is encoded as %q, and is to be plain", how)
		return
	}
	body := bodyBuffers.Get().(*bodyBuffer)
	body.uploads = s.uploads
	defer body.free()
	// Of a chunked body fasthttp does not tell a cut end from the end.
	length := ctx.Request.Header.ContentLength()
	if length < 0 {
		ctx.SetConnectionClose()
		fail(ctx, fasthttp.StatusLengthRequired, "say how long the body is: Content-Length")
		return
	}
	stream := ctx.RequestBodyStream()
	if stream == nil {
		stream = bytes.NewReader(nil)
	}
	s.waiting.enter(ctx.Conn())
	s.uploads.enter(ctx.Conn())
	err := body.read(stream, length)
	s.uploads.leave(ctx.Conn())
	s.waiting.leave(ctx.Conn())
	if err != nil {
		ctx.SetConnectionClose() // the rest of the body may still come
		failBody(ctx, err)
		return
	}
	ans := &record.Delivery{Refused: []record.Refusal{}}
	var kills []killKey
	b := store.NewBatch(id, body.bytes, refuseInto(ans), func(kind, class, result []byte) {
		if string(kind) == record.TypeKill {
			kills = append(kills, newKillKey(string(class), string(result)))
		}
	})
	s.refused.Add(int64(len(ans.Refused) + ans.RefusedMore))
	if b.Count > 0 {
		if err := s.store.Append(b); err != nil {
			s.failStore(ctx, err)
			return
		}
	}
	ans.Duplicate = b.Duplicate
	if !b.Duplicate {
		ans.Stored = b.Count
		s.kills.add(kills)
	}
	reply(ctx, ans)
}

func failBody(ctx *fasthttp.RequestCtx, err error) {
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, "a body has at most %d bytes", maxBody)
	case errors.Is(err, errBusy):
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		fail(ctx, fasthttp.StatusServiceUnavailable, "not stored: %v", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "1")
		fail(ctx, fasthttp.StatusRequestTimeout, "not stored: the body came too slowly")
	default:
		fail(ctx, fasthttp.StatusBadRequest, "the body did not arrive: %v", err)
	}
}

// failStore answers what may work later. Nothing was stored.
func (s *server) failStore(ctx *fasthttp.RequestCtx, err error) {
	status := fasthttp.StatusServiceUnavailable
	if errors.Is(err, store.ErrFull) {
		status = fasthttp.StatusInsufficientStorage
	}
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
	fail(ctx, status, "not stored: %v", err)
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
			if !b.uploads.take(int64(want) - b.taken) {
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

// refuseInto names the lines that are refused in the answer, as far as it does.
func refuseInto(d *record.Delivery) func(line int, err error) {
	return func(line int, err error) {
		if len(d.Refused) == maxReported {
			d.RefusedMore++
			return
		}
		d.Refused = append(d.Refused, record.Refusal{Line: line, Error: err.Error()})
	}
}

func reply(ctx *fasthttp.RequestCtx, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		fail(ctx, fasthttp.StatusInternalServerError, "%v", err)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBody(append(text, '\n'))
}

// fail answers an error as {"error":"…"}.
func fail(ctx *fasthttp.RequestCtx, status int, format string, a ...any) {
	ctx.Response.ResetBody()
	reply(ctx, map[string]string{"error": fmt.Sprintf(format, a...)})
	ctx.SetStatusCode(status)
}
