// Package client posts batches of lines to a log store, and says of the answer
// whether the store has them, will never have them, or is to be asked again.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"winnow/tools/internal/record"
)

// RefusedError is a batch that the store will never take.
type RefusedError struct{ cause error }

func (e *RefusedError) Error() string { return e.cause.Error() }

// ErrMiscounted is an answer that does not account for every line.
var ErrMiscounted = errors.New("did not tell what became of each line")

// LaterError is an answer that says when to come again.
type LaterError struct {
	error
	After time.Duration
}

// Unwrap is what else is wrong.
func (e *LaterError) Unwrap() error { return e.error }

// later adds to err, of an answer, when its Retry-After wants us to come again,
// in seconds or as a date.
func later(err error, header http.Header, now time.Time) error {
	if err == nil {
		return nil
	}
	text := header.Get("Retry-After")
	if seconds, wrong := strconv.ParseUint(text, 10, 64); wrong == nil {
		return &LaterError{err, time.Duration(min(seconds, 3600)) * time.Second}
	}
	if at, wrong := http.ParseTime(text); wrong == nil {
		return &LaterError{err, at.Sub(now)}
	}
	return err
}

const (
	maxAnswer = 1 << 20 // bytes that are read of an answer
	maxShown  = 200     // characters of it in a message
)

// Client posts to one store.
type Client struct {
	URL     *url.URL // as Format.Endpoint gives it
	Format  Format   // nil for winnow's own
	Token   string   // "" for none
	Timeout time.Duration
	Until   context.Context // its end ends all posts; nil for none
	http    http.Transport
}

// Answer is what became of a batch.
type Answer struct {
	record.Delivery
	Said   string           // why a store that is not logd did not take all
	Unsent []record.Refusal // lines that such a store would have dropped without a word; they are among the refused
}

// Post delivers a batch of so many lines. A *RefusedError is final; after any
// other error the batch may or may not be stored, and is to be sent again.
func (c *Client) Post(id string, body []byte, lines int) (*Answer, error) {
	ctx := context.Background()
	if c.Until != nil {
		ctx = c.Until
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout,
		fmt.Errorf("%s gave no answer for %v", c.URL, c.Timeout))
	defer cancel()
	format := c.format()
	put, unsent, err := format.encode(body)
	if err != nil {
		return nil, err
	}
	if len(unsent) == lines {
		return &Answer{Delivery: record.Delivery{Refused: unsent}, Unsent: unsent}, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL.String(), bytes.NewReader(put))
	if err != nil {
		return nil, err
	}
	format.header(request, id, c.Token)
	response, err := c.http.RoundTrip(request)
	if err != nil {
		return nil, c.named(ctx, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, c.named(ctx, err)
	}
	answer, err := c.read(response.StatusCode, text, lines-len(unsent))
	if err == nil {
		answer.Refused, answer.Unsent = append(answer.Refused, unsent...), unsent
	}
	return answer, later(err, response.Header, time.Now())
}

func (c *Client) format() Format {
	if c.Format == nil {
		return winnow{}
	}
	return c.Format
}

func (c *Client) named(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("%s: %s", c.URL, Shown(err.Error())) // it may quote the store
}

// read takes the answer for a batch of that many lines.
func (c *Client) read(status int, text []byte, lines int) (*Answer, error) {
	format := c.format()
	if !format.took(status) {
		err := fmt.Errorf("%s: status %d: %s", c.URL, status, format.reason(text))
		if format.final(status, text) {
			return nil, &RefusedError{err}
		}
		return nil, err
	}
	answer, err := format.read(text, lines)
	if err != nil && !errors.Is(err, ErrMiscounted) {
		return nil, fmt.Errorf("%s: %w", c.URL, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %w", c.URL, err)
	}
	return answer, nil
}

// Shown is foreign text as long as a message bears it.
func Shown(text string) string {
	if characters := []rune(text); len(characters) > maxShown {
		return string(characters[:maxShown]) + "…"
	}
	return text
}
