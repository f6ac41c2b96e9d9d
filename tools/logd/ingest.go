package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"winnow/tools/internal/record"

	"github.com/valyala/fasthttp"
)

const (
	maxBody     = 8 << 20 // of a POST, in bytes
	maxReported = 1000    // refused lines that an answer names
	batchHeader = "Winnow-Batch"
)

// answer is what a POST is answered with.
type answer struct {
	Stored    int       `json:"stored"`
	Refused   []refusal `json:"refused"`
	More      int       `json:"refused_more,omitempty"` // refused, but not named
	Duplicate bool      `json:"duplicate"`
}

// refusal is a line that was not stored because it never can be.
type refusal struct {
	Line  int    `json:"line"` // counted from 1
	Error string `json:"error"`
}

func (s *server) post(ctx *fasthttp.RequestCtx) {
	id := string(ctx.Request.Header.Peek(batchHeader))
	if id != "" && !validID(id) {
		fail(ctx, fasthttp.StatusBadRequest, "%s: not 1 to %d of A-Z a-z 0-9 . _ : -", batchHeader, maxID)
		return
	}
	body, err := readBody(ctx)
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, "a body has at most %d bytes", maxBody)
		return
	}
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "the body did not arrive: %v", err)
		return
	}
	b, ans := parseBatch(body)
	s.refused.Add(int64(len(ans.Refused) + ans.More))
	b.id = id
	if b.count > 0 {
		if err := s.store.Append(b); err != nil {
			s.failStore(ctx, err)
			return
		}
	}
	ans.Duplicate = b.duplicate
	if !b.duplicate {
		ans.Stored = b.count
	}
	reply(ctx, ans)
}

// failStore answers what may work later. Nothing was stored.
func (s *server) failStore(ctx *fasthttp.RequestCtx, err error) {
	status := fasthttp.StatusServiceUnavailable
	if errors.Is(err, errFull) {
		status = fasthttp.StatusInsufficientStorage
	}
	ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
	fail(ctx, status, "not stored: %v", err)
}

func readBody(ctx *fasthttp.RequestCtx) ([]byte, error) {
	stream := ctx.RequestBodyStream()
	if stream == nil {
		return nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(stream, maxBody+1))
	if len(body) > maxBody {
		err = fasthttp.ErrBodyTooLarge
	}
	return body, err
}

// parseBatch checks the lines of body, which the batch keeps.
func parseBatch(body []byte) (*batch, *answer) {
	b := &batch{times: newTimespan(), done: make(chan error, 1)}
	ans := &answer{Refused: []refusal{}}
	b.lines = body[:0] // what is kept of it is never longer than what was read
	number := 0
	var line record.Line
	for len(body) > 0 {
		var text []byte
		text, body, _ = bytes.Cut(body, []byte{'\n'})
		number++
		text = bytes.TrimSuffix(text, []byte{'\r'})
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if err := line.Parse(text); err != nil {
			ans.refuse(number, err)
			continue
		}
		b.times.add(line.Get("time").Str)
		b.count++
		b.lines = append(append(b.lines, text...), '\n')
	}
	return b, ans
}

func (a *answer) refuse(line int, err error) {
	if len(a.Refused) == maxReported {
		a.More++
		return
	}
	a.Refused = append(a.Refused, refusal{line, err.Error()})
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
