package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

// tick is how often a page hears of logd when there is nothing new, so that
// it can tell silence from a lost connection.
const tick = 5 * time.Second

// pageTime is how long a page has one stream, and then asks anew. So one that
// reads no more ends, though ticks fit into buffers for days.
const pageTime = 15 * time.Minute

// pageState is what a page shows.
type pageState struct {
	Now   time.Time `json:"now"` // logd's clock, by which the page tells how old things are
	Hosts []string  `json:"hosts"`
	Shown string    `json:"shown"` // the host that the rest is of
	*liveHost
}

// events sends the page its state, and anew when it changes, as server-sent
// events.
func (s *server) events(ctx *fasthttp.RequestCtx) {
	host := string(ctx.QueryArgs().Peek("host"))
	s.stream(ctx, "text/event-stream", true, func(w *bufio.Writer) error {
		o := out{w}
		end := time.Now().Add(s.pageTime)
		for time.Now().Before(end) {
			changed, err := s.sendState(o, host)
			if err != nil {
				return err
			}
			if going, err := s.awaitChange(o, changed, end); err != nil || !going {
				return err
			}
		}
		_, err := io.WriteString(o, "event: again\ndata:\n\n")
		return err
	})
}

func (s *server) sendState(o out, name string) (<-chan struct{}, error) {
	names, host, changed := s.live.view(name)
	state := pageState{Now: s.now().UTC(), Hosts: names, Shown: name, liveHost: host}
	if host != nil {
		state.Shown = host.name
	}
	text, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(o, "event: state\ndata: %s\n\n", text); err != nil {
		return nil, err
	}
	return changed, o.flush()
}

// awaitChange is false when logd stops.
func (s *server) awaitChange(o out, changed <-chan struct{}, end time.Time) (bool, error) {
	for time.Now().Before(end) {
		select {
		case <-changed:
			return true, nil
		case <-s.stopping:
			return false, nil
		case <-time.After(min(tick, time.Until(end))):
			if _, err := fmt.Fprintf(o, "event: tick\ndata: %q\n\n", s.now().UTC().Format(time.RFC3339)); err != nil {
				return false, err
			}
			if err := o.flush(); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}
