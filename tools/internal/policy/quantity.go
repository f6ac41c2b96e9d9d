package policy

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"winnow/tools/internal/record"
)

// Amount is a share or a size.
type Amount struct {
	Percent float64
	KB      float64
	IsSize  bool // KB counts
}

// Of is the amount on a whole, in KiB; NaN where that is not known and needed.
func (a Amount) Of(whole float64) float64 {
	if a.IsSize {
		return a.KB
	}
	return known(whole) * a.Percent / 100
}

// known is NaN in place of 0, which a total is that is not known.
func known(total float64) float64 {
	if total > 0 {
		return total
	}
	return math.NaN()
}

func (a Amount) String() string {
	if a.IsSize {
		return units.BytesSize(a.KB * 1024)
	}
	return plainNumber(a.Percent) + " %"
}

// Type is an amount's placeholder in --help, where it is a flag's value.
func (a *Amount) Type() string { return "percent%|size" }

// Set parses 10% or 128MB, as a flag has it; a bare number is bytes.
func (a *Amount) Set(text string) error {
	if strings.HasSuffix(text, "%") {
		share, err := ParseShare(text)
		if err != nil || share == 0 || share > 100 {
			return fmt.Errorf("not a share such as 10%%: %q", text)
		}
		*a = Amount{Percent: share}
		return nil
	}
	size, err := units.RAMInBytes(text)
	if err != nil || size < 0 {
		return fmt.Errorf("not a size such as 64MB: %q", text)
	}
	if size == 0 {
		return fmt.Errorf("must be above 0: %q", text)
	}
	*a = Amount{KB: float64(size) / 1024, IsSize: true}
	return nil
}

// ParseShare reads a share such as 90%, in percent.
func ParseShare(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !ok || err != nil || !(x >= 0) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%q is not a share such as 90%%", text)
	}
	return x, nil
}

var sizeText = regexp.MustCompile(`^[0-9.]+ ?[kKmMgGtTpP]?i?[bB]$|^[0-9.]+ ?[kKmMgGtTpP]$`)

// parseAmount reads 90% or, in Docker's way, 512MB.
func parseAmount(text string) (Amount, error) {
	if strings.HasSuffix(text, "%") {
		x, err := ParseShare(text)
		return Amount{Percent: x}, err
	}
	bytes, err := units.RAMInBytes(text)
	if err != nil || !sizeText.MatchString(text) {
		return Amount{}, fmt.Errorf("%q is neither a share such as 90%% nor a size such as 512MB", text)
	}
	return Amount{KB: float64(bytes) / 1024, IsSize: true}, nil
}

// parseMost reads 5/1m.
func parseMost(text string) (Most, error) {
	count, within, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	if !ok || err != nil || n < 1 || n > 1000 {
		return Most{}, fmt.Errorf("%q is not a bound such as 5/1m, from 1 to 1000 of them", text)
	}
	d, err := record.ParseDuration(within)
	if err != nil || d == 0 {
		return Most{}, fmt.Errorf("%q is not a bound such as 5/1m: %q is no time", text, within)
	}
	return Most{n, d}, nil
}

func (m Most) String() string { return fmt.Sprintf("%d in %s", m.Count, span(m.Within)) }

// span is a duration as a policy has it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return plainNumber(d.Seconds()) + "s"
}

func plainNumber(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// figureText is cut to one decimal place instead of rounded, so that nothing below
// a limit reads as if it had reached it.
func figureText(x float64) string { return string(appendFigure(nil, x)) }

func appendFigure(dst []byte, x float64) []byte {
	if math.IsNaN(x) {
		return append(dst, '?')
	}
	return strconv.AppendFloat(dst, math.Floor(x*10)/10, 'f', 1, 64)
}

// What a Condition compares.
const (
	ofCore  = "% of a core"
	ofLimit = "% of its limit"
	ofHost  = "% of the host"
	inKB    = "KB"
	inTime  = "s"
	ofTime  = "% of the last 10 s"
	ofPause = "% since the snapshot before"
)

// Condition compares what a key names with a figure.
type Condition struct {
	Key   string // of the file
	Below bool   // else above
	Equal bool   // or equal to it
	Value float64
	Unit  string
	text  string // as it was written
}

var comparison = regexp.MustCompile(`^\s*(>=|<=|>|<)\s*(\S.*?)(\s+of limit)?\s*$`)

// parseCondition reads "> 90%" or "> 90% of limit" for a key.
func parseCondition(key, text string) (c Condition, err error) {
	parts := comparison.FindStringSubmatch(text)
	if parts == nil {
		return c, fmt.Errorf("%q does not compare with anything, as \"%s\" does", text, examples[key])
	}
	c = Condition{Key: key, Below: parts[1][0] == '<', Equal: len(parts[1]) == 2, text: strings.Join(strings.Fields(text), " ")}
	limited := parts[3] != ""
	if limited && key != "cpu" && key != "memory" {
		return c, fmt.Errorf("%q: only cpu and memory have a limit", text)
	}
	switch key {
	case "age":
		var d time.Duration
		d, err = record.ParseDuration(parts[2])
		c.Value, c.Unit = d.Seconds(), inTime
	case "memory", "host_available":
		var amount Amount
		amount, err = parseAmount(parts[2])
		c.Value, c.Unit = amount.Percent, ofHost
		if amount.IsSize {
			c.Value, c.Unit = amount.KB, inKB
		}
		if limited && amount.IsSize {
			return c, fmt.Errorf("%q: a part of a limit is a share such as 90%%", text)
		}
	default:
		c.Value, err = ParseShare(parts[2])
		switch c.Unit = ofTime; {
		case key == "cpu":
			c.Unit = ofCore
		case strings.HasSuffix(key, "_stall"):
			c.Unit = ofPause
		}
	}
	if limited {
		c.Unit = ofLimit
	}
	if err != nil {
		return c, fmt.Errorf("%q: %w, as in \"%s\"", text, err, examples[key])
	}
	return c, c.possible()
}

// possible refuses what never can or always must hold.
func (c *Condition) possible() error {
	top := math.Inf(1)
	if c.Unit == ofHost || c.Unit == ofTime || c.Unit == ofPause {
		top = 100
	}
	if c.Unit == ofLimit && c.Key == "memory" {
		top = 100
	}
	switch {
	case c.Below && !c.Equal && c.Value == 0, !c.Below && (c.Value > top || c.Value == top && !c.Equal):
		return fmt.Errorf("%q can never hold", c.text)
	case c.Below && c.Value > top, !c.Below && c.Equal && c.Value == 0:
		return fmt.Errorf("%q always holds", c.text)
	}
	return nil
}

// holds is false where the figure is not known.
func (c *Condition) holds(figure float64) bool {
	switch {
	case figure == c.Value:
		return c.Equal
	case c.Below:
		return figure < c.Value
	}
	return figure > c.Value
}

// examples are conditions that are right, for messages.
var examples = map[string]string{
	"cpu": "> 90%", "memory": "> 512MB", "age": "> 2h", "host_available": "< 8%",
	"host_cpu_pressure": "> 50%", "host_memory_pressure": "> 10%", "host_io_pressure": "> 50%",
	"host_cpu_stall": "> 50%", "host_memory_stall": "> 10%", "host_io_stall": "> 50%",
}

// Hours are when a rule judges, on the days on which a span of hours begins.
type Hours struct {
	days     [7]bool // Sunday first
	from, to int     // minutes; to is up to 24 h after from
	zone     *time.Location
	text     string
}

var (
	hoursText = regexp.MustCompile(`^(?:(\S+) )?(\d\d):(\d\d)-(\d\d):(\d\d)(?: (\S+))?$`)
	dayNames  = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}
)

// parseHours reads "Mon-Fri 20:00-06:00 Europe/Madrid": days, hours, a zone. The
// days may be left out, for all, or be a list; the zone may be, for UTC.
func parseHours(text string) (*Hours, error) {
	parts := hoursText.FindStringSubmatch(strings.Join(strings.Fields(text), " "))
	if parts == nil {
		return nil, fmt.Errorf(`%q is not such as "Mon-Fri 20:00-06:00 Europe/Madrid"`, text)
	}
	h := &Hours{text: parts[0], zone: time.UTC}
	for d := range h.days {
		h.days[d] = parts[1] == ""
	}
	if parts[1] != "" {
		for _, part := range strings.Split(parts[1], ",") {
			first, last, isRange := strings.Cut(part, "-")
			from, to := day(first), day(last)
			if !isRange {
				to = from
			}
			if from < 0 || to < 0 {
				return nil, fmt.Errorf("%q: %q are no days such as Mon-Fri or Sat,Sun", text, part)
			}
			for d := from; ; d = (d + 1) % 7 {
				h.days[d] = true
				if d == to {
					break
				}
			}
		}
	}
	clock := [4]int{}
	for i := range clock {
		clock[i], _ = strconv.Atoi(parts[2+i])
	}
	h.from, h.to = clock[0]*60+clock[1], clock[2]*60+clock[3]
	if h.from >= 24*60 || h.to > 24*60 || clock[1] > 59 || clock[3] > 59 {
		return nil, fmt.Errorf("%q: there is no such time of day", text)
	}
	if h.from == h.to {
		return nil, fmt.Errorf("%q: it ends when it begins; all day is 00:00-24:00", text)
	}
	if h.to < h.from {
		h.to += 24 * 60
	}
	if parts[6] != "" {
		zone, err := time.LoadLocation(parts[6])
		if err != nil || parts[6] == "Local" {
			return nil, fmt.Errorf("%q: there is no zone %q; such as UTC or Europe/Madrid", text, parts[6])
		}
		h.zone = zone
	}
	return h, nil
}

// day is a day's number, -1 where it is none.
func day(name string) int {
	for d, known := range dayNames {
		if strings.EqualFold(name, known) {
			return d
		}
	}
	return -1
}

// hold tells whether the time is among the hours.
func (h *Hours) hold(at time.Time) bool {
	at = at.In(h.zone)
	minute := at.Hour()*60 + at.Minute()
	today, yesterday := int(at.Weekday()), (int(at.Weekday())+6)%7
	return h.days[today] && h.from <= minute && minute < h.to || h.days[yesterday] && minute+24*60 < h.to
}
