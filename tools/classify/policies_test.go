package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/policy"
)

// guest is a container of a stream, with what it uses at a time.
type guest struct {
	id           int
	image        string
	labels       string        // more of them, as JSON
	born         time.Duration // after the stream's beginning
	cpu, memory  func(at time.Duration) float64
	from, before time.Duration // it is there; 0 is to the end
}

func steady(x float64) func(time.Duration) float64 { return func(time.Duration) float64 { return x } }

// stream is what readsysinfo and namectr give of the guests every beat, on a host
// with 1,000,000 kB of which available may be had.
func stream(length, beat time.Duration, available func(time.Duration) float64, guests ...guest) string {
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var b strings.Builder
	for at := time.Duration(0); at <= length; at += beat {
		var here []guest
		for _, g := range guests {
			if at >= g.from && (g.before == 0 || at < g.before) {
				here = append(here, g)
			}
		}
		head := fmt.Sprintf(`"time":%q,"host":"h","snapshot":"%d"`, began.Add(at).Format(time.RFC3339), at/time.Second)
		fmt.Fprintf(&b, `{"type":"host",%s,"boot_id":"b","containers":%d,"interval_ms":%d,"total_memory_kb":1000000,"available_memory_kb":%v}`+"\n",
			head, len(here), beat.Milliseconds(), available(at))
		for _, g := range here {
			fmt.Fprintf(&b, `{"type":"container",%s,"id":%q,"pid":7,"at_ns":%d,"cpu_ns":%d,"cpu_percent":%v,"memory_kb":%v,"name":"g%d","image":%q,"labels":{"winnow.managed":"true"%s},"created":%q}`+"\n",
				head, filtertest.ID(g.id), int64(time.Hour+at), int64(at), g.cpu(at), g.memory(at), g.id, g.image, g.labels, began.Add(g.born).Format(time.RFC3339))
		}
		fmt.Fprintf(&b, `{"type":"end",%s,"lines":%d}`+"\n", head, len(here)+1)
	}
	return b.String()
}

var (
	snapshotOf = regexp.MustCompile(`"snapshot":"(\d+)"`)
	nameOf     = regexp.MustCompile(`"name":"g(\d+)"`)
	verdictOf  = regexp.MustCompile(`"verdict":"(warn|kill)"|"event":"(withdrawn|limited)"`)
)

// turns are when a container's verdict changed to warn or kill, or a notice was
// withdrawn, as "7200 g1 warn".
func turns(out string) (all []string) {
	last := map[string]string{}
	for line := range strings.Lines(out) {
		v, name := verdictOf.FindStringSubmatch(line), nameOf.FindStringSubmatch(line)
		who, what := "", ""
		if name != nil {
			who = "g" + name[1]
		}
		if v != nil {
			what = v[1] + v[2]
		}
		if who+what == "" || last[who] == what {
			continue
		}
		if last[who] = what; what != "" {
			all = append(all, strings.Join(strings.Fields(snapshotOf.FindStringSubmatch(line)[1]+" "+who+" "+what), " "))
		}
	}
	return all
}

// The policies that winnow comes with do what they say, on streams that are
// written for it.
func TestPolicies(t *testing.T) {
	const ci, lab = `,"role":"ci","pipeline":`, `,"owner":`
	light, plenty := steady(1000), steady(500_000)
	busy := func(from, to time.Duration, cpu float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if at >= from && at < to {
				return cpu
			}
			return 0
		}
	}
	for _, test := range []struct {
		policy string
		stream string
		want   string
	}{
		{"course", stream(0, time.Second, plenty,
			guest{id: 1, cpu: steady(1), memory: light}, guest{id: 2, cpu: steady(2), memory: light}, guest{id: 3, cpu: steady(3), memory: light},
			guest{id: 4, cpu: steady(4), memory: light}, guest{id: 5, cpu: steady(60), memory: light}, guest{id: 6, cpu: steady(70), memory: light},
			guest{id: 7, cpu: steady(80), memory: light}), "0 g4 kill, 0 g7 kill"},
		{"first", stream(0, time.Second, plenty, guest{id: 1, cpu: steady(60), memory: light}, guest{id: 2, cpu: steady(70), memory: light},
			guest{id: 3, cpu: steady(80), memory: light}), ""},
		// A spike of a minute is none; two of a pipeline burn on, and the lighter one stays; the forgotten one goes.
		{"ci", stream(3*time.Hour, time.Minute, plenty,
			guest{id: 1, labels: ci + `"x"`, cpu: busy(time.Minute, 2*time.Minute, 100), memory: light, before: time.Hour},
			guest{id: 2, labels: ci + `"x"`, cpu: busy(10*time.Minute, time.Hour, 95), memory: light, before: time.Hour},
			guest{id: 3, labels: ci + `"x"`, cpu: busy(10*time.Minute, time.Hour, 99), memory: light, before: time.Hour},
			guest{id: 4, labels: ci + `"y"`, cpu: steady(1), memory: light},
			guest{id: 5, cpu: steady(100), memory: light}), "1500 g3 kill, 7260 g4 warn, 7320 g4 kill"},
		// g1 idles; g2's owner looks at it now and then for a moment; g3's works once; of ann's the newest is one too many.
		{"lab", stream(5*time.Hour, time.Minute, plenty,
			guest{id: 1, image: "jupyter/a", labels: lab + `"ann"`, cpu: steady(0), memory: light},
			guest{id: 2, image: "jupyter/a", labels: lab + `"ann"`, born: 1 * time.Second, memory: light,
				cpu: func(at time.Duration) float64 { return busy(2*time.Hour, 2*time.Hour+time.Minute, 50)(at) }},
			guest{id: 3, image: "jupyter/a", labels: lab + `"ann"`, born: 2 * time.Second, cpu: busy(2*time.Hour, 3*time.Hour, 50), memory: light},
			guest{id: 4, image: "jupyter/a", labels: lab + `"ann"`, born: 3 * time.Second, cpu: steady(50), memory: light, before: 2 * time.Minute},
			guest{id: 5, image: "other", labels: lab + `"ann"`, cpu: steady(0), memory: light}), "0 g4 kill, 14400 g1 warn, 14520 g2 warn, 15300 g1 kill, 15420 g2 kill"},
		{"guard", stream(12*time.Second, time.Second, func(at time.Duration) float64 {
			if at >= 2*time.Second {
				return 50_000
			}
			return 500_000
		}, guest{id: 1, cpu: steady(1), memory: steady(600_000), before: 4 * time.Second}, guest{id: 2, cpu: steady(1), memory: steady(200_000), before: 9 * time.Second},
			guest{id: 3, cpu: steady(99), memory: steady(100_000)}), "2 g1 kill, 2 limited, 7 g2 kill, 12 g3 kill"},
	} {
		t.Run(test.policy, func(t *testing.T) {
			out, stderr, err := filtertest.Run(t, run, strings.NewReader(test.stream), "--policy", filepath.Join("policies", test.policy+".toml"), "--span", "0")
			if err != nil {
				t.Fatalf("%v: %s", err, stderr)
			}
			if got := strings.Join(turns(out), ", "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// What the README says can be said is understood.
func TestReadmePolicies(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllSubmatch(text, -1)
	rows := regexp.MustCompile("(?m)^\\| [^|]+ \\| `(\\w+)`[^|]* \\| `([^`]+)`").FindAllSubmatch(text, -1)
	if len(blocks) == 0 || len(rows) < 12 {
		t.Fatalf("%d blocks and %d rows", len(blocks), len(rows))
	}
	for _, b := range blocks {
		if _, err := policy.Parse(b[1], policy.DefaultClass); err != nil {
			t.Errorf("%v in\n%s", err, b[1])
		}
	}
	with := map[string]string{"forgive": "for = \"1m\"", "per": "keep = 1"}
	for _, row := range rows {
		key, value := string(row[1]), string(row[2])
		if value[0] != '"' && value[0] != '[' && strings.Trim(value, "0123456789") != "" {
			value = `"` + value + `"`
		}
		if _, err := policy.Parse([]byte("version = 1\n[[rule]]\n"+key+" = "+value+"\n"+with[key]+"\n"), policy.DefaultClass); err != nil {
			t.Errorf("%s = %s: %v", key, value, err)
		}
	}
}
