package main

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// FuzzRun holds classify to its promises on any input, by an account of the
// stream that is not its own: lines come out in order and, but for the verdicts,
// as they went in; and whoever is to be killed is of a whole snapshot and may be.
func FuzzRun(f *testing.F) {
	protected := sampled("s", 3, 99, 1, `"labels":{"winnow.managed":"true","winnow.protect":"true"}`)
	f.Add(host("s", 3) + idle("s", 1) + sampled("s", 2, "null", 5, managed) + protected + idle("s", 4))
	f.Add(host("s", 2) + idle("s", 1) + "{\"type\":\"weather\"}\n{\n" + idle("t", 2) + host("s", 2) + idle("s", 2) + idle("s", 1))
	f.Add(host("s", 2) + idle("s", 1) + idle("s", 1) + host("s", -1) + host("t", 0.5) + idle("t", 1) + host("", 1) + idle("", 7))
	f.Fuzz(func(t *testing.T, in string) {
		var lines []record.Line
		for line, err := range record.Records(strings.NewReader(in)) {
			if err == nil {
				lines = append(lines, *line)
				*line = record.Line{}
			}
		}
		var stdout, stderr strings.Builder
		run(t.Context(), []string{"--keep-low", "0", "--keep-high", "0"}, strings.NewReader(in), &stdout, &stderr)
		out := strings.SplitAfter(stdout.String(), "\n")
		if len(out) != len(lines)+1 {
			t.Fatalf("%d lines out, %d good ones in\n%s", len(out)-1, len(lines), stderr.String())
		}
		for i := range lines {
			var got record.Line
			if err := got.Parse([]byte(strings.TrimSuffix(out[i], "\n"))); err != nil {
				t.Fatalf("%v: %q", err, out[i])
			}
			var verdict []record.Member
			if lines[i].Type() == record.TypeContainer {
				for _, name := range []string{"class", "verdict", "reason", "rank"} {
					verdict = append(verdict, record.Raw(name, got.Get(name).Raw))
				}
			}
			if want := string(lines[i].AppendWith(nil, verdict...)); got.Text() != want {
				t.Fatalf("got  %q\nwant %q", got.Text(), want)
			}
			if got.Get("verdict").Str == record.VerdictKill && len(verdict) > 0 && !mayDie(lines, i) {
				t.Fatalf("line %d must not be killed: %s\n%s", i, got.Text(), in)
			}
		}
	})
}

// mayDie tells whether the container line at i is of a whole snapshot, and
// itself one to be judged.
func mayDie(lines []record.Line, i int) bool {
	first := i
	for first >= 0 && lines[first].Type() != record.TypeHost {
		first--
	}
	if first < 0 {
		return false
	}
	host := &lines[first]
	ids, last := map[string]bool{}, first
	for n := first + 1; n < len(lines) && lines[n].Type() != record.TypeHost; n++ {
		line := &lines[n]
		if line.Type() != record.TypeContainer {
			continue
		}
		if len(ids) == int(host.Get("containers").Num) {
			break
		}
		id := line.Get("id").Str
		if ids[id] || line.Get("snapshot").Str != host.Get("snapshot").Str || line.Get("host").Str != host.Get("host").Str {
			return false
		}
		ids[id], last = true, n
	}
	labels := lines[i].Get("labels").Map()
	return i <= last && float64(len(ids)) == host.Get("containers").Num && host.Get("snapshot").Str != "" &&
		lines[i].Get("cpu_percent").Type == gjson.Number && lines[i].Get("memory_kb").Type == gjson.Number &&
		labels[record.LabelManaged].Str == "true" && labels[record.LabelProtect].Str != "true"
}
