package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

var began = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// box is a container's line of a snapshot: half of a core and 1 GiB, and what more
// members say.
func box(n int, members string) string {
	return fmt.Sprintf(`"id":%q,"name":"c%d","pid":%d,"cpu_ns":1,"cpu_percent":50,"memory_kb":1048576%s`, filtertest.ID(n), n, n, members)
}

const (
	killed    = `,"verdict":"kill","rule":"hot","reason":"rule hot: why"`
	warned    = `,"verdict":"warn","rule":"hot","reason":"rule hot: soon"`
	dryKilled = `,"verdict":"keep","would":"kill","rule":"hot","reason":"rule hot, dry"`
	wasKilled = `,"noted":{"verdict":"kill","dry":false,"rule":"old","reason":"rule old: then"}`
	wasWarned = `,"noted":{"verdict":"warn","dry":false,"rule":"old","reason":"rule old: soon"}`
)

// at is a whole snapshot of a host, so many seconds after the first.
func at(host string, second int, boxes ...string) string {
	when := began.Add(time.Duration(second) * time.Second).Format(time.RFC3339)
	head := fmt.Sprintf(`"time":%q,"host":%q,"snapshot":"%s-%d"`, when, host, host, second)
	text := fmt.Sprintf(`{"type":"host",%s,"containers":%d}`+"\n", head, len(boxes))
	for _, b := range boxes {
		text += fmt.Sprintf(`{"type":"container",%s,%s}`+"\n", head, b)
	}
	return text + fmt.Sprintf(`{"type":"end",%s,"lines":%d}`+"\n", head, len(boxes)+1)
}

// kill is the line of one that was carried out, or not.
func kill(host string, n int, result string) string {
	return fmt.Sprintf(`{"type":"kill","time":"2026-11-24T12:00:00Z","host":%q,"snapshot":"x","id":%q,"reason":"as it was","result":%q}`+"\n", host, filtertest.ID(n), result)
}

// told is what --json tells, in short: a line for each condemnation, and the time over
// budget on both sides where there was any.
func told(t *testing.T, in string, args ...string) string {
	t.Helper()
	stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(in), append(args, "--json")...)
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s", err, stderr)
	}
	text := ""
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	for _, line := range lines[:len(lines)-1] {
		var c condemnation
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		text += c.Name + " " + c.Difference
		for _, of := range c.sides() {
			if of.Time == nil {
				text += " -"
				continue
			}
			text += fmt.Sprintf(" %.0fs %s %.3fh %.3fGiBh", of.Time.Sub(began).Seconds(), of.Rule, of.CPUHours, of.GiBHours)
			if of.Dry {
				text += " dry"
			}
		}
		if c.Running {
			text += " running"
		}
		if c.Estimate {
			text += " ~"
		}
		text += "\n"
	}
	var s sums
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Type != "summary" {
		t.Fatalf("%v: %s", err, lines[len(lines)-1])
	}
	if s.Here.OverS+s.There.OverS > 0 {
		text += fmt.Sprintf("over %v %v\n", s.Here.OverS, s.There.OverS)
	}
	return text
}

// An hour of half a core is half a CPU-hour: 36 s of it are 0.005, and of 1 GiB 0.01.
func TestCount(t *testing.T) {
	long := func(second int) string { return at("h", second, box(1, "")) }
	tests := []struct {
		name, in, against, want string
	}{
		{"only here", at("h", 0, box(1, "")) + at("h", 36, box(1, killed)) + at("h", 72, box(1, "")) + at("h", 108, box(1, "")) + at("h", 144), recorded,
			"c1 only_here 36s hot 0.010h 0.020GiBh -\n"},
		{"until the records end", at("h", 0, box(1, killed)) + long(36), recorded,
			"c1 only_here 0s hot 0.005h 0.010GiBh - running\n"},
		{"condemned twice, as where it is not a replay", at("h", 0, box(1, killed)) + at("h", 36, box(1, killed)), recorded,
			"c1 only_here 0s hot 0.005h 0.010GiBh - running\n"},
		{"as recorded", at("h", 0, box(1, killed)) + kill("h", 1, "killed") + at("h", 36), recorded,
			"c1 same 0s hot 0.000h 0.000GiBh 0s  0.000h 0.000GiBh\n"},
		{"earlier", at("h", 0, box(1, killed)) + at("h", 36, box(1, wasKilled)) + kill("h", 1, "killed") + at("h", 72), recorded,
			"c1 earlier 0s hot 0.005h 0.010GiBh 36s old 0.000h 0.000GiBh\n"},
		{"only recorded", at("h", 0, box(1, "")) + kill("h", 1, "killed") + at("h", 36), recorded,
			"c1 only_there - 0s  0.000h 0.000GiBh\n"},
		{"recorded by a verdict that nobody carried out", at("h", 0, box(1, wasKilled)) + kill("h", 1, "dry_run") + at("h", 36, box(1, wasKilled)) + long(72), recorded,
			"over 0 72\n"},
		{"another policy, later", at("h", 0, box(1, wasKilled)) + at("h", 36, box(1, killed)) + kill("h", 1, "killed") + long(72), "old",
			"c1 later 36s hot 0.005h 0.010GiBh 0s old 0.010h 0.020GiBh running ~\n"},
		{"a gap of an hour counts nothing", at("h", 0, box(1, "")) + at("h", 36, box(1, killed)) + long(72) + long(3672) + long(3708), recorded,
			"c1 only_here 36s hot 0.010h 0.020GiBh - running\n"},
		{"a beat of five minutes is no gap", long(0) + at("h", 300, box(1, killed)) + long(660), recorded,
			"c1 only_here 300s hot 0.050h 0.100GiBh - running\n"},
		{"a clock set back counts nothing", at("h", 360, box(1, killed)) + long(0) + long(36), recorded,
			"c1 only_here 360s hot 0.005h 0.010GiBh - running\n"},
		{"what is after the first difference is so by a clock set back, too", at("h", 360, box(1, killed), box(2, "")) + at("h", 0, box(2, killed)), recorded,
			"c1 only_here 360s hot 0.000h 0.000GiBh -\nc2 only_here 0s hot 0.000h 0.000GiBh - running ~\n"},
		{"a rate that is not known", at("h", 0, box(1, killed)) + at("h", 36, strings.ReplaceAll(box(1, ""), ":50,", ":null,")), recorded,
			"c1 only_here 0s hot 0.000h 0.010GiBh - running\n"},
		{"another pid is another life", at("h", 0, box(1, killed)) + at("h", 36, strings.ReplaceAll(box(1, ""), `"pid":1`, `"pid":2`)) + long(72), recorded,
			"c1 only_here 0s hot 0.000h 0.000GiBh -\n"},
		{"so is a cpu time that falls", at("h", 0, strings.ReplaceAll(box(1, killed), `"cpu_ns":1`, `"cpu_ns":9`)) + at("h", 36, box(1, killed)), recorded,
			"c1 only_here 0s hot 0.000h 0.000GiBh -\nc1 only_here 36s hot 0.000h 0.000GiBh - running ~\n"},
		{"a snapshot cut short ends nobody", at("h", 0, box(1, killed)) + strings.ReplaceAll(at("h", 18), `"containers":0`, `"containers":1`) + long(36), recorded,
			"c1 only_here 0s hot 0.005h 0.010GiBh - running\n"},
		{"estimates are after the first difference, of its host", at("g", 0, box(1, "")) + at("h", 0, box(4, ""), box(5, "")) + at("g", 36, box(1, killed), box(2, killed)) +
			at("h", 36, box(4, ""), box(5, "")) + kill("g", 1, "killed") + at("g", 72, box(2, ""), box(3, killed)) + at("h", 72, box(4, killed), box(5, "")) + at("h", 108, box(5, killed)), recorded,
			"c1 same 36s hot 0.000h 0.000GiBh 36s  0.000h 0.000GiBh\nc2 only_here 36s hot 0.005h 0.010GiBh - running\n" +
				"c3 only_here 72s hot 0.000h 0.000GiBh - running ~\nc4 only_here 72s hot 0.000h 0.000GiBh -\nc5 only_here 108s hot 0.000h 0.000GiBh - running ~\n"},
		{"a dry rule", at("h", 0, box(1, dryKilled)) + long(36), recorded,
			"c1 only_here 0s hot 0.005h 0.010GiBh dry - running\n"},
		{"over budget while warned, on each side", at("h", 0, box(1, warned)) + at("h", 36, box(1, warned), box(2, wasWarned)) + at("h", 72, box(1, killed), box(2, "")) +
			at("h", 108, box(1, ""), box(2, "")), "old",
			"c1 only_here 72s hot 0.005h 0.010GiBh - running\nover 72 36\n"},
		{"not before --since", "--since\n" + at("h", -36, box(1, killed), box(2, warned)) + at("h", 0, box(1, ""), box(2, warned)) + at("h", 36, box(1, ""), box(2, killed)), recorded,
			"c2 only_here 36s hot 0.000h 0.000GiBh - running ~\nover 72 0\n"},
		{"a line of no snapshot", at("h", 0, box(1, killed)) + strings.Split(at("h", 9, box(2, killed)), "\n")[1] + "\n" + long(36), recorded,
			"c1 only_here 0s hot 0.005h 0.010GiBh - running\n"},
		{"a huge number", at("h", 0, box(1, killed)) + at("h", 36, strings.ReplaceAll(box(1, ""), ":1048576", ":1e308")), recorded,
			"c1 only_here 0s hot 0.005h 4768371582.036GiBh - running\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"--against", test.against}
			in, since := strings.CutPrefix(test.in, "--since\n")
			if since {
				args = append(args, "--since", began.Format(time.RFC3339))
			}
			if got := told(t, in, args...); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
		})
	}
}

// A verdict that is noted outlasts the next judgement, and all else stays as it is.
func TestNote(t *testing.T) {
	line := func(members string) string {
		return `{"type":"container","id":"` + filtertest.ID(1) + `",  "x":1.0` + members + `}`
	}
	for name, test := range map[string]struct{ in, want string }{
		"kept":         {line(`,"verdict":"keep"`), line(`,"verdict":"keep"`)},
		"not judged":   {line(""), line("")},
		"killed":       {line(killed), line(killed + `,"noted":{"verdict":"kill","dry":false,"rule":"hot","reason":"rule hot: why"}`)},
		"warned":       {line(warned), line(warned + `,"noted":{"verdict":"warn","dry":false,"rule":"hot","reason":"rule hot: soon"}`)},
		"dry":          {line(dryKilled), line(dryKilled + `,"noted":{"verdict":"kill","dry":true,"rule":"hot","reason":"rule hot, dry"}`)},
		"noted before": {line(wasKilled), line(`,"noted":{"verdict":"","dry":false,"rule":"","reason":""}`)},
		"a kill":       {strings.TrimSpace(kill("h", 1, "killed")), strings.TrimSpace(kill("h", 1, "killed"))},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := filtertest.Run(t, run, strings.NewReader(test.in), "--note")
			if err != nil || got != test.want+"\n" {
				t.Errorf("%v: got %s want %s", err, got, test.want)
			}
		})
	}
}

func TestNoteIsAFilter(t *testing.T) {
	filtertest.BadLines(t, run, "--note")
	filtertest.GoodLines(t, run, "--note")
	filtertest.AnswersAtOnce(t, run, []filtertest.Exchange{{In: "{\"type\":\"weather\"}\n", Out: "{\"type\":\"weather\"}\n"}}, "--note")
}

// What is kept does not grow with the records: the live containers, and the list.
func TestMemoryIsBounded(t *testing.T) {
	s := &sums{Against: recorded, Differences: map[string]int{}, ByRule: map[string]*both[sum]{}, ByDay: map[string]*both[sum]{}}
	c := &counter{recorded: true, sums: s, hosts: map[string]*host{}}
	in, feed := io.Pipe()
	const snapshots = 2000
	go func() {
		for n := range snapshots {
			io.WriteString(feed, at("h", 10*n, box(n, killed), box(n+1, "")))
		}
		feed.Close()
	}()
	most := 0
	err := each(bufio.NewReader(in), func(err error) { t.Error(err) }, func(line *record.Line) {
		c.add(line)
		most = max(most, len(c.hosts["h"].lives)+len(c.hosts["h"].open.samples))
	})
	c.end()
	if err != nil || most > 4 || len(s.listed) != maxListed || s.Here.Condemned != snapshots || s.Containers != snapshots+1 || len(c.hosts["h"].lives) != 0 {
		t.Errorf("%v: %d kept at once, %d listed, %d condemned of %d", err, most, len(s.listed), s.Here.Condemned, s.Containers)
	}
	if first := s.listed[0].Name; first != "c0" {
		t.Errorf("the list begins with %s", first)
	}
}

// Whatever comes in, nothing goes to a terminal raw, no line is too wide, and JSON is JSON.
func FuzzWhatif(f *testing.F) {
	f.Add(at("h", 0, box(1, killed)) + kill("h", 1, "killed") + at("h", 60, box(1, "")))
	f.Add(at("\x7f\u202e", 0, box(1, `,"verdict":"kill","rule":"`+strings.Repeat("é", 90)+`","reason":"\u001b[31m"`+wasKilled)))
	f.Fuzz(func(t *testing.T, in string) {
		for _, args := range [][]string{{}, {"--json"}, {"--against", "old\x1b[2J"}} {
			var out, said strings.Builder
			run(t.Context(), args, strings.NewReader(in), &out, &said)
			for line := range strings.Lines(out.String()) {
				line = strings.TrimSuffix(line, "\n")
				if len(args) == 1 {
					if !json.Valid([]byte(line)) {
						t.Errorf("not JSON: %q", line)
					}
				} else if strings.ContainsAny(line, "\x1b\x7f\u202e") || len([]rune(line)) > width {
					t.Errorf("%v: %q", args, line)
				}
			}
		}
	})
}
