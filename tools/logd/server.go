package main

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"winnow/tools/logd/door"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

// server answers HTTP over a Store.
type server struct {
	options options
	store   *store.Store
	live    *live
	clock   store.Clock
	now     func() time.Time
	warn    func(format string, a ...any)

	refused  atomic.Int64 // lines
	kills    killCounts
	panics   atomic.Int64
	pageTime time.Duration
	stopping chan struct{}   // closed when streams are to end
	life     context.Context // done then; that of a request must not be used beside it
	endLife  context.CancelFunc

	guard   *door.Guard
	conns   *door.Conns // those of streams are in no queue
	streams *door.Streams
	share   *door.Share
	uploads *uploads

	drawing sync.Mutex // held while a chart is drawn
	charted chartCache
}

// options are what the flags say.
type options struct {
	store.Options
	listen string
}

func newServer(now func() time.Time, warn func(string, ...any)) *server {
	life, endLife := context.WithCancel(context.Background())
	return &server{
		clock: store.Clock{Wall: now, Boot: store.RealClock().Boot}, now: now, warn: warn, live: newLive(now, warn),
		pageTime: pageTime, stopping: make(chan struct{}), life: life, endLife: endLife,
		guard: &door.Guard{}, conns: door.NewConns(), uploads: newUploads(), streams: door.NewStreams(), share: door.NewShare(),
	}
}

// open opens the log.
func (s *server) open() (err error) {
	s.store, err = store.Open(s.options.Options, s.clock, s.warn)
	return err
}

// stopTime is how long a stop may take: less than what Docker waits for one.
const stopTime = 7 * time.Second

// serve answers on l until ctx is done, then stores what was taken on.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	http := newHTTP(s)
	var beside sync.WaitGroup
	beside.Go(func() { s.live.run(s.store, s.share, s.stopping, s.warn) })
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(l) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	close(s.stopping)
	s.endLife()
	stopping, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if shut := http.ShutdownWithContext(stopping); !errors.Is(shut, context.DeadlineExceeded) {
		err = errors.Join(err, shut)
	}
	beside.Wait()
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
		Concurrency:                  door.MaxConns,
		ConnState:                    s.conns.Changed,
		Logger:                       quiet{},
	}
}

// quiet drops what fasthttp says of single connections.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func (s *server) handle(ctx *fasthttp.RequestCtx) {
	s.conns.Go(ctx.Conn())
	defer func() {
		if !ctx.Response.IsBodyStream() {
			s.conns.Await(ctx.Conn()) // its answer is to be taken
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			s.panicked(string(ctx.RequestURI()), p)
			ctx.Response.Reset()
			fail(ctx, fasthttp.StatusInternalServerError, "an error of logd's own; its messages tell more")
		}
	}()
	if !ctx.IsPost() { // its answers are not shown by browsers
		for _, h := range headers {
			ctx.Response.Header.Set(h[0], h[1])
		}
	}
	if status, err := s.guard.Check(ctx); err != nil {
		fail(ctx, status, "%v", err)
		return
	}
	s.route(ctx)
}

// headers go with all that a browser may show. A page may load nothing and run nothing but
// what logd itself serves.
var headers = [][2]string{
	{fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	{fasthttp.HeaderXContentTypeOptions, "nosniff"},
	{fasthttp.HeaderReferrerPolicy, "no-referrer"},
	{fasthttp.HeaderCacheControl, "no-store"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
}

func (s *server) panicked(path string, p any) {
	s.panics.Add(1)
	s.warn("%s: panic: %v\n%s", path, p, debug.Stack())
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
	case path == "/":
		servePage(ctx, "index.html")
	case strings.HasPrefix(path, "/page/"):
		servePage(ctx, strings.TrimPrefix(path, "/page/"))
	case path == "/events":
		s.events(ctx)
	case strings.HasPrefix(path, "/charts/"):
		s.serveChart(ctx, strings.TrimPrefix(path, "/charts/"))
	case path == "/metrics":
		s.metrics(ctx)
	case strings.HasPrefix(path, "/why/"):
		s.why(ctx, strings.TrimPrefix(path, "/why/"))
	case path == "/healthz":
		reply(ctx, map[string]string{"status": "ok"})
	case path == "/readyz":
		s.ready(ctx)
	default:
		fail(ctx, fasthttp.StatusNotFound, "nothing is at %s", path)
	}
}

// ready tells whether a POST would be stored.
func (s *server) ready(ctx *fasthttp.RequestCtx) {
	if err := s.store.Ready(); err != nil {
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", err)
		return
	}
	reply(ctx, map[string]string{"status": "ready"})
}
