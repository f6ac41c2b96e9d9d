package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/record"
	"winnow/tools/logd/chart"
	"winnow/tools/logd/store"
	"winnow/tools/testkit"

	"github.com/valyala/fasthttp"
)

// hostileName is a container's name that wants to be more than text. Docker
// refuses such names; a log is posted by anyone who reaches it.
const hostileName = `"><script>document.title='owned'</script><img src=x onerror="document.title='owned'">`

// someHour is a log of an hour that ends at until: containers come and go, two
// of them heavy, and the surplus is killed.
func someHour(t *testing.T, until time.Time, host string) string {
	t.Helper()
	var log bytes.Buffer
	write := func(v any) {
		line, err := record.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(line)
	}
	type running struct {
		record.Container
		until int // the snapshot in which it is killed
	}
	const snapshots = 360
	var all []running
	images := []string{"high-cpu", "high-memory", "low-idle", "low-web"}
	for i := range snapshots {
		at := until.Add(time.Duration(i-snapshots) * 10 * time.Second)
		header := func(kind string) record.Header {
			return record.Header{Type: kind, Time: at, Host: host, Snapshot: fmt.Sprint(host, "-", i)}
		}
		if i%6 == 0 {
			n := i / 6
			image := images[n%4]
			name := fmt.Sprintf("%s-%d", image, n)
			if n == 6 {
				name = hostileName
			}
			created := at
			c := record.Container{ID: fmt.Sprintf("%064x", 0xabc000+n), PID: 100 + n, Process: "burn", Processes: 1, Name: name, Image: image, Created: &created,
				Labels: map[string]string{"winnow.managed": "true"}, Class: record.ClassLow, Verdict: record.VerdictKeep}
			all = append(all, running{c, i + 24 + n%5*12})
		}
		alive := all[:0]
		var kills []record.Kill
		for _, c := range all {
			wave := math.Sin(float64(i+c.PID) / 9)
			cpu, memory := 1+wave, 8000+500*wave
			switch c.Image {
			case "high-cpu":
				cpu, c.Class = 85+12*wave, record.ClassHigh
			case "high-memory":
				cpu, memory, c.Class = 6+2*wave, 200_000+40_000*wave, record.ClassHigh
			}
			c.Header, c.CPUPercent, c.MemoryKB = header(record.TypeContainer), &cpu, uint64(memory)
			c.MemoryPercent = math.Round(memory/40_000) / 10
			c.Reason = fmt.Sprintf("%s: %.1f %% of a core, %.1f %% of memory", c.Class, cpu, c.MemoryPercent)
			c.Verdict, c.Rank = record.VerdictKeep, len(alive)+1
			if i == c.until {
				c.Verdict, c.Reason = record.VerdictKill, c.Reason+"; heaviest of those over the 2 that are kept"
				k := record.Kill{Header: header(record.TypeKill), ID: c.ID, Name: c.Name, Image: c.Image, Class: c.Class, Reason: c.Reason,
					Result: record.ResultKilled, Signal: "SIGTERM", TookMS: 230}
				kills = append(kills, k)
			}
			alive = append(alive, c)
		}
		used := uint64(1_500_000 + 300_000*math.Sin(float64(i)/50))
		interval := int64(10_000)
		write(record.Host{Header: header(record.TypeHost), Source: record.SourceCgroup2, Containers: len(alive), CPUs: 2, IntervalMS: &interval,
			TotalMemoryKB: 4_000_000, UsedMemoryKB: used, FreeMemoryKB: 4_000_000 - used, AvailableMemoryKB: 3_000_000})
		all = nil
		for _, c := range alive {
			write(c.Container)
			if c.Verdict != record.VerdictKill {
				all = append(all, c)
			}
		}
		for _, k := range kills {
			write(k)
		}
	}
	return log.String()
}

// artifact is where a test leaves what a person may want to look at.
func artifact(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join("..", "..", "artifacts", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkSVG tells whether text is well-formed and holds nothing that runs.
func checkSVG(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "svg", "g", "path", "text", "rect":
		default:
			t.Errorf("has an element <%s>", start.Name.Local)
		}
	}
	for _, want := range []string{"Liberation Sans", "11:30", "21 November 2026, UTC"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in it", want)
		}
	}
	if strings.Contains(text, "Inf") || strings.Contains(text, "NaN") {
		t.Error("has a number that is none")
	}
}

func TestCharts(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", someHour(t, testkit.Noon, "vm"))
	l.mustPost(t, "", someHour(t, testkit.Noon, "other"))
	for _, name := range chart.Names() {
		t.Run(name, func(t *testing.T) {
			for _, theme := range []string{"light", "dark"} {
				status, picture := l.get(t, "/charts/"+name+".png?host=vm&theme="+theme)
				if status != 200 {
					t.Fatalf("status %d: %s", status, picture)
				}
				if _, err := png.Decode(strings.NewReader(picture)); err != nil {
					t.Error(err)
				}
				artifact(t, "charts/"+name+"-"+theme+".png", []byte(picture))
			}
			status, drawing := l.get(t, "/charts/"+name+".svg?host=vm")
			if status != 200 {
				t.Fatalf("status %d: %s", status, drawing)
			}
			checkSVG(t, drawing)
			artifact(t, "charts/"+name+".svg", []byte(drawing))
		})
	}
}

func TestChartsOfLittle(t *testing.T) {
	t.Parallel()
	for what, log := range map[string]string{
		"nothing":         `{"type":"x"}`,
		"one snapshot":    twoSnapshots()[:strings.Index(twoSnapshots(), `{"type":"host","time":"2026-11-21T11:59:40Z"`)],
		"odd values":      `{"type":"host","time":"2026-11-21T11:59:00Z","host":"vm","total_memory_kb":"x","used_memory_kb":-5,"free_memory_kb":1e300}`,
		"only a kill":     `{"type":"kill","time":"2026-11-21T11:59:00Z","host":"vm","result":"killed"}`,
		"control in name": testkit.ContainerLine("s", "2026-11-21T11:59:00Z", "aaaa", "a\x01b‮\u0000", "low", "keep", 1) + testkit.HostLine("s", "2026-11-21T11:59:00Z", 1),
	} {
		l := startLog(t, t.TempDir())
		l.post(t, "", log)
		for _, name := range chart.Names() {
			status, drawing := l.get(t, "/charts/"+name+".svg?host=vm&since=1h")
			if status != 200 {
				t.Errorf("%s, %s: status %d: %s", what, name, status, drawing)
				continue
			}
			checkSVG(t, drawing)
		}
	}
}

func TestChartsRefuse(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for path, want := range map[string]int{
		"nope.svg": 404, "memory": 404, "memory.gif": 404, "../memory.svg": 404, "memory.svg?since=x": 400, "memory.svg?until=2h": 400,
		"memory.svg?theme=pink": 400, "memory.svg?size=3": 400, "memory.svg?since=36500d": 200, "memory.svg?until=9999-12-31": 200, "kills.png?since=0001-01-01&until=9999-12-31": 200,
	} {
		if status, text := l.get(t, "/charts/"+path); status != want {
			t.Errorf("%s: status %d, want %d: %.100s", path, status, want, text)
		}
	}
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
		s := newServer(func() time.Time { return testkit.Noon }, t.Logf)
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
