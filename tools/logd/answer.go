package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"winnow/tools/logd/door"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

// reply answers v as JSON.
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

// work answers with what a job makes.
func (s *server) work(ctx *fasthttp.RequestCtx, q *door.JobQueue, contentType string, make func(*door.Job) ([]byte, error)) error {
	j, err := s.share.Job(s.life, q, ctx.Conn())
	if err != nil {
		return err
	}
	made := false
	defer func() { // also where it panics
		if !made {
			j.Close()
		}
	}()
	body, err := make(j)
	if err != nil {
		return err
	}
	made = true
	ctx.SetContentType(contentType)
	ctx.Response.SetBodyStream(j.Answer(body), len(body))
	return nil
}

// failWork answers for a job that failed.
func (s *server) failWork(ctx *fasthttp.RequestCtx, err error) {
	switch {
	case errors.Is(err, door.ErrHungUp):
		ctx.SetConnectionClose()
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
	case errors.Is(err, door.ErrCrowded), errors.Is(err, door.ErrNoRoom), errors.Is(err, door.ErrTooLong), errors.Is(err, store.ErrIndexing), errors.Is(err, context.Canceled):
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
	default:
		s.warn("GET %s: %v", ctx.Path(), err)
		fail(ctx, fasthttp.StatusInternalServerError, "%v", err)
	}
}
