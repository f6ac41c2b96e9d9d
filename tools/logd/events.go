package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/chart"

	"github.com/valyala/fasthttp"
)

// tick is how often a page hears of logd when there is nothing new, so that
// it can tell silence from a lost connection.
const tick = 5 * time.Second

// pageTime is how long a page has one stream, and then asks anew. So one that
// reads no more ends, though ticks fit into buffers for days.
const pageTime = 15 * time.Minute

// stateEvery is how often a page is sent its state, at most.
const stateEvery = time.Second

// pagePart is how many containers are written at once: all that a page that
// reads slowly holds of them.
const pagePart = 8

// pageState is what a page shows, but for the containers.
type pageState struct {
	Now       time.Time     `json:"now"` // logd's clock, by which the page tells how old things are
	Hosts     []pageHost    `json:"hosts"`
	Shown     string        `json:"shown"` // the host that the rest is of
	Host      *record.Host  `json:"host"`
	Kills     []record.Kill `json:"kills"`
	Withdrawn []record.Rule `json:"withdrawn"` // notices
	Charts    []chart.Kind  `json:"charts"`
}

// events sends the page its state, and anew when it changes, as server-sent
// events.
func (s *server) events(ctx *fasthttp.RequestCtx) {
	host := string(ctx.QueryArgs().Peek("host"))
	s.serveStream(ctx, "text/event-stream", true, func(w *bufio.Writer) error {
		o := out{w}
		end := time.Now().Add(s.pageTime)
		for time.Now().Before(end) {
			sent := time.Now()
			changed, err := s.sendState(o, host)
			if err != nil {
				return err
			}
			if going, err := s.awaitChange(o, changed, end); err != nil || !going {
				return err
			}
			time.Sleep(stateEvery - time.Since(sent))
		}
		_, err := io.WriteString(o, "event: again\ndata:\n\n")
		return err
	})
}

// sendState writes the state of the host called name, or of the first one.
// missing says how many containers of the snapshot are not among those sent:
// there was no room for them, or they have not come yet.
func (s *server) sendState(o out, name string) (<-chan struct{}, error) {
	state := pageState{Now: s.now().UTC(), Hosts: s.live.pageHosts(), Shown: name, Kills: []record.Kill{}, Withdrawn: []record.Rule{}, Charts: chart.Kinds()}
	if name == "" && len(state.Hosts) > 0 {
		state.Shown = state.Hosts[0].Name
	}
	host, changed := s.live.view(state.Shown)
	if host == nil {
		host = new(liveHost)
	} else {
		state.Kills, state.Withdrawn = host.kills, host.withdrawn
	}
	if !host.at.IsZero() {
		state.Host = &host.record
	}
	text, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(o, "event: state\ndata: %s,\"containers\":[", bytes.TrimSuffix(text, []byte{'}'})); err != nil {
		return nil, err
	}
	sent := 0
	for {
		part, n, err := s.pagePart(host, sent)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		if sent += n; sent > n {
			part = append([]byte{','}, part...)
		}
		if _, err := o.Write(part); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(o, "],\"missing\":%d}\n\n", max(0, host.record.Containers-sent)); err != nil {
		return nil, err
	}
	return changed, o.flush()
}

// pagePart is the next of a host's containers as JSON, and how many they are.
func (s *server) pagePart(h *liveHost, from int) ([]byte, int, error) {
	t := s.share.Turn()
	t.Begin()
	defer t.End()
	part := s.live.part(h.name, h.record.Snapshot, from)
	text, err := json.Marshal(part)
	return bytes.Trim(text, "[]"), len(part), err
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
