package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

// maxReported is how many refused lines an answer names.
const maxReported = 1000

// post answers POST /logs.
func (s *server) post(ctx *fasthttp.RequestCtx) {
	host, id := door.HostOf(ctx), string(ctx.Request.Header.Peek(record.BatchHeader))
	if id != "" && !record.ValidBatchID(id) {
		fail(ctx, fasthttp.StatusBadRequest, "%s: not 1 to %d of A-Z a-z 0-9 . _ : -", record.BatchHeader, record.MaxBatchID)
		return
	}
	if host != "" && id != "" {
		id = ofHost(host, id)
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
	s.conns.Await(ctx.Conn())
	s.uploads.Await(ctx.Conn())
	err := body.read(stream, length)
	s.uploads.Go(ctx.Conn())
	s.conns.Go(ctx.Conn())
	if err != nil {
		ctx.SetConnectionClose() // the rest of the body may still come
		failBody(ctx, err)
		return
	}
	ans := &record.Delivery{Refused: []record.Refusal{}}
	var kills []killKey
	b := store.NewBatch(id, host, body.bytes, refuseInto(ans), func(kind, class, result []byte) {
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

// ofHost is the id of a batch that came with a host's token: what one host names must not be taken for another's.
func ofHost(host, id string) string {
	sum := sha256.Sum256([]byte(host + "\n" + id))
	return "host-" + hex.EncodeToString(sum[:])
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
