package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// maxStreams is how many queries, followers and pages there are at once.
	// One whose reader stops fills the buffers of all that lies between, which
	// for Docker's proxy is some 12 MB of the host's memory for TCP.
	maxStreams = 128
	heartbeat  = 15 * time.Second // of a stream that has nothing to say

	// followEvery is how often a follower looks for more, at most: many of
	// them cost a busy store little then.
	followEvery = 50 * time.Millisecond
)

// stream answers with what write writes, as it comes. Not more than maxStreams
// are served at once.
func (s *server) stream(ctx *fasthttp.RequestCtx, contentType string, write func(*bufio.Writer) error) {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
		fail(ctx, fasthttp.StatusServiceUnavailable, "%d streams are open, which is as many as there can be", maxStreams)
		return
	}
	ctx.SetContentType(contentType)
	ctx.Response.ImmediateHeaderFlush = true
	ctx.Response.SetBodyStream(&streamBody{s, string(ctx.RequestURI()), write}, -1)
}

// streamBody is a body that writes itself on its connection, which saves a
// goroutine and a copy. When it fails the connection is closed within the
// body, so that the client does not take it for whole.
type streamBody struct {
	server *server
	path   string
	write  func(*bufio.Writer) error
}

// streamBuffers are what bodies write through, so that chunks are large.
var streamBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 32<<10) }}

// SupportsBodyWriteTo says that WriteTo is to be used.
func (*streamBody) SupportsBodyWriteTo() bool { return true }

func (*streamBody) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// WriteTo writes the body.
func (b *streamBody) WriteTo(to io.Writer) (n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.server.panicked(b.path, p)
			err = errors.New("panic")
		}
	}()
	w := streamBuffers.Get().(*bufio.Writer)
	defer streamBuffers.Put(w)
	defer w.Reset(nil)
	w.Reset(to)
	err = b.write(w)
	if err != nil && !gone(err) {
		b.server.warn("GET %s: %v", b.path, err)
	}
	if err != nil {
		return 0, err
	}
	return 0, w.Flush()
}

// Close ends the stream, also where it was not to be written.
func (b *streamBody) Close() error {
	b.server.streams.Add(-1)
	return nil
}

// writeError is a client that went away or takes nothing.
type writeError struct{ error }

func gone(err error) bool { return errors.As(err, new(writeError)) }

// out is a stream's writer; its errors are the client's doing.
type out struct{ *bufio.Writer }

func (o out) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		err = writeError{err}
	}
	return n, err
}

// ReadFrom is what io.Copy writes with. The error may be r's.
func (o out) ReadFrom(r io.Reader) (int64, error) {
	n, err := o.Writer.ReadFrom(r)
	if _, failed := o.Write(nil); failed != nil { // it keeps its own
		err = failed
	}
	return n, err
}

func (o out) flush() error {
	if err := o.Flush(); err != nil {
		return writeError{err}
	}
	return nil
}

func (s *server) logs(ctx *fasthttp.RequestCtx) {
	f, err := parseFilter(ctx.QueryArgs(), s.now())
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "%v", err)
		return
	}
	views, end, grown := s.store.views(f, position{})
	if f.newestFirst && anyUnknown(views, f) {
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", errIndexing)
		return
	}
	s.stream(ctx, "application/x-ndjson", func(w *bufio.Writer) error {
		l := &limited{out{w}, f.limit}
		err := s.scan(views, f, l)
		if err == nil && f.follow {
			err = s.follow(f, l, end, grown)
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
}

func anyUnknown(views []view, f *filter) bool {
	for _, v := range views {
		for b := range v.wanted(f) {
			if b.unknown() {
				return true
			}
		}
	}
	return false
}

// follow writes the lines from end on as they are stored, until the client or
// logd ends it. It reads them from the day file: a client that takes nothing
// costs no more than its buffers, and its connection is closed after
// writeTime. An empty line now and then shows whether it is still there.
func (s *server) follow(f *filter, l *limited, end position, grown <-chan struct{}) error {
	w := l.w.(out)
	for {
		if err := w.flush(); err != nil {
			return err
		}
		select {
		case <-grown:
		case <-s.stopping:
			return nil
		case <-time.After(heartbeat):
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
			continue
		}
		time.Sleep(followEvery)
		var views []view
		views, end, grown = s.store.views(f, end)
		if err := s.scan(views, f, l); err != nil {
			return errors.Join(err, w.flush())
		}
	}
}
