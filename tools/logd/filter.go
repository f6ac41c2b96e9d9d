package main

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"

	"winnow/tools/internal/jsonscan"
)

// filter is what a query asks for. A zero filter takes every line.
type filter struct {
	since, until int64 // of a line's `time`, ns since 1970; since <= time < until
	equal        []member
	limit        int // 0: all
	newestFirst  bool
	follow       bool
}

// member is a string member that a line must have. An id may be cut short, as
// Docker prints it.
type member struct{ name, value string }

// filterNames are the members that can be asked for, the most telling first:
// it is the one that lines are searched for before they are parsed.
var filterNames = []string{"id", "name", "snapshot", "host", "verdict", "class", "type"}

func (f *filter) timed() bool { return f.since != math.MinInt64 || f.until != math.MaxInt64 }

// parseFilter reads the parameters of GET /logs.
func parseFilter(args *fasthttp.Args, now time.Time) (*filter, error) {
	f := &filter{since: math.MinInt64, until: math.MaxInt64}
	values := make(map[string]string)
	for key, value := range args.All() {
		name := string(key)
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		values[name] = string(value)
	}
	for _, name := range filterNames {
		if value, ok := values[name]; ok {
			f.equal = append(f.equal, member{name, value})
			delete(values, name)
		}
	}
	for name, value := range values {
		if err := f.set(name, value, now); err != nil {
			return nil, err
		}
	}
	if f.follow && (f.newestFirst || f.until != math.MaxInt64) {
		return nil, fmt.Errorf("follow goes with neither until nor order=desc")
	}
	return f, nil
}

func (f *filter) set(name, value string, now time.Time) (err error) {
	switch name {
	case "since":
		f.since, err = parseWhen(value, now)
	case "until":
		f.until, err = parseWhen(value, now)
	case "limit":
		f.limit, err = strconv.Atoi(value)
		if err != nil || f.limit < 1 {
			return fmt.Errorf("limit: not a number of lines from 1 on: %q", value)
		}
	case "order":
		f.newestFirst = value == "desc"
		if value != "asc" && value != "desc" {
			return fmt.Errorf("order: neither asc nor desc: %q", value)
		}
	case "follow":
		f.follow, err = strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("follow: neither 1 nor 0: %q", value)
		}
	default:
		return fmt.Errorf("no such parameter: %q; there are since, until, limit, order, follow, %s", name, strings.Join(filterNames, ", "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// parseWhen reads a time as RFC 3339, as a day, or as how long ago it was. No
// line is of a year before 1970 or after 2261: such a time is no bound.
func parseWhen(text string, now time.Time) (int64, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse(time.DateOnly, text)
	}
	if err == nil {
		return nanoseconds(at), nil
	}
	ago, err := parseAge(text)
	if err != nil {
		return 0, fmt.Errorf("not a time such as 15m, 2d, 2026-11-21 or 2026-11-21T22:55:49Z: %q", text)
	}
	return now.Add(-ago).UnixNano(), nil
}

// nanoseconds are those since 1970, or where none are kept, the bound of what a
// filter can ask for.
func nanoseconds(at time.Time) int64 {
	switch {
	case at.Year() < 1970:
		return math.MinInt64
	case at.Year() > 2261:
		return math.MaxInt64
	}
	return at.UnixNano()
}

// parseAge reads a duration, as time.ParseDuration does, or a number of days.
func parseAge(text string) (time.Duration, error) {
	age, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		age = time.Duration(n) * 24 * time.Hour
		if n < 0 || n > 36500 {
			err = fmt.Errorf("not between now and a hundred years ago")
		}
	}
	if err == nil && age < 0 {
		err = fmt.Errorf("negative")
	}
	return age, err
}

// wants tells whether some line of b may match, by its times.
func (f *filter) wants(b *block) bool {
	return !f.timed() || b.max >= f.since && b.min < f.until
}

// within is f for the lines of b: where all of them are within its span, their
// times need not be looked at.
func (f *filter) within(b *block) *filter {
	if !f.timed() || b.untimed || b.min < f.since || b.max >= f.until {
		return f
	}
	g := anyTime(*f)
	return &g
}

// all tells whether every line matches.
func (f *filter) all() bool { return len(f.equal) == 0 && !f.timed() && f.limit == 0 }

// needle is a text that a matching line has, unless it is written with escapes.
func (f *filter) needle() []byte {
	if len(f.equal) == 0 || f.equal[0].value == "" {
		return nil
	}
	m := f.equal[0]
	if m.name == "id" {
		return []byte(`"` + m.value)
	}
	return []byte(`"` + m.value + `"`)
}

// nextCandidate is where the first line of text that may match begins, or -1.
// text begins with a line.
func nextCandidate(text, needle []byte) int {
	if needle == nil {
		return 0
	}
	at := bytes.Index(text, needle)
	within := text
	if at >= 0 {
		within = text[:at]
	}
	if escape := bytes.IndexByte(within, '\\'); escape >= 0 {
		at = escape
	}
	if at < 0 {
		return -1
	}
	return bytes.LastIndexByte(text[:at], '\n') + 1
}

// matches tells whether a stored line is asked for.
func (f *filter) matches(line []byte) bool {
	left := len(f.equal)
	timed := f.timed()
	if left == 0 && !timed {
		return true
	}
	m := members{jsonscan.Scanner{Text: line}}
	for m.next() && (timed || left > 0) {
		name, value := m.name(), m.value()
		if timed && string(name) == "time" {
			at, known := parseTime(stringOf(value))
			if !known || at < f.since || at >= f.until {
				return false
			}
			timed = false
		}
		for i := range f.equal {
			if string(name) != f.equal[i].name {
				continue
			}
			if !f.equal[i].is(value) {
				return false
			}
			left--
		}
	}
	return !timed && left == 0
}

func (m *member) is(value []byte) bool {
	got := stringOf(value)
	return len(value) > 0 && value[0] == '"' && (got == m.value || m.name == "id" && strings.HasPrefix(got, m.value))
}

// stringOf is what a string means, without a copy where it has no escapes.
func stringOf(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	if bytes.IndexByte(value, '\\') >= 0 {
		return gjson.ParseBytes(value).Str
	}
	return unsafe.String(&value[1], len(value)-2)
}

// anyTime is f without bounds in time.
func anyTime(f filter) filter {
	f.since, f.until = math.MinInt64, math.MaxInt64
	return f
}
