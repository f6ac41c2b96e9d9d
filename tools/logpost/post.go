package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"winnow/tools/internal/record"

	"github.com/tidwall/gjson"
)

// refusedError is a batch that the store will never take.
type refusedError struct{ cause error }

func (e *refusedError) Error() string { return e.cause.Error() }

// errMiscounted is an answer that does not account for every line.
var errMiscounted = errors.New("did not tell what became of each line")

// laterError is an answer that says when to come again.
type laterError struct {
	error
	after time.Duration
}

func (e *laterError) Unwrap() error { return e.error }

// later adds to the error of an answer when its Retry-After, in seconds or as a
// date, wants us to come again.
func later(err error, header http.Header, now time.Time) error {
	text := header.Get("Retry-After")
	if seconds, wrong := strconv.ParseUint(text, 10, 64); wrong == nil {
		return &laterError{err, time.Duration(min(seconds, 3600)) * time.Second}
	}
	if at, wrong := http.ParseTime(text); wrong == nil {
		return &laterError{err, at.Sub(now)}
	}
	return err
}

const (
	maxAnswer = 1 << 20 // bytes that are read of an answer
	maxShown  = 200     // characters of it in a message
)

// poster sends batches to the store.
type poster struct {
	*options
	http http.Transport
}

// post delivers b. A *refusedError is final; after any other error the batch
// may or may not be stored, and is to be sent again.
func (p *poster) post(b *batch) (*record.Delivery, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.timeout,
		fmt.Errorf("%s gave no answer for %v", p.to, p.timeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.to.String(), bytes.NewReader(b.body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	request.Header.Set(record.BatchHeader, b.id)
	if p.token != "" {
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := p.http.RoundTrip(request)
	if err != nil {
		return nil, p.named(ctx, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, p.named(ctx, err)
	}
	ack, err := p.read(response.StatusCode, text, b.lines())
	if err != nil {
		return nil, later(err, response.Header, time.Now())
	}
	return ack, nil
}

func (p *poster) named(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%s: %s", p.to, shown(err.Error())) // it may quote the store
}

// read takes the answer for a batch of that many lines.
func (p *poster) read(status int, text []byte, lines int) (*record.Delivery, error) {
	if status != http.StatusOK {
		err := fmt.Errorf("%s: status %d: %s", p.to, status, reason(text))
		if final(status) {
			return nil, &refusedError{err}
		}
		return nil, err
	}
	var a record.Delivery
	if err := json.Unmarshal(text, &a); err != nil || gjson.GetBytes(text, "stored").Type != gjson.Number {
		return nil, fmt.Errorf("%s: answers, but is no log store", p.to)
	}
	if !a.AccountsFor(lines) { // one that has lost some answers 200 all the same
		return nil, fmt.Errorf("%s %w: of %s it stored %d and refused %d", p.to, errMiscounted,
			counted(lines), a.Stored, len(a.Refused)+a.RefusedMore)
	}
	return &a, nil
}

// final tells whether the same batch will be refused whenever it is sent. A
// wrong token or a wrong address is mended by its user, so it is not.
func final(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

func reason(text []byte) string {
	var answer struct{ Error string }
	if json.Unmarshal(text, &answer) == nil && answer.Error != "" {
		return shown(answer.Error)
	}
	return shown(string(text))
}

// shown is foreign text as long as a message bears it.
func shown(text string) string {
	n := 0
	for at := range text {
		if n == maxShown {
			return text[:at] + "…"
		}
		n++
	}
	return text
}
