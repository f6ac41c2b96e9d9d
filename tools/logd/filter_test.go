package main

import (
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"winnow/tools/logd/store"
	"winnow/tools/testkit"

	"github.com/valyala/fasthttp"
)

// FuzzFilter compares the parameters as they are taken with a plain reading of
// them.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{"since=15m&until=2026-11-21&limit=3", "since=-9223372036854775808ns", "since=99999999999999999999d", "order=desc&follow=1", "%zz=1&a&=b&&", "since=1e9h",
		"since=9999-12-31&until=0001-01-01", "since=-213503d", "type=a&type=b", "id=a%20b+c&name=%&verdict&class=", "since=2026-11-21T10:00:00.5%2B02:00", "limit=+7&follow=0&order=asc",
		"since=36500d&until=36501d", "follow=1&until=1s", "follow=1&until=9999-12-31", "since=1969-12-31T23:59:59-14:00&until=2261-12-31T23:59:59-14:00", "limit=9223372036854775808", "since=+2d", "since=1h2m3s", "until=2001d0", "since=1d2h", "since=5us", "name=%+"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var args fasthttp.Args
		args.Parse(text)
		got, err := parseFilter(&args, testkit.Noon)
		want, ok := readFilter(text)
		if ok != (err == nil) || ok && !reflect.DeepEqual(*got, want) {
			t.Fatalf("%q gives %+v, %v; want %+v, %v", text, got, err, want, ok)
		}
	})
}

// readFilter reads a query as the help tells of it.
func readFilter(text string) (filter, bool) {
	given := make(map[string]string)
	for pair := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescaped(name), unescaped(value)
		if name == "" && value == "" {
			continue
		}
		if _, twice := given[name]; twice {
			return filter{}, false
		}
		given[name] = value
	}
	f, ok := filter{Filter: store.AnyTime(store.Filter{})}, true
	for _, name := range strings.Fields("id name snapshot host verdict class type") {
		if value, asked := given[name]; asked {
			f.Equal = append(f.Equal, store.Member{Name: name, Value: value})
			delete(given, name)
		}
	}
	for name, value := range given {
		good := false
		switch name {
		case "since":
			f.Since, good = readWhen(value)
		case "until":
			f.Until, good = readWhen(value)
		case "limit":
			n, isInt := new(big.Int).SetString(value, 10)
			good = isInt && n.Sign() > 0 && n.IsInt64()
			if good {
				f.Limit = int(n.Int64())
			}
		case "order":
			f.NewestFirst, good = value == "desc", value == "desc" || value == "asc"
		case "follow":
			f.follow, good = slices.Contains(strings.Fields("1 t T true True TRUE"), value), slices.Contains(strings.Fields("1 t T true True TRUE 0 f F false False FALSE"), value)
		}
		ok = ok && good
	}
	return f, ok && !(f.follow && (f.NewestFirst || f.Until != math.MaxInt64))
}

// readWhen reads a time of a query, in ns since 1970, without a number that
// could overflow.
func readWhen(text string) (int64, bool) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		at, err = time.Parse("2006-01-02", text)
	}
	if err == nil { // lines are of 1970 to 2261
		switch {
		case at.Year() < 1970:
			return math.MinInt64, true
		case at.Year() > 2261:
			return math.MaxInt64, true
		}
		return at.UnixNano(), true
	}
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		n, isInt := new(big.Int).SetString(days, 10)
		if !isInt || n.Sign() < 0 || n.Cmp(big.NewInt(36500)) > 0 {
			return 0, false
		}
		return testkit.Noon.AddDate(0, 0, -int(n.Int64())).UnixNano(), true
	}
	age, err := time.ParseDuration(text)
	return testkit.Noon.UnixNano() - int64(age), err == nil && age >= 0
}

// unescaped is what a part of a query means: a % that begins no escape is
// itself, and with it what follows where that is too short for one.
func unescaped(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 >= len(text) {
			b.WriteString(text[i:])
			break
		}
		if n, err := strconv.ParseUint(text[min(i+1, len(text)):min(i+3, len(text))], 16, 8); text[i] == '%' && err == nil {
			b.WriteByte(byte(n))
			i += 2
			continue
		}
		b.WriteByte(map[bool]byte{true: ' ', false: text[i]}[text[i] == '+'])
	}
	return b.String()
}
