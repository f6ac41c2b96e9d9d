package main

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// FuzzRun holds classify to its promises on any input, by an account of the
// stream that is not its own: lines come out in order and, but for the verdicts,
// as they went in; and where none is kept, those are killed that are of a whole
// snapshot and take part, and nobody else.
func FuzzRun(f *testing.F) {
	protected := sampled("s", 3, 99, 1, `"labels":{"winnow.managed":"true","winnow.protect":"true"}`)
	unread := sampled("s", 2, 99, 1, `"labels":{"winnow.managed":"true","winnow.protect":"yes"}`)
	f.Add(host("s", 3) + idle("s", 1) + sampled("s", 2, "null", 5, managed) + protected + idle("s", 4))
	f.Add(host("s", 2) + idle("s", 1) + "{\"type\":\"weather\"}\n{\n" + idle("t", 2) + host("s", 2) + idle("s", 2) + idle("s", 1))
	f.Add(host("s", 2) + idle("s", 1) + idle("s", 1) + host("s", -1) + host("t", 0.5) + idle("t", 1) + host("", 1) + idle("", 7))
	f.Add(whole("s", 2) + host("t", 1) + process("t", 1) + sampled("t", 1, 1, 1, managed+`,"interval_ms":4999`) + process("t", 1) + end("t", 4))
	f.Add(host("s", 3) + idle("s", 1) + unread + "{\n" + idle("s", 3) + end("s", 4) + idle("s", 4) + end("t", 1) + whole("s", 1))
	f.Add(host("s", 1) + idle("s", 1) + "{\n" + host("t", 1) + idle("t", 1) + whole("u", 1) + host("v", 1) + idle("v", 1))
	f.Fuzz(func(t *testing.T, in string) {
		var all account
		var lines []record.Line // the good ones
		for line, err := range record.Records(strings.NewReader(in)) {
			if err != nil {
				all = append(all, record.Line{})
				continue
			}
			all, lines = append(all, *line), append(lines, *line)
			*line = record.Line{}
		}
		stdout, stderr, _ := filtertest.Run(t, run, strings.NewReader(in), "--keep-low", "0", "--keep-high", "0")
		out := strings.SplitAfter(stdout, "\n")
		if len(out) != len(lines)+1 {
			t.Fatalf("%d lines out, %d good ones in\n%s", len(out)-1, len(lines), stderr)
		}
		for at := range all {
			line := &all[at]
			if line.Text() == "" {
				continue
			}
			var got record.Line
			if err := got.Parse([]byte(strings.TrimSuffix(out[0], "\n"))); err != nil {
				t.Fatalf("%v: %q", err, out[0])
			}
			out = out[1:]
			var verdict []record.Member
			if line.Type() == record.TypeContainer {
				for _, name := range []string{"class", "verdict", "reason", "rank"} {
					verdict = append(verdict, record.Raw(name, got.Get(name).Raw))
				}
				if killed, want := got.Get("verdict").Str == record.VerdictKill, all.condemned(at); killed != want {
					t.Fatalf("line %d: killed is %v, want %v: %s\n%s", at+1, killed, want, got.Text(), in)
				}
			}
			if want := string(line.AppendWith(nil, verdict...)); got.Text() != want {
				t.Fatalf("got  %q\nwant %q", got.Text(), want)
			}
		}
	})
}

// account is a stream's lines; a bad one is empty.
type account []record.Line

// condemned tells whether the container line at i is of a whole snapshot, and
// itself one that takes part.
func (all account) condemned(i int) bool {
	first, last := i-1, i+1 // the host line before, and what is behind the snapshot
	for first >= 0 && !all.ends(first, i) && all[first].Type() != record.TypeHost {
		first--
	}
	if first < 0 || all[first].Type() != record.TypeHost || !all.same(first, i) || all.begunBefore(first) {
		return false
	}
	for last < len(all) && !all.ends(last, i) && all[last].Type() != record.TypeHost {
		last++
	}
	return all.isWhole(first, last) && all.takesPart(i, first)
}

func (all account) same(i, j int) bool {
	return all[i].Get("host").Str == all[j].Get("host").Str && all[i].Get("snapshot").Str == all[j].Get("snapshot").Str
}

// ends tells whether the line at is not within a snapshot, that of line i.
func (all account) ends(at, i int) bool {
	kind := all[at].Type()
	return kind == record.TypeEnd || kind == record.TypeContainer && !all.same(at, i)
}

// begunBefore tells whether the host line is not the first of its snapshot.
func (all account) begunBefore(host int) bool {
	for at := host - 1; at >= 0; at-- {
		if kind := all[at].Type(); kind == record.TypeHost || kind == record.TypeContainer {
			return all.same(at, host)
		}
	}
	return false
}

// isWhole tells of the snapshot from first up to last whether all of it came.
func (all account) isWhole(first, last int) bool {
	lines, ids, bad := 1, map[string]bool{}, false
	for at := first + 1; at < last; at++ {
		line := &all[at]
		switch kind := line.Type(); {
		case line.Text() == "":
			bad = true
		case kind == record.TypeContainer:
			if ids[line.Get("id").Str] {
				return false
			}
			ids[line.Get("id").Str] = true
			lines++
		case kind == record.TypeProcess && all.same(at, first):
			lines++
		}
	}
	if all[first].Get("snapshot").Str == "" || all[first].Get("containers").Num != float64(len(ids)) {
		return false
	}
	if last < len(all) && all[last].Type() != record.TypeHost {
		told := all[last].Get("lines")
		return all[last].Type() == record.TypeEnd && all.same(last, first) && told.Type == gjson.Number && told.Num == float64(lines)
	}
	for at := range last {
		if all[at].Type() == record.TypeEnd {
			return false
		}
	}
	return !bad && (last == len(all) || !all.same(last, first))
}

func (all account) takesPart(i, host int) bool {
	span := all[i].Get("interval_ms")
	if !span.Exists() {
		span = all[host].Get("interval_ms")
	}
	return all[i].Get("cpu_percent").Type == gjson.Number && all[i].Get("memory_kb").Type == gjson.Number &&
		all[host].Get("total_memory_kb").Num > 0 && span.Type == gjson.Number && span.Num >= 5000 && agrees(all[i].Get("labels"))
}

// agrees tells whether the labels say that a container may be killed, and none of winnow's says what cannot be read.
func agrees(labels gjson.Result) (managed bool) {
	if !labels.IsObject() {
		return false
	}
	for name, value := range labels.ForEach {
		switch name.Str {
		case "winnow.as", "winnow.state", "winnow.kind", "winnow.test":
		case record.LabelManaged:
			managed = managed || value.Str == "true"
			if value.Str != "true" && value.Str != "false" {
				return false
			}
		case record.LabelProtect:
			if value.Str != "false" {
				return false
			}
		case record.LabelTTL:
			if ttl, err := record.ParseDuration(value.Str); err != nil || ttl <= 0 {
				return false
			}
		default:
			if strings.HasPrefix(name.Str, "winnow.") {
				return false
			}
		}
	}
	return managed
}
