package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"

	"winnow/tools/logd/door"

	"github.com/valyala/fasthttp"
)

// serveStream answers with what write writes, as it comes.
func (s *server) serveStream(ctx *fasthttp.RequestCtx, contentType string, long bool, write func(*bufio.Writer) error) {
	done, err := s.streams.Open(ctx.RemoteIP(), long)
	if err != nil {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, "5")
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
		return
	}
	ctx.SetContentType(contentType)
	body := &streamBody{s, done, string(ctx.RequestURI()), write}
	if !ctx.Request.Header.IsHTTP11() {
		body.unframed(ctx)
		return
	}
	ctx.Response.ImmediateHeaderFlush = true
	ctx.Response.SetBodyStream(body, -1)
}

// unframed answers a client of HTTP/1.0, which does not know of chunks: the end
// of the connection is the end of the body. Where it fails, a reset tells the
// client that this is not the whole.
func (b *streamBody) unframed(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetContentLength(-2) // none, and the connection is closed
	head, only, raw := ctx.Response.Header.String(), ctx.IsHead(), ctx.Conn()
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(c net.Conn) {
		defer b.Close()
		if _, err := io.WriteString(c, head); err != nil || only {
			return
		}
		if _, err := b.WriteTo(c); err != nil {
			door.Reset(raw)
		}
	})
}

// streamBody is a body that writes itself on its connection, which saves a
// goroutine and a copy. When it fails the connection is closed within the
// body, so that the client does not take it for whole.
type streamBody struct {
	server *server
	done   func()
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
	return 0, errors.Join(err, w.Flush()) // what was found is the client's, also where there should be more
}

// Close ends the stream, also where it was not to be written.
func (b *streamBody) Close() error {
	b.done()
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

func (o out) flush() error {
	if err := o.Flush(); err != nil {
		return writeError{err}
	}
	return nil
}
