package main

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/record"

	"github.com/valyala/fasthttp"
)

// FuzzMatches compares the search for lines with a plain reading of them.
func FuzzMatches(f *testing.F) {
	for _, line := range checkLines {
		f.Add(line, "type", "kill", true)
		f.Add(line, "id", "a", false)
	}
	f.Add(`{"x":{"type":"kill"},"type":"k\u0069ll","time":"2026-11-21T12:00:00Z"}`, "type", "kill", true)
	f.Fuzz(func(t *testing.T, text, name, value string, timed bool) {
		var line record.Line
		if strings.Contains(text, "\n") || line.Parse([]byte(text)) != nil {
			return
		}
		q := anyTime(filter{equal: []member{{name, value}}})
		if timed {
			q.since = noon.UnixNano()
		}
		got := line.Get(name)
		at, known := parseTime(line.Get("time").Str)
		want := got.Raw != "" && got.Raw[0] == '"' && (got.Str == value || name == "id" && strings.HasPrefix(got.Str, value)) && (!timed || known && at >= q.since)
		var b strings.Builder
		out := &limited{&b, 0}
		if err := scanLines([]byte(text+"\n"), q.needle(), &q, out); err != nil {
			t.Fatal(err)
		}
		if found := b.Len() > 0; found != want {
			t.Fatalf("%q with %q = %q, timed %v: found %v, want %v", text, name, value, timed, found, want)
		}
	})
}

// FuzzOpen starts a log on whatever its files hold.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("{\"n\":1}\n{\"n\":2}\n"), []byte("0 8 a\n8 16 b\n"), []byte("index"))
	f.Add([]byte("{\"n\":1}\n{\"n\""), []byte("0 8 a\n8 16 b"), encodeBlock(nil, block{0, 8, 0, 0, 8, true}))
	f.Add([]byte("\x00\x00\n"), []byte("9223372036854775807 9223372036854775807 a\n"), encodeBlock(nil, unknownBlock(0, math.MaxInt64)))
	f.Add([]byte("1}\n{\"n\":2}\n"), []byte("0 8 a\n8 16 b\n"), []byte("index")) // a day that somebody has edited
	f.Fuzz(func(t *testing.T, day, journal, index []byte) {
		dir := t.TempDir()
		writeLog(t, dir, string(day), string(journal))
		if err := os.WriteFile(filepath.Join(dir, ownDir, "2026-11-21.index"), index, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(storeOptions{dir: dir}, realDisk{}, newClock().now, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		before := readAll(t, s)
		// What is stored is there, once; what is not was stored before, as a
		// journal that names the batch says.
		for i, id := range []string{"new", "new"} {
			line := fmt.Sprintf(`{"n":%d}`, i) + "\n"
			b := newBatch(id, line)
			if err := s.Append(b); err != nil {
				t.Fatal(err)
			}
			if b.duplicate && i == 0 && !bytes.Contains(journal, []byte(id)) || !b.duplicate && i == 1 {
				t.Fatalf("append %d: duplicate is %v, with the journal %q", i, b.duplicate, journal)
			}
			if !b.duplicate {
				before += line
			}
			if got := readAll(t, s); got != before {
				t.Fatalf("append %d: has %q, want %q", i, got, before)
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, err := openStore(storeOptions{dir: dir}, realDisk{}, newClock().now, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close(t.Context())
		if got := readAll(t, again); got != before {
			t.Fatalf("opened again it has %q, want %q", got, before)
		}
	})
}

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
		d := newChartData(q.host, q.since, q.until)
		asked := &filter{since: q.since, until: q.until, equal: []member{{"host", q.host}}}
		for line := range bytes.Lines([]byte(lines)) {
			if new(record.Line).Parse(bytes.TrimSpace(line)) == nil && asked.matches(line) {
				d.add(line)
			}
		}
		d.end()
		for _, c := range charts {
			var b bytes.Buffer
			if err := c.draw(d, q.theme).writeSVG(&b); err != nil {
				t.Fatalf("%s of %q: %v", c.name, query, err)
			}
			if bytes.Contains(b.Bytes(), []byte("Inf")) || bytes.Contains(b.Bytes(), []byte("NaN")) || !utf8.Valid(b.Bytes()) {
				t.Fatalf("%s of %q has what cannot be drawn", c.name, query)
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
	f, ok := anyTime(filter{}), true
	for _, name := range strings.Fields("id name snapshot host verdict class type") {
		if value, asked := given[name]; asked {
			f.equal = append(f.equal, member{name, value})
			delete(given, name)
		}
	}
	for name, value := range given {
		good := false
		switch name {
		case "since":
			f.since, good = readWhen(value)
		case "until":
			f.until, good = readWhen(value)
		case "limit":
			n, isInt := new(big.Int).SetString(value, 10)
			good = isInt && n.Sign() > 0 && n.IsInt64()
			if good {
				f.limit = int(n.Int64())
			}
		case "order":
			f.newestFirst, good = value == "desc", value == "desc" || value == "asc"
		case "follow":
			f.follow, good = slices.Contains(strings.Fields("1 t T true True TRUE"), value), slices.Contains(strings.Fields("1 t T true True TRUE 0 f F false False FALSE"), value)
		}
		ok = ok && good
	}
	return f, ok && !(f.follow && (f.newestFirst || f.until != math.MaxInt64))
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
