package main

import (
	"bytes"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"winnow/tools/logd/chart"
	"winnow/tools/logd/door"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

const (
	defaultSpan = time.Hour
	minSpan     = 10 * time.Second
)

// serveChart answers GET /charts/NAME.svg and .png, and /charts/ itself with what there is.
func (s *server) serveChart(ctx *fasthttp.RequestCtx, file string) {
	if file == "" {
		reply(ctx, chart.Kinds())
		return
	}
	ext := path.Ext(file)
	name := strings.TrimSuffix(file, ext)
	if !slices.Contains(chart.Names(), name) || ext != ".svg" && ext != ".png" {
		fail(ctx, fasthttp.StatusNotFound, "no such chart: %q; there are %s, as .svg and .png", file, strings.Join(chart.Names(), ", "))
		return
	}
	q, err := s.parseChart(ctx.QueryArgs())
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "%v", err)
		return
	}
	contentType := "image/svg+xml"
	if ext == ".png" {
		contentType = "image/png"
	}
	err = s.work(ctx, &s.share.Jobs, contentType, func(j *door.Job) ([]byte, error) {
		data, err := s.chartData(j, q)
		if err != nil {
			return nil, err
		}
		// A picture takes more memory than its data, and little time.
		s.drawing.Lock()
		defer s.drawing.Unlock()
		c, err := chart.Draw(name, data, q.theme)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if ext == ".png" {
			err = c.WritePNG(&b)
		} else {
			err = c.WriteSVG(&b)
		}
		return b.Bytes(), err
	})
	if err != nil {
		s.failWork(ctx, err)
		return
	}
	ctx.Response.Header.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'unsafe-inline'; sandbox")
}

type chartQuery struct {
	host         string
	since, until int64
	theme        chart.Theme
}

func (s *server) parseChart(args *fasthttp.Args) (q chartQuery, err error) {
	q = chartQuery{until: s.now().UnixNano(), since: s.now().Add(-defaultSpan).UnixNano(), theme: chart.Light}
	for key, value := range args.All() {
		text := string(value)
		switch string(key) {
		case "host":
			q.host = text
		case "since":
			q.since, err = parseWhen(text, s.now())
		case "until":
			q.until, err = parseWhen(text, s.now())
		case "theme":
			if text == "dark" {
				q.theme = chart.Dark
			} else if text != "light" {
				err = fmt.Errorf("neither light nor dark: %q", text)
			}
		case "t": // a page's own, so that it gets a new one
		default:
			return q, fmt.Errorf("no such parameter: %q; there are since, until, host, theme", key)
		}
		if err != nil {
			return q, fmt.Errorf("%s: %w", key, err)
		}
	}
	if q.host == "" {
		if names := s.live.names(); len(names) > 0 {
			q.host = names[0]
		}
	}
	q.since, q.until = max(q.since, 0), max(q.until, 0) // so that their distance fits
	if q.until < q.since {
		return q, fmt.Errorf("since is after until")
	}
	q.since = min(q.since, q.until-int64(minSpan))
	return q, nil
}

// chartMemory is for how long what was read serves the other charts of a page.
const chartMemory = 5 * time.Second

// chartReading is what is read for charts: those of a page share it.
type chartReading struct {
	query chartQuery
	done  chan struct{} // closed
	data  *chart.Data   // set then, unless it failed, and not changed any more
}

// chartCache is the newest reading.
type chartCache struct {
	mu  sync.Mutex
	own *chartReading
}

// get is the newest reading if it is one for q, or a new one.
func (c *chartCache) get(q chartQuery) (r *chartReading, begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	near := func(a, b int64) bool { return math.Abs(float64(a-b)) < float64(chartMemory) }
	if r := c.own; r != nil && r.query.host == q.host && near(r.query.since, q.since) && near(r.query.until, q.until) {
		return r, true
	}
	c.own = &chartReading{query: q, done: make(chan struct{})}
	return c.own, false
}

// forget is called for a reading that failed or has served its time.
func (c *chartCache) forget(r *chartReading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == r {
		c.own = nil
	}
}

// chartData reads what a chart needs, or waits for what is read for another
// one.
func (s *server) chartData(j *door.Job, q chartQuery) (*chart.Data, error) {
	for {
		r, begun := s.charted.get(q)
		if !begun {
			return s.readChart(j, r)
		}
		j.End()
		select {
		case <-r.done:
		case <-j.Context.Done():
		}
		if err := j.Next(); err != nil || r.data != nil {
			return r.data, err
		}
	}
}

func (s *server) readChart(j *door.Job, r *chartReading) (*chart.Data, error) {
	defer func() {
		if r.data == nil {
			s.charted.forget(r)
		} else {
			time.AfterFunc(chartMemory, func() { s.charted.forget(r) })
		}
		close(r.done)
	}()
	q := r.query
	d := chart.New(q.host, q.since, q.until)
	f := &store.Filter{Since: q.since, Until: q.until, Equal: []store.Member{{Name: "host", Value: q.host}}}
	if err := s.query(j, f, func(line []byte) error { d.Add(line); return nil }); err != nil {
		return nil, err
	}
	d.End()
	r.data = d
	return d, nil
}
