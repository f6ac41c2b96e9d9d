package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"winnow/tools/internal/record"

	"github.com/valyala/fasthttp"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// charts are the drawings by their names, in the order in which the page shows
// them.
var charts = []struct {
	name string
	draw func(*chartData, theme) *chart
}{
	{"memory", drawMemory},
	{"cpu", drawCPU},
	{"classes", drawClasses},
	{"kills", drawKills},
	{"top-memory", drawTopMemory},
	{"top-cpu", drawTopCPU},
}

const (
	defaultSpan = time.Hour
	minSpan     = 10 * time.Second
)

// chart answers GET /charts/NAME.svg and .png.
func (s *server) chart(ctx *fasthttp.RequestCtx, file string) {
	ext := path.Ext(file)
	at := slices.IndexFunc(charts, func(c struct {
		name string
		draw func(*chartData, theme) *chart
	}) bool {
		return c.name == strings.TrimSuffix(file, ext)
	})
	if at < 0 || ext != ".svg" && ext != ".png" {
		fail(ctx, fasthttp.StatusNotFound, "no such chart: %q; there are %s, as .svg and .png", file, chartNames())
		return
	}
	q, err := s.parseChart(ctx.QueryArgs())
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "%v", err)
		return
	}
	// One is drawn at a time: what it takes of memory and of the processors is
	// then the same for one page and for a hundred.
	s.drawing.Lock()
	defer s.drawing.Unlock()
	data, err := s.chartData(q)
	if err != nil {
		s.warn("GET /charts/%s: %v", file, err)
		fail(ctx, fasthttp.StatusInternalServerError, "%v", err)
		return
	}
	c := charts[at].draw(data, q.theme)
	var b bytes.Buffer
	contentType := "image/svg+xml"
	if ext == ".png" {
		contentType = "image/png"
		err = c.writePNG(&b)
	} else {
		err = c.writeSVG(&b)
	}
	if err != nil {
		fail(ctx, fasthttp.StatusInternalServerError, "%v", err)
		return
	}
	ctx.Response.Header.Set(fasthttp.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	ctx.SetContentType(contentType)
	ctx.SetBody(b.Bytes())
}

func chartNames() string {
	var names []string
	for _, c := range charts {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

type chartQuery struct {
	host         string
	since, until int64
	theme        theme
}

func (s *server) parseChart(args *fasthttp.Args) (q chartQuery, err error) {
	q = chartQuery{until: s.now().UnixNano(), since: s.now().Add(-defaultSpan).UnixNano(), theme: lightTheme}
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
				q.theme = darkTheme
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
		if _, host, _ := s.live.view(""); host != nil {
			q.host = host.name
		}
	}
	if q.until < q.since {
		return q, fmt.Errorf("since is after until")
	}
	q.since = min(q.since, q.until-int64(minSpan))
	return q, nil
}

// chartMemory is for how long what was read serves the other charts of a page.
const chartMemory = 5 * time.Second

type chartCache struct {
	query chartQuery
	data  *chartData
	at    time.Time
}

// chartData reads what a chart needs, or takes what was just read for another
// one. s.drawing is held.
func (s *server) chartData(q chartQuery) (*chartData, error) {
	c := &s.charted
	near := func(a, b int64) bool { return math.Abs(float64(a-b)) < float64(chartMemory) }
	if c.data != nil && c.query.host == q.host && near(c.query.since, q.since) && near(c.query.until, q.until) && s.now().Sub(c.at) < chartMemory {
		return c.data, nil
	}
	*c = chartCache{} // not both at once
	data, err := readChart(s.store, q.host, q.since, q.until)
	if err == nil {
		*c = chartCache{q, data, s.now()}
	}
	return data, err
}

func drawMemory(d *chartData, t theme) *chart {
	biggest := 0.0
	for _, h := range d.hosts {
		biggest = max(biggest, h.total.value())
	}
	scale, unit := memoryUnit(biggest)
	c := newChart(d, t, "Memory", unit)
	var xs, used, zero []float64
	var total, free plotter.XYs
	for _, slot := range d.used() {
		h := d.hosts[slot]
		if h.total.n == 0 {
			continue
		}
		x := d.seconds(slot)
		xs, used, zero = append(xs, x), append(used, h.used.value()*scale), append(zero, 0)
		total = append(total, plotter.XY{X: x, Y: h.total.value() * scale})
		free = append(free, plotter.XY{X: x, Y: h.free.value() * scale})
	}
	c.line("total", total, t.ink, 1.2, 4, 3)
	c.band("used (total − free)", xs, zero, used, t.hues[4])
	c.line("free", free, t.hues[2], 1.6)
	c.Y.Max = biggest * scale * 1.05
	return c
}

// memoryUnit is the unit for values up to kb, and what to multiply kB by.
func memoryUnit(kb float64) (scale float64, unit string) {
	if kb >= 1<<20 {
		return 1. / (1 << 20), "GiB"
	}
	return 1. / (1 << 10), "MiB"
}

// maxBands is how many containers the stack tells apart.
const maxBands = 8

const cpuUnit = "% of one core"

func drawCPU(d *chartData, t theme) *chart {
	c := newChart(d, t, "CPU by container", cpuUnit)
	slots := d.used()
	at := make(map[int]int, len(slots))
	xs, base, all := make([]float64, len(slots)), make([]float64, len(slots)), make([]float64, len(slots))
	for i, slot := range slots {
		at[slot], xs[i], all[i] = i, d.seconds(slot), d.hosts[slot].cpu.value()
		c.Y.Max = max(c.Y.Max, all[i])
	}
	for i, track := range d.top(maxBands, func(t *track) float64 { return t.cpuSum }) {
		upper := slices.Clone(base)
		for _, s := range track.slots {
			// Its share of the slot's snapshots, as the sum is one of them.
			share := float64(s.cpu.n) / float64(max(1, d.hosts[s.slot].cpu.n))
			upper[at[s.slot]] += s.cpu.value() * min(1, share)
		}
		c.band(track.label(), xs, base, upper, t.hues[i%len(t.hues)])
		base = upper
	}
	rest := 0.0
	for i := range all {
		all[i] = max(all[i], base[i])
		rest = max(rest, all[i]-base[i])
	}
	if rest > .05 {
		c.band("all others", xs, base, all, t.rest)
	}
	c.Y.Max = max(c.Y.Max*1.08, 1)
	return c
}

func drawClasses(d *chartData, t theme) *chart {
	c := newChart(d, t, "Containers by class", "containers")
	var low, high plotter.XYs
	for _, slot := range d.used() {
		h := d.hosts[slot]
		x := d.seconds(slot)
		low = append(low, plotter.XY{X: x, Y: h.low.value()})
		high = append(high, plotter.XY{X: x, Y: h.high.value()})
		c.Y.Max = max(c.Y.Max, h.low.value(), h.high.value())
	}
	c.Y.Max = max(1, c.Y.Max) * 1.25
	c.line("high", high, t.hues[highHue], 1.8)
	c.line("low", low, t.hues[lowHue], 1.8)
	var kills plotter.XYs
	for _, k := range d.kills {
		kills = append(kills, plotter.XY{X: float64(k.at) / 1e9, Y: c.Y.Max * .94})
	}
	c.kills("a kill", kills)
	return c
}

// killBars is how many bars the kills have.
const killBars = 48

func drawKills(d *chartData, t theme) *chart {
	width := time.Duration(d.until-d.since) / killBars
	c := newChart(d, t, "Kills", fmt.Sprintf("kills in %v", width.Round(time.Second)))
	counts := map[string]*[killBars]float64{record.ClassLow: {}, record.ClassHigh: {}, "": {}}
	for _, k := range d.kills {
		class := k.class
		if counts[class] == nil {
			class = ""
		}
		counts[class][min(killBars-1, (k.at-d.since)/int64(width))]++
	}
	base := new([killBars]float64)
	for _, kind := range []struct {
		class, name string
		hue         color.RGBA
	}{{record.ClassHigh, "of class high", t.hues[highHue]}, {record.ClassLow, "of class low", t.hues[lowHue]}, {"", "of no class", t.rest}} {
		name := kind.name
		for i, n := range counts[kind.class] {
			if n == 0 {
				continue
			}
			from := float64(d.since)/1e9 + float64(i)*width.Seconds()
			c.bar(name, from+.1*width.Seconds(), from+.9*width.Seconds(), base[i], base[i]+n, kind.hue)
			name = ""
			base[i] += n
			c.Y.Max = max(c.Y.Max, base[i])
		}
	}
	c.Y.Max = max(4, math.Ceil(c.Y.Max*1.1))
	if len(d.hosts) > 0 {
		c.empty = false
	}
	return c
}

func (c *chart) bar(name string, left, right, bottom, top float64, hue color.RGBA) {
	p, err := plotter.NewPolygon(plotter.XYs{{X: left, Y: bottom}, {X: left, Y: top}, {X: right, Y: top}, {X: right, Y: bottom}})
	if err != nil {
		return // infinite values, which there are none of
	}
	p.Color, p.LineStyle = hue, draw.LineStyle{}
	c.add(name, p)
}

func drawTopMemory(d *chartData, t theme) *chart {
	top := d.top(5, func(t *track) float64 { return t.peakMemory })
	biggest := 0.0
	for _, track := range top {
		biggest = max(biggest, track.peakMemory)
	}
	scale, unit := memoryUnit(biggest)
	c := newChart(d, t, "Top 5 containers by peak memory", unit)
	c.tracks(top, func(s *trackSlot) (float64, bool) { return s.memory.value() * scale, true })
	return c
}

func drawTopCPU(d *chartData, t theme) *chart {
	c := newChart(d, t, "Top 5 containers by peak CPU", cpuUnit)
	c.tracks(d.top(5, func(t *track) float64 { return t.peakCPU }), func(s *trackSlot) (float64, bool) { return s.cpu.value(), s.cpu.n > 0 })
	return c
}

// tracks draws a line for each container, to the cross where it was killed.
func (c *chart) tracks(top []*track, value func(*trackSlot) (float64, bool)) {
	var ends plotter.XYs
	for i, track := range top {
		var points plotter.XYs
		for j := range track.slots {
			if v, known := value(&track.slots[j]); known {
				points = append(points, plotter.XY{X: c.data.seconds(track.slots[j].slot), Y: v})
				c.Y.Max = max(c.Y.Max, v)
			}
		}
		c.line(track.label(), points, c.theme.hues[i%len(c.theme.hues)], 1.8)
		if n := len(points); track.killed && n > 0 {
			ends = append(ends, plotter.XY{X: max(points[n-1].X, track.killedAtSec), Y: points[n-1].Y})
		}
	}
	c.kills("killed", ends)
	c.Y.Max = max(c.Y.Max*1.1, 1)
}
