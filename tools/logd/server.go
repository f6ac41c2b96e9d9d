package main

import (
	"bufio"
	"context"
	"errors"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"winnow/tools/internal/cli"

	"github.com/valyala/fasthttp"
)

// server answers HTTP over a Store.
type server struct {
	options options
	store   *Store
	disk    disk
	now     func() time.Time
	warn    func(format string, a ...any)
	refused atomic.Int64 // lines
}

// options are what the flags say.
type options struct {
	dir     string
	minFree cli.Size
}

func newServer(now func() time.Time, warn func(string, ...any)) *server {
	return &server{disk: realDisk{}, now: now, warn: warn}
}

// open opens the log.
func (s *server) open() (err error) {
	s.store, err = openStore(s.options.dir, int64(s.options.minFree), s.disk, s.now, s.warn)
	return err
}

// stopTime is how long a stop may take.
const stopTime = 10 * time.Second

// serve answers on l until ctx is done, then stores what was taken on.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	http := newHTTP(s)
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(l) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if shut := http.ShutdownWithContext(stopping); !errors.Is(shut, context.DeadlineExceeded) {
		err = errors.Join(err, shut)
	}
	return errors.Join(err, s.store.Close(stopping))
}

// newHTTP makes the server with its limits: a client that is slow, silent or
// sends too much costs it little and stops nobody else.
func newHTTP(s *server) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.handle,
		Name:                         "logd",
		ReadTimeout:                  30 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		ReadBufferSize:               8 << 10, // bounds the header too
		MaxRequestBodySize:           maxBody,
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		Logger:                       quiet{},
	}
}

// quiet drops what fasthttp says of single connections.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func (s *server) handle(ctx *fasthttp.RequestCtx) {
	defer func() {
		if p := recover(); p != nil {
			s.warn("%s %s: panic: %v\n%s", ctx.Method(), ctx.Path(), p, debug.Stack())
			ctx.Response.Reset()
			fail(ctx, fasthttp.StatusInternalServerError, "an error of logd's own; its messages tell more")
		}
	}()
	s.route(ctx)
}

func (s *server) route(ctx *fasthttp.RequestCtx) {
	path, method := string(ctx.Path()), string(ctx.Method())
	if method == fasthttp.MethodHead {
		method = fasthttp.MethodGet
	}
	switch {
	case path == "/logs" && method == fasthttp.MethodPost:
		s.post(ctx)
	case method != fasthttp.MethodGet:
		ctx.Response.Header.Set(fasthttp.HeaderAllow, "GET")
		fail(ctx, fasthttp.StatusMethodNotAllowed, "%s takes no %s", path, method)
	case path == "/logs":
		s.logs(ctx)
	case path == "/healthz":
		reply(ctx, map[string]string{"status": "ok"})
	default:
		fail(ctx, fasthttp.StatusNotFound, "nothing is at %s", path)
	}
}

func (s *server) logs(ctx *fasthttp.RequestCtx) {
	f, err := parseFilter(ctx.QueryArgs(), s.now())
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "%v", err)
		return
	}
	ctx.SetContentType("application/x-ndjson")
	ctx.SetBodyStreamWriter(func(w *bufio.Writer) {
		if err := s.store.Query(f, w); err != nil {
			s.warn("GET /logs: %v", err)
		}
	})
}
