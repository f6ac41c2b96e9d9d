package main

import (
	"bytes"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/record"
	"winnow/tools/logd/chart"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

// FuzzFilter compares the parameters as they are taken with a plain reading of
// them.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{"since=15m&until=2026-11-21&limit=3", "since=-9223372036854775808ns", "since=99999999999999999999d", "order=desc&follow=1", "%zz=1&a&=b&&", "since=1e9h",
		"since=9999-12-31&until=0001-01-01", "since=-213503d", "type=a&type=b", "id=a%20b+c&name=%&verdict&class=", "since=2026-11-21T10:00:00.5%2B02:00", "limit=+7&follow=0&order=asc",
		"since=36500d&until=36501d", "follow=1&until=1s", "follow=1&until=9999-12-31", "since=1969-12-31T23:59:59-14:00&until=2261-12-31T23:59:59-14:00", "limit=9223372036854775808", "since=+2d", "since=1h2m3s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var args fasthttp.Args
		args.Parse(text)
		got, err := parseFilter(&args, noon)
		want, ok := readFilter(text)
		if ok != (err == nil) || ok && !reflect.DeepEqual(*got, want) {
			t.Fatalf("%q gives %+v, %v; want %+v, %v", text, got, err, want, ok)
		}
	})
}

// FuzzChart draws every chart, whatever is asked for and whatever the lines say.
func FuzzChart(f *testing.F) {
	lines := twoSnapshots()
	for _, query := range []string{"", "since=2h&until=1h", "since=0001-01-01&until=9999-12-31", "since=9999-12-31&until=9999-12-31", "until=1970-01-01&host=vm", "until=1960-01-01",
		"since=292y&until=0s", "since=2540400h", "since=1970-01-01&until=2261-12-31T23:59:59.999999999Z&theme=dark", "since=36500d&until=36500d", "since=0s", "host=%ff%00"} {
		f.Add(query, lines)
	}
	f.Add("host=", `{"type":"container","time":"2026-11-21T11:59:40Z","host":"","id":"é\ud800","cpu_percent":-1e999,"memory_kb":1e308}`+"\n"+
		`{"type":"host","time":"2026-11-21T11:59:40Z","host":"","total_memory_kb":1e999,"free_memory_kb":-0.0,"used_memory_kb":1e-320}`)
	f.Fuzz(func(t *testing.T, query, lines string) {
		s := newServer(func() time.Time { return noon }, t.Logf)
		var args fasthttp.Args
		args.Parse(query)
		q, err := s.parseChart(&args)
		if err != nil {
			return
		}
		if q.since >= q.until || q.until-q.since < int64(minSpan) {
			t.Fatalf("%q is from %d until %d", query, q.since, q.until)
		}
		d := chart.New(q.host, q.since, q.until)
		asked := &store.Filter{Since: q.since, Until: q.until, Equal: []store.Member{{Name: "host", Value: q.host}}}
		for line := range bytes.Lines([]byte(lines)) {
			if new(record.Line).Parse(bytes.TrimSpace(line)) == nil && asked.Matches(line) {
				d.Add(line)
			}
		}
		d.End()
		for _, name := range chart.Names() {
			var b bytes.Buffer
			c, err := chart.Draw(name, d, q.theme)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WriteSVG(&b); err != nil {
				t.Fatalf("%s of %q: %v", name, query, err)
			}
			if bytes.Contains(b.Bytes(), []byte("Inf")) || bytes.Contains(b.Bytes(), []byte("NaN")) || !utf8.Valid(b.Bytes()) {
				t.Fatalf("%s of %q has what cannot be drawn", name, query)
			}
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
		return noon.AddDate(0, 0, -int(n.Int64())).UnixNano(), true
	}
	age, err := time.ParseDuration(text)
	return noon.UnixNano() - int64(age), err == nil && age >= 0
}

// unescaped is what a part of a query means: a % that begins no escape is
// itself.
func unescaped(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if n, err := strconv.ParseUint(text[min(i+1, len(text)):min(i+3, len(text))], 16, 8); text[i] == '%' && i+2 < len(text) && err == nil {
			b.WriteByte(byte(n))
			i += 2
			continue
		}
		b.WriteByte(map[bool]byte{true: ' ', false: text[i]}[text[i] == '+'])
	}
	return b.String()
}
