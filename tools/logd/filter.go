package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"winnow/tools/internal/record"
	"winnow/tools/logd/store"
)

// filter is what GET /logs asks for.
type filter struct {
	store.Filter
	follow bool
}

// filterNames are the members that can be asked for, the most telling first:
// it is the one that lines are searched for before they are parsed.
var filterNames = []string{"id", "name", "snapshot", "host", "verdict", "class", "type"}

// parseFilter reads the parameters of GET /logs.
func parseFilter(args *fasthttp.Args, now time.Time) (*filter, error) {
	f := &filter{Filter: store.AnyTime(store.Filter{})}
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
			f.Equal = append(f.Equal, store.Member{Name: name, Value: value})
			delete(values, name)
		}
	}
	for name, value := range values {
		if err := f.set(name, value, now); err != nil {
			return nil, err
		}
	}
	if f.follow && (f.NewestFirst || f.Until != math.MaxInt64) {
		return nil, fmt.Errorf("follow goes with neither until nor order=desc")
	}
	return f, nil
}

func (f *filter) set(name, value string, now time.Time) (err error) {
	switch name {
	case "since":
		f.Since, err = parseWhen(value, now)
	case "until":
		f.Until, err = parseWhen(value, now)
	case "limit":
		f.Limit, err = strconv.Atoi(value)
		if err != nil || f.Limit < 1 {
			return fmt.Errorf("limit: not a number of lines from 1 on: %q", value)
		}
	case "order":
		f.NewestFirst = value == "desc"
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
	ago, err := record.ParseDuration(text)
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
