package chart

import (
	"fmt"
	"image/color"
	"math"
	"slices"
	"time"

	"winnow/tools/internal/record"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

// Kind is a chart that there is.
type Kind struct {
	Name  string `json:"name"`
	About string `json:"about"` // in a few words, for those who do not see it
	draw  func(*Data, Theme) *Chart
}

// Kinds are the charts, in the order in which the page shows them. logd, its page, the chart tool and `down` have
// their names from here.
func Kinds() []Kind {
	return []Kind{
		{"memory", "Memory of the host: total, used and free", drawMemory},
		{"cpu", "CPU over time, stacked by container", drawCPU},
		{"classes", "Containers low and high over time, with kills", drawClasses},
		{"kills", "Kills over time", drawKills},
		{"top-memory", "The five containers with the highest peak of memory", drawTopMemory},
		{"top-cpu", "The five containers with the highest peak of CPU", drawTopCPU},
	}
}

// Names are those of all kinds.
func Names() []string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.Name)
	}
	return names
}

// Draw draws the chart of a name, one of Names.
func Draw(name string, d *Data, t Theme) (*Chart, error) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k.draw(d, t), nil
		}
	}
	return nil, fmt.Errorf("no such chart: %q", name)
}

func drawMemory(d *Data, t Theme) *Chart {
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

func drawCPU(d *Data, t Theme) *Chart {
	c := newChart(d, t, "CPU by container", cpuUnit)
	slots := d.used()
	at := make(map[int]int, len(slots))
	xs, base, all := make([]float64, len(slots)), make([]float64, len(slots)), make([]float64, len(slots))
	for i, slot := range slots {
		at[slot], xs[i], all[i] = i, d.seconds(slot), d.hosts[slot].cpu.value()
		c.Y.Max = max(c.Y.Max, all[i])
	}
	for i, track := range d.top(maxBands, byCPU) {
		upper := slices.Clone(base)
		for _, s := range track.slots {
			// Its share of the slot's snapshots, as the sum is one of them.
			share := float64(s.cpuN) / float64(max(1, d.hosts[int(s.slot)].cpu.n))
			upper[at[int(s.slot)]] += s.cpu() * min(1, share)
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

func drawClasses(d *Data, t Theme) *Chart {
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

func drawKills(d *Data, t Theme) *Chart {
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

func (c *Chart) bar(name string, left, right, bottom, top float64, hue color.RGBA) {
	p, err := plotter.NewPolygon(plotter.XYs{{X: left, Y: bottom}, {X: left, Y: top}, {X: right, Y: top}, {X: right, Y: bottom}})
	if err != nil {
		return // infinite values, which there are none of
	}
	p.Color, p.LineStyle = hue, draw.LineStyle{}
	c.add(name, p)
}

func drawTopMemory(d *Data, t Theme) *Chart {
	top := d.top(5, byMemory)
	biggest := 0.0
	for _, track := range top {
		biggest = max(biggest, track.peakMemory)
	}
	scale, unit := memoryUnit(biggest)
	c := newChart(d, t, "Top 5 containers by peak memory", unit)
	c.tracks(top, func(s *trackSlot) (float64, bool) { return s.memory() * scale, true })
	return c
}

func drawTopCPU(d *Data, t Theme) *Chart {
	c := newChart(d, t, "Top 5 containers by peak CPU", cpuUnit)
	c.tracks(d.top(5, byPeakCPU), func(s *trackSlot) (float64, bool) { return s.cpu(), s.cpuN > 0 })
	return c
}

// tracks draws a line for each container, to the cross where it was killed.
func (c *Chart) tracks(top []*track, value func(*trackSlot) (float64, bool)) {
	var ends plotter.XYs
	for i, track := range top {
		var points plotter.XYs
		for j := range track.slots {
			if v, known := value(&track.slots[j]); known {
				points = append(points, plotter.XY{X: c.data.seconds(int(track.slots[j].slot)), Y: v})
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
