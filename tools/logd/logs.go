package main

import (
	"bufio"
	"errors"
	"fmt"
	"time"

	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

const (
	heartbeat = 15 * time.Second // of a stream that has nothing to say

	// followEvery is how often a follower looks for more, at most: many of
	// them cost a busy store little then.
	followEvery = 50 * time.Millisecond
)

// logs answers GET /logs.
func (s *server) logs(ctx *fasthttp.RequestCtx) {
	f, err := parseFilter(ctx.QueryArgs(), s.now())
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "%v", err)
		return
	}
	views, end, grown := s.store.Views(&f.Filter, store.Position{})
	if f.NewestFirst && !store.Indexed(views, &f.Filter) {
		fail(ctx, fasthttp.StatusServiceUnavailable, "%v", store.ErrIndexing)
		return
	}
	s.serveStream(ctx, "application/x-ndjson", f.follow, func(w *bufio.Writer) error {
		o := out{w}
		l := store.NewLimited(o, f.Limit)
		err := s.scan(views, &f.Filter, o, l)
		if f.follow && (err == nil || store.Torn(err)) {
			err = s.follow(&f.Filter, o, l, end, grown)
		}
		if errors.Is(err, store.ErrEnough) {
			return nil
		}
		return err
	})
}

// follow writes the lines from end on as they are stored, until the client or
// logd ends it. It reads them from the day file: a client that takes nothing
// costs no more than its buffers, and the door closes its connection after a
// while. An empty line now and then shows whether it is still there.
func (s *server) follow(f *store.Filter, w out, l *store.Limited, end store.Position, grown <-chan struct{}) error {
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
		var views []store.View
		views, end, grown = s.store.Views(f, end)
		if err := s.scan(views, f, w, l); err != nil {
			return errors.Join(err, w.flush())
		}
	}
}
