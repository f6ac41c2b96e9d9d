package chart

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"time"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	chartWidth  = 740 * vg.Length(1) // points
	chartHeight = 270 * vg.Length(1)
	legendWidth = 190 * vg.Length(1)
	pngDPI      = 144
)

// Theme is the colours of a chart: on white for paper and light pages, or on a
// dark page. The hues are told apart by the colour-blind too (after Okabe and
// Ito); the first is that of class low, the fourth that of class high.
type Theme struct {
	ground, ink, faint, alarm, rest color.RGBA
	hues                            [8]color.RGBA
}

const (
	lowHue  = 0
	highHue = 3
)

// Light is a theme for paper and light pages.
var Light = Theme{
	ground: rgb(0xffffff), ink: rgb(0x22262b), faint: rgb(0xdde0e4), alarm: rgb(0xc4261d), rest: rgb(0x90959c),
	hues: [8]color.RGBA{rgb(0x0072b2), rgb(0xe69f00), rgb(0x009e73), rgb(0xd55e00), rgb(0x56b4e9), rgb(0xcc79a7), rgb(0xb8a900), rgb(0x8c6bb1)},
}

// Dark is a theme for dark pages.
var Dark = Theme{
	ground: rgb(0x1a1d21), ink: rgb(0xe4e6e9), faint: rgb(0x3a3f46), alarm: rgb(0xff6b5e), rest: rgb(0x7d838b),
	hues: [8]color.RGBA{rgb(0x3d9be0), rgb(0xf0b429), rgb(0x2bbf94), rgb(0xe8702a), rgb(0x9bd4f5), rgb(0xe09abf), rgb(0xd6c833), rgb(0xab8fd0)},
}

func rgb(hex uint32) color.RGBA {
	return color.RGBA{uint8(hex >> 16), uint8(hex >> 8), uint8(hex), 255}
}

// cross is a glyph that is seen at a glance.
type cross struct{}

func (cross) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, at vg.Point) {
	c.SetLineStyle(draw.LineStyle{Color: sty.Color, Width: 1.6})
	for _, d := range []vg.Length{-1, 1} {
		var p vg.Path
		p.Move(vg.Point{X: at.X - sty.Radius, Y: at.Y - d*sty.Radius})
		p.Line(vg.Point{X: at.X + sty.Radius, Y: at.Y + d*sty.Radius})
		c.Stroke(p)
	}
}

// Chart is one that can be written.
type Chart struct {
	*plot.Plot
	theme  Theme
	data   *Data
	legend plot.Legend
	empty  bool
}

func newChart(d *Data, t Theme, title, unit string) *Chart {
	c := &Chart{Plot: plot.New(), theme: t, data: d, legend: plot.NewLegend(), empty: true}
	host := (&track{name: d.host}).label()
	c.Title.Text = title
	if host != "" {
		c.Title.Text += " on " + host
	}
	c.Title.Padding = 10
	c.BackgroundColor = nil
	c.X.Min, c.X.Max = float64(d.since)/1e9, float64(d.until)/1e9
	c.Y.Min = 0
	c.X.Tick.Marker = plot.TickerFunc(timeTicks)
	c.X.Label.Text = timeLabel(d.since, d.until)
	c.Y.Label.Text = unit
	c.Y.Tick.Marker = plot.TickerFunc(valueTicks)
	c.X.Padding, c.Y.Padding = 0, 0
	sans := font.Font{Typeface: "Liberation", Variant: "Sans"}
	for style, size := range map[*text.Style]vg.Length{
		&c.Title.TextStyle: 13, &c.X.Label.TextStyle: 10, &c.Y.Label.TextStyle: 10, &c.X.Tick.Label: 10, &c.Y.Tick.Label: 10, &c.legend.TextStyle: 10,
	} {
		style.Font = font.From(sans, size)
		style.Color = t.ink
	}
	c.Title.TextStyle.Font.Weight = xfont.WeightBold
	for _, axis := range []*plot.Axis{&c.X, &c.Y} {
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = t.ink, t.ink
		axis.Label.Padding = 4
	}
	c.legend.Left, c.legend.Top = true, true
	c.legend.Padding = 4
	c.legend.ThumbnailWidth = 14
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	grid.Horizontal.Color = t.faint
	c.Add(grid)
	return c
}

// add draws p and names it in the legend.
func (c *Chart) add(name string, p interface {
	plot.Plotter
	plot.Thumbnailer
}) {
	c.empty = false
	c.Add(p)
	if name != "" {
		c.legend.Add(name, p)
	}
}

// line draws a line, broken where far too long nothing was heard.
func (c *Chart) line(name string, points plotter.XYs, hue color.Color, width vg.Length, dashes ...vg.Length) {
	for i, piece := range c.pieces(points) {
		l := &plotter.Line{XYs: piece, LineStyle: draw.LineStyle{Color: hue, Width: width, Dashes: dashes}}
		if i > 0 {
			name = ""
		}
		c.add(name, l)
		if len(piece) == 1 { // a line of one point is not seen
			c.Add(&plotter.Scatter{XYs: piece, GlyphStyle: draw.GlyphStyle{Color: hue, Radius: width, Shape: draw.CircleGlyph{}}})
		}
	}
}

// pieces cuts points where they are too far apart to be joined.
func (c *Chart) pieces(points plotter.XYs) []plotter.XYs {
	width := float64(c.data.until-c.data.since) / 1e9 / slots
	limit := (float64(gap(c.data.used())) + .5) * width
	var pieces []plotter.XYs
	from := 0
	for i := range points {
		if i+1 == len(points) || points[i+1].X-points[i].X > limit {
			pieces = append(pieces, points[from:i+1])
			from = i + 1
		}
	}
	return pieces
}

// band fills between two lines of the same points.
func (c *Chart) band(name string, xs, lower, upper []float64, hue color.RGBA) {
	top := make(plotter.XYs, len(xs))
	for i := range xs {
		top[i] = plotter.XY{X: xs[i], Y: upper[i]}
	}
	at := 0
	for i, piece := range c.pieces(top) {
		ring := slices.Clone(piece)
		for j := len(piece) - 1; j >= 0; j-- {
			ring = append(ring, plotter.XY{X: piece[j].X, Y: lower[at+j]})
		}
		at += len(piece)
		polygon, err := plotter.NewPolygon(ring)
		if err != nil {
			continue // no points
		}
		polygon.Color, polygon.LineStyle = hue, draw.LineStyle{Color: hue, Width: .5}
		if i > 0 {
			name = ""
		}
		c.add(name, polygon)
	}
}

// kills marks each point with a cross.
func (c *Chart) kills(name string, points plotter.XYs) {
	if len(points) > 0 {
		c.add(name, &plotter.Scatter{XYs: points, GlyphStyle: draw.GlyphStyle{Color: c.theme.alarm, Radius: 3.2, Shape: cross{}}})
	}
}

// WriteSVG and WritePNG draw the chart with its legend beside it.
func (c *Chart) WriteSVG(w io.Writer) error {
	canvas := vgsvg.New(chartWidth, chartHeight)
	c.draw(draw.New(canvas))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	// The face is named by its file; a viewer knows it by its family, or takes
	// one of the same widths.
	svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation;"), []byte("font-family:'Liberation Sans',Arial,Helvetica,sans-serif;"))
	_, err := w.Write(svg)
	return err
}

func (c *Chart) WritePNG(w io.Writer) error {
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(chartWidth, chartHeight), vgimg.UseDPI(pngDPI))}
	c.draw(draw.New(canvas))
	_, err := canvas.WriteTo(w)
	return err
}

func (c *Chart) draw(canvas draw.Canvas) {
	if c.Y.Max <= 0 || math.IsInf(c.Y.Max, 0) {
		c.Y.Max = 1
	}
	canvas.SetColor(c.theme.ground)
	canvas.Fill(canvas.Rectangle.Path())
	inner := draw.Crop(canvas, 10, -10, 8, -10)
	field := draw.Crop(inner, 0, -legendWidth, 0, 0)
	c.Draw(field)
	c.legend.Draw(draw.Crop(inner, inner.Max.X-inner.Min.X-legendWidth+12, 0, 0, -28))
	if c.empty {
		style := c.X.Label.TextStyle
		style.XAlign, style.YAlign = draw.XCenter, draw.YCenter
		canvas.FillText(style, field.Center(), "no records of this span")
	}
}

// timeSteps are the distances between labels of a time axis.
var timeSteps = []struct {
	step   time.Duration
	format string
}{
	{time.Second, "15:04:05"}, {5 * time.Second, "15:04:05"}, {10 * time.Second, "15:04:05"}, {30 * time.Second, "15:04:05"},
	{time.Minute, "15:04"}, {2 * time.Minute, "15:04"}, {5 * time.Minute, "15:04"}, {10 * time.Minute, "15:04"}, {15 * time.Minute, "15:04"},
	{30 * time.Minute, "15:04"}, {time.Hour, "15:04"}, {2 * time.Hour, "15:04"}, {4 * time.Hour, "15:04"}, {6 * time.Hour, "2 Jan 15:04"},
	{12 * time.Hour, "2 Jan 15:04"}, {24 * time.Hour, "2 Jan"}, {7 * 24 * time.Hour, "2 Jan"}, {30 * 24 * time.Hour, "2 Jan 2006"}, {365 * 24 * time.Hour, "2006"},
}

// timeTicks are five to nine labels at round times, UTC.
func timeTicks(from, to float64) []plot.Tick {
	at := 0
	for at < len(timeSteps)-1 && (to-from)/timeSteps[at].step.Seconds() > 8 {
		at++
	}
	step := timeSteps[at].step.Seconds()
	var ticks []plot.Tick
	for t := math.Ceil(from/step) * step; t <= to && len(ticks) < 100; t += step {
		ticks = append(ticks, plot.Tick{Value: t, Label: time.Unix(int64(t), 0).UTC().Format(timeSteps[at].format)})
	}
	return ticks
}

// timeLabel names the day, where the labels do not.
func timeLabel(since, until int64) string {
	from, to := time.Unix(0, since).UTC(), time.Unix(0, until).UTC()
	first, last := from.Format("2 January 2006"), to.Format("2 January 2006")
	if first == last {
		return first + ", UTC"
	}
	return first + " to " + last + ", UTC"
}

// valueTicks are about five round values from 0 on.
func valueTicks(from, to float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/4)))
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		if (to-from)/(step*factor) <= 5.5 {
			step *= factor
			break
		}
	}
	var ticks []plot.Tick
	for i := 0; i < 20; i++ {
		v := float64(i) * step
		if v > to*1.0001 {
			break
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: fmt.Sprintf("%.10g", math.Round(v/step)*step)})
	}
	return ticks
}
