package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

func TestBadLines(t *testing.T)  { filtertest.BadLines(t, run) }
func TestGoodLines(t *testing.T) { filtertest.GoodLines(t, run) }

const managed = `"labels":{"winnow.managed":"true"}`

// host is a snapshot's first line, on a host with 1,000,000 kB.
func host(snapshot string, containers any) string {
	return fmt.Sprintf(`{"type":"host","host":"h","snapshot":%q,"containers":%v,"interval_ms":10000,"total_memory_kb":1000000}`+"\n",
		snapshot, containers)
}

// end is its last line.
func end(snapshot string, lines any) string {
	return fmt.Sprintf(`{"type":"end","host":"h","snapshot":%q,"lines":%v}`+"\n", snapshot, lines)
}

func process(snapshot string, id int) string {
	return fmt.Sprintf(`{"type":"process","host":"h","snapshot":%q,"id":%q}`+"\n", snapshot, filtertest.ID(id))
}

// idles are the lines of containers that may be killed for rank alone.
func idles(snapshot string, from, to int) (lines string) {
	for id := from; id <= to; id++ {
		lines += idle(snapshot, id)
	}
	return lines
}

// whole is a snapshot of so many of them.
func whole(snapshot string, containers int) string {
	return host(snapshot, containers) + idles(snapshot, 1, containers) + end(snapshot, containers+1)
}

// idle is the line of a container that may be killed for rank alone.
func idle(snapshot string, id int) string { return sampled(snapshot, id, 1, 1000, managed) }

func sampled(snapshot string, id int, cpu, memory any, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"type":"container","host":"h","snapshot":%q,"id":%q,"cpu_percent":%v,"memory_kb":%v%s}`+"\n",
		snapshot, filtertest.ID(id), cpu, memory, more)
}

// judged is what the tests look at.
type judged struct {
	Type, Class, Verdict, Reason string
	Rank                         int
}

// judge runs classify over the stream and gives its container lines.
func judge(t testing.TB, in string, args ...string) []judged {
	t.Helper()
	stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(in), args...)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if got, want := strings.Count(stdout, "\n"), strings.Count(in, "\n"); got != want {
		t.Errorf("%d lines out of %d", got, want)
	}
	return containers(t, stdout)
}

// verdicts judges the stream, keeps none of a whole snapshot, and gives the
// verdicts and the reasons.
func verdicts(t testing.TB, in string, args ...string) (all, reasons string) {
	t.Helper()
	for _, c := range judge(t, in, append([]string{"--keep-low", "0", "--keep-high", "0"}, args...)...) {
		all += " " + c.Verdict
		reasons += c.Reason + "\n"
		if c.Verdict == record.VerdictKeep && c.Rank != 0 {
			t.Errorf("rank %d of nothing", c.Rank)
		}
	}
	return strings.TrimSpace(all), reasons
}

func containers(t testing.TB, stream string) []judged {
	t.Helper()
	var all []judged
	for text := range strings.Lines(stream) {
		var c judged
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if c.Type == record.TypeContainer {
			all = append(all, c)
		}
	}
	return all
}

func TestClass(t *testing.T) {
	tests := []struct {
		name                string
		cpu, memory         any
		args                []string
		class, verdict, why string
	}{
		{"low", 49.9, 99999, nil, "low", "kill", "rank 1 of 1 low, the heaviest go first, 0 kept: cpu 49.9 % of a core (high from 50 %), memory 97.6 MiB, 9.9 % of the host (high from 10 %)"},
		{"high by cpu", 50, 0, nil, "high", "kill", "0 kept: cpu 50.0 %"},
		{"high by memory", 0, 100000, nil, "high", "kill", "10.0 % of the host"},
		{"several cores", 350.5, 0, []string{"--high-cpu", "400"}, "low", "kill", "cpu 350.5 % of a core (high from 400 %)"},
		{"a size", 0, 131072, []string{"--high-memory", "128MB"}, "high", "kill", "memory 128.0 MiB, 13.1 % of the host (high from 128.0 MiB)"},
		{"below a size", 0, 131071, []string{"--high-memory", "128MB"}, "low", "kill", "memory 127.9 MiB"},
		{"no rate yet", "null", 10, nil, "", "keep", "kept, too new, it has no cpu rate yet: cpu ? % of a core (high from 50 %), memory 0.0 MiB, 0.0 % of the host (high from 10 %)"},
		{"no rate yet, much memory", "null", 900000, nil, "high", "keep", "too new"},
		{"memory unknown", 10, "null", nil, "", "keep", "its share of the memory is not known"},
		{"memory unknown, much cpu", 90, "null", nil, "high", "keep", "its share of the memory is not known"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := append([]string{"--keep-low", "0", "--keep-high", "0"}, test.args...)
			got := judge(t, host("s", 1)+sampled("s", 1, test.cpu, test.memory, managed), args...)[0]
			if got.Class != test.class || got.Verdict != test.verdict || !strings.Contains(got.Reason, test.why) {
				t.Errorf("got %q %q %q", got.Class, got.Verdict, got.Reason)
			}
		})
	}
}

// Where the host's memory is not known, no share of it is, and only a size or
// the CPU can make a container high.
func TestHostMemoryUnknown(t *testing.T) {
	line := host("s", 1)
	for name, first := range map[string]string{
		"missing": strings.Replace(line, `,"total_memory_kb":1000000`, "", 1),
		"null":    strings.Replace(line, `1000000`, "null", 1),
		"zero":    strings.Replace(line, `1000000`, "0", 1),
	} {
		t.Run(name, func(t *testing.T) {
			tests := []struct {
				name           string
				cpu, memory    any
				size           string
				class, verdict string
				why            string
			}{
				{"a share", 1, 999999, "10%", "", "keep", "kept, its share of the memory is not known: cpu 1.0 % of a core (high from 50 %), memory 976.5 MiB (high from 10 %)"},
				{"a share, much cpu", 50, 1, "10%", "high", "keep", "kept, its share of the memory is not known"},
				{"below a size", 1, 1023, "1MB", "low", "kill", "memory 0.9 MiB (high from 1.0 MiB)"},
				{"a size", 1, 1024, "1MB", "high", "kill", "memory 1.0 MiB (high from 1.0 MiB)"},
			}
			for _, test := range tests {
				in := first + sampled("s", 1, test.cpu, test.memory, managed) + end("s", 2)
				got := judge(t, in, "--keep-low", "0", "--keep-high", "0", "--high-memory", test.size)[0]
				if got.Class != test.class || got.Verdict != test.verdict || !strings.Contains(got.Reason, test.why) {
					t.Errorf("%s: got %q %q %q", test.name, got.Class, got.Verdict, got.Reason)
				}
			}
		})
	}
}

// A rate over less than --span, or over nobody knows how long, condemns nobody
// and takes up no place, however much memory is used.
func TestSpan(t *testing.T) {
	hostSpan := func(span string) string { return strings.Replace(host("s", 2), `"interval_ms":10000,`, span, 1) }
	unknown := "kept, the span of its cpu rate is not known"
	tests := []struct {
		name, host, own, why string // why is "" where it takes part
		args                 []string
	}{
		{"its own is long enough", `"interval_ms":10000,`, `,"interval_ms":5000`, "", nil},
		{"its own is too short", `"interval_ms":10000,`, `,"interval_ms":4999`, "kept, its cpu rate is over 4.9 s, less than 5 s: cpu ", nil},
		{"its own is far too short", `"interval_ms":10000,`, `,"interval_ms":0`, "kept, its cpu rate is over 0.0 s, less than 5 s: cpu ", nil},
		{"its own is longer than the host's", `"interval_ms":10,`, `,"interval_ms":5000`, "", nil},
		{"its own, and none of the host", ``, `,"interval_ms":5000`, "", nil},
		{"the host's is long enough", `"interval_ms":5000,`, ``, "", nil},
		{"the host's is too short", `"interval_ms":3482,`, ``, "kept, its cpu rate is over 3.4 s, less than 5 s: ", nil},
		{"its own is null", `"interval_ms":10000,`, `,"interval_ms":null`, unknown, nil},
		{"the host's is null", `"interval_ms":null,`, ``, unknown, nil},
		{"none", ``, ``, unknown, nil},
		{"other spans", `"interval_ms":10000,`, `,"interval_ms":1499`, "kept, its cpu rate is over 1.4 s, less than 1.5 s: ", []string{"--span", "1500ms"}},
		{"just another span", `"interval_ms":1,`, `,"interval_ms":1500`, "", []string{"--span", "1500ms"}},
		{"a minute", `"interval_ms":10000,`, ``, "kept, its cpu rate is over 10.0 s, less than 60 s: ", []string{"--span", "1m"}},
		{"any", `"interval_ms":10000,`, `,"interval_ms":0`, "", []string{"--span", "0"}},
		{"any, not known", ``, `,"interval_ms":null`, "", []string{"--span", "0s"}},
	}
	for _, test := range tests {
		for class, figures := range map[string][2]any{"low": {1, 10}, "high": {90, 10}, "high by memory": {1, 900000}} {
			t.Run(test.name+", "+class, func(t *testing.T) {
				beside := sampled("s", 2, figures[0], figures[1], managed+`,"interval_ms":600000`)
				in := hostSpan(test.host) + sampled("s", 1, figures[0], figures[1], managed+test.own) + beside + end("s", 3)
				got := judge(t, in, append([]string{"--keep-low", "1", "--keep-high", "1"}, test.args...)...)
				if want, _, _ := strings.Cut(class, " "); got[0].Class != want {
					t.Errorf("class %q, want %q", got[0].Class, want)
				}
				takesPart := test.why == ""
				if (got[0].Rank != 0) != takesPart || !strings.HasPrefix(got[0].Reason, test.why) || got[0].Verdict != record.VerdictKeep {
					t.Errorf("rank %d, %s: %s", got[0].Rank, got[0].Verdict, got[0].Reason)
				}
				if (got[1].Verdict == record.VerdictKill) != takesPart {
					t.Errorf("beside it: %s: %s", got[1].Verdict, got[1].Reason)
				}
			})
		}
	}
}

// A label's value is anybody's text: it stands in the reason as JSON, and not
// more of it than a person reads.
func TestReasonsHoldForeignText(t *testing.T) {
	for value, want := range map[string]string{
		"a\"b\\c\nd\x1b[31m<&>\u202e\u2028é世": "a\"b\\c\nd\x1b[31m<&>\u202e\u2028é世",
		`","verdict":"kill","x":"`:            `","verdict":"kill","x":"`,
		strings.Repeat("世", 100000):           strings.Repeat("世", 13) + "…",
	} {
		encoded, err := json.Marshal(map[string]string{record.LabelManaged: "true", record.LabelProtect: value})
		if err != nil {
			t.Fatal(err)
		}
		got := judge(t, host("s", 1)+sampled("s", 1, 1, 10, `"labels":`+string(encoded))+end("s", 2), "--keep-low", "0")[0]
		if want := "kept, its label winnow.protect=" + want + " cannot be read: cpu 1.0 %"; !strings.HasPrefix(got.Reason, want) {
			t.Errorf("got %q, want %q", got.Reason, want)
		}
		if got.Verdict != record.VerdictKeep || got.Rank != 0 {
			t.Errorf("%s, rank %d", got.Verdict, got.Rank)
		}
	}
}

func TestWhoTakesPart(t *testing.T) {
	tests := []struct {
		name, more, why string
		args            []string
	}{
		{"protected", `"labels":{"winnow.managed":"true","winnow.protect":"true"}`, "protected by its label winnow.protect=true", nil},
		{"protected, with --all", `"labels":{"winnow.protect":"true"}`, "protected", []string{"--all"}},
		{"no such label", `"labels":{}`, "not labelled winnow.managed=true", nil},
		{"managed is false", `"labels":{"winnow.managed":"false"}`, "not labelled winnow.managed=true", nil},
		{"managed in capitals", `"labels":{"winnow.managed":"True"}`, "its label winnow.managed=True cannot be read", nil},
		{"managed with a space, with --all", `"labels":{"winnow.managed":" true"}`, "its label winnow.managed= true cannot be read", []string{"--all"}},
		{"protect is yes", `"labels":{"winnow.managed":"true","winnow.protect":"yes"}`, "its label winnow.protect=yes cannot be read", nil},
		{"protect is yes, with --all", `"labels":{"winnow.protect":"yes"}`, "its label winnow.protect=yes cannot be read", []string{"--all"}},
		{"protect is empty", `"labels":{"winnow.protect":"","winnow.managed":"true"}`, "its label winnow.protect= cannot be read", nil},
		{"protect, escaped", `"labels":{"winnow.managed":"true","winnow\u002eprotect":"\u0074rue"}`, "protected by its label winnow.protect=true", nil},
		{"not named", `"image":"x"`, "its labels are not known", nil},
		{"not named, with --all", `"image":"x"`, "its labels are not known", []string{"--all"}},
		{"null labels, with --all", `"labels":null`, "its labels are not known", []string{"--all"}},
		{"age unknown", managed, "its time of creation is not known", []string{"--victims", "newest"}},
		{"age is no time", managed + `,"created":"long ago"`, "its time of creation is not known", []string{"--victims", "oldest"}},
		{"managed", managed, "", nil},
		{"no label, with --all", `"labels":{}`, "", []string{"--all"}},
		{"managed, escaped", `"labels":{"winnow.manage\u0064":"tru\u0065"}`, "", nil},
		{"span known", managed + `,"interval_ms":5000`, "", nil},
		{"another label", `"labels":{"winnow.managed":"true","winnow.kind":"yes","protect":"true"}`, "", nil},
		{"protect is false", `"labels":{"winnow.managed":"true","winnow.protect":"false"}`, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// The heavier ones beside it go whether it takes up a place or not.
			in := host("s", 3) + sampled("s", 1, 5, 10, test.more) + idleAged("s", 2) + idleAged("s", 3)
			got := judge(t, in, append([]string{"--keep-low", "1"}, test.args...)...)
			takesPart := test.why == ""
			if (got[0].Rank != 0) != takesPart {
				t.Errorf("rank %d: %s", got[0].Rank, got[0].Reason)
			}
			if !strings.Contains(got[0].Reason, test.why) || (!takesPart && got[0].Verdict != record.VerdictKeep) {
				t.Errorf("%s: %q", got[0].Verdict, got[0].Reason)
			}
			kills := 0
			for _, c := range got {
				if c.Verdict == record.VerdictKill {
					kills++
				}
			}
			if want := map[bool]int{true: 2, false: 1}[takesPart]; kills != want {
				t.Errorf("%d kills, want %d", kills, want)
			}
		})
	}
}

func idleAged(snapshot string, id int) string {
	return sampled(snapshot, id, 1, 1000, managed+`,"created":"2025-06-01T00:00:00Z"`)
}

func TestVictims(t *testing.T) {
	in := host("s", 5)
	for _, c := range []struct {
		id, cpu int
		hour    string
	}{{1, 10, "07"}, {2, 30, "05"}, {3, 20, "09"}, {4, 20, "06"}, {5, 20, "06"}} {
		in += sampled("s", c.id, c.cpu, 0, managed+`,"created":"2025-06-01T`+c.hour+`:00:00+02:00"`)
	}
	tests := map[string]string{ // the rank of each, in the input's order
		"heaviest": "1 5 2 3 4",
		"lightest": "5 1 2 3 4",
		"newest":   "4 1 5 2 3",
		"oldest":   "2 5 1 3 4",
	}
	for victims, want := range tests {
		t.Run(victims, func(t *testing.T) {
			var ranks []string
			for _, c := range judge(t, in, "--victims", victims) {
				ranks = append(ranks, fmt.Sprint(c.Rank))
				if (c.Verdict == record.VerdictKill) != (c.Rank > 3) {
					t.Errorf("rank %d: %s", c.Rank, c.Verdict)
				}
			}
			if got := strings.Join(ranks, " "); got != want {
				t.Errorf("ranks %s, want %s", got, want)
			}
		})
	}
}

// Equals go by their ids, in whatever order they come.
func TestTies(t *testing.T) {
	ids := []int{9, 3, 7, 1, 8, 2, 6, 4, 5, 19, 13, 17, 11, 18, 12, 16, 14, 15, 10}
	in := host("s", len(ids))
	for _, id := range ids {
		in += idleAged("s", id)
	}
	for _, victims := range []string{"heaviest", "lightest", "newest", "oldest"} {
		for i, c := range judge(t, in+end("s", len(ids)+1), "--victims", victims) {
			if c.Rank != ids[i] {
				t.Errorf("%s: id %d has rank %d", victims, ids[i], c.Rank)
			}
		}
	}
}

// The nearer of two limits counts: 20 % of a core weighs less than 80 kB of 100.
func TestLoadWeighsBoth(t *testing.T) {
	in := host("s", 2) + sampled("s", 1, 20, 0, managed) + sampled("s", 2, 0, 80000, managed)
	got := judge(t, in, "--keep-low", "1")
	if got[0].Verdict != record.VerdictKeep || got[1].Verdict != record.VerdictKill {
		t.Errorf("got %s, %s", got[0].Reason, got[1].Reason)
	}
}

// A snapshot is judged at its end line, if that tells of as many lines as came.
func TestEndLines(t *testing.T) {
	elsewhere := func(line string) string { return strings.Replace(line, `"host":"h"`, `"host":"other"`, 1) }
	tests := []struct{ name, in, verdicts, why string }{
		{"whole", whole("s", 3), "kill kill kill", ""},
		{"two whole ones", whole("s", 2) + whole("s2", 1), "kill kill kill", ""},
		{"one more than announced", host("s", 1) + idles("s", 1, 2) + end("s", 3), "keep keep", "announced with 1 containers and has 2"},
		{"one less than announced", host("s", 3) + idles("s", 1, 2) + end("s", 3), "keep keep", "announced with 3 containers and has 2"},
		{"none of those announced", host("s", 1) + end("s", 1) + idle("s", 1), "keep", "announced with 1 containers and has 0"},
		{"a line too few", host("s", 2) + idles("s", 1, 2) + end("s", 4), "keep keep", "part of a snapshot of 4 lines of which 3 came"},
		{"a line too many", host("s", 2) + idles("s", 1, 2) + end("s", 2), "keep keep", "part of a snapshot of 2 lines of which 3 came"},
		{"processes", host("s", 2) + process("s", 9) + idle("s", 1) + process("s", 1) + process("s", 1) + idle("s", 2) + process("s", 2) +
			end("s", 7), "kill kill", ""},
		{"a process too few", host("s", 2) + idle("s", 1) + idle("s", 2) + process("s", 2) + end("s", 5), "keep keep", "of 5 lines of which 4 came"},
		{"processes of others do not count", host("s", 1) + idle("s", 1) + process("t", 1) + elsewhere(process("s", 1)) + end("s", 2), "kill", ""},
		{"nor do other types", host("s", 1) + `{"type":"note","host":"h","snapshot":"s"}` + "\n" + idle("s", 1) +
			`{"type":"kill","host":"h","snapshot":"s"}` + "\n" + `{"type":"rule","host":"h","snapshot":"s"}` + "\n{}\n" + end("s", 2), "kill", ""},
		{"no number of lines", host("s", 1) + idle("s", 1) + strings.Replace(end("s", 2), "lines", "rows", 1), "keep", "whose end does not say how many lines"},
		{"null lines", host("s", 1) + idle("s", 1) + end("s", "null"), "keep", "does not say how many lines"},
		{"a fraction", host("s", 1) + idle("s", 1) + end("s", 2.5), "keep", "does not say how many lines"},
		{"far too many", host("s", 1) + idle("s", 1) + end("s", "1e300"), "keep", "does not say how many lines"},
		{"another way to write it", host("s", "1e0") + idle("s", 1) + end("s", "2.0"), "kill", ""},
		{"no end", whole("s", 1) + host("s2", 2) + idles("s2", 1, 2), "kill keep keep", "an unfinished snapshot, 2 of 2 containers and no end"},
		{"no end before another", whole("s", 1) + host("s2", 1) + idle("s2", 1) + whole("s3", 1), "kill keep kill", "unfinished snapshot, 1 of 1 containers and no end"},
		{"the end of another", host("s", 1) + idle("s", 1) + end("t", 2) + end("s", 2), "keep", "an unfinished snapshot, 1 of 1 containers and no end"},
		{"the end of another host", host("s", 1) + idle("s", 1) + elsewhere(end("s", 2)) + end("s", 2), "keep", "1 of 1 containers and no end"},
		{"the end of another, before any container", host("s", 1) + end("t", 1) + idle("s", 1) + end("s", 2), "keep", "0 of 1 containers and no end"},
		{"the end of nothing first", end("s", 1) + whole("s", 1), "kill", ""},
		{"another snapshot between", host("s", 2) + idle("s", 1) + idle("t", 9) + idle("s", 2) + end("s", 4), "keep keep keep", "without a host line"},
		{"another whole one between", host("s", 1) + idle("s", 1) + idle("t", 9) + end("s", 2), "keep keep", "an unfinished snapshot, 1 of 1 containers"},
		{"another host between", host("s", 2) + idle("s", 1) + elsewhere(idle("s", 9)) + idle("s", 2) + end("s", 3), "keep keep keep", "without a host line"},
		{"no host line", idles("s", 1, 2) + end("s", 2), "keep keep", "without a host line"},
		{"a host line too late", idle("s", 1) + host("s", 1) + idle("s", 2) + end("s", 3), "keep keep", "more than one beginning"},
		{"two host lines", host("s", 2) + idle("s", 1) + host("s", 1) + idle("s", 2) + end("s", 2), "keep keep", "more than one beginning"},
		{"two host lines, before any container", host("s", 1) + host("s", 1) + idle("s", 1) + end("s", 2), "keep", "more than one beginning"},
		{"begun again after its end", whole("s", 1) + whole("s", 1), "kill keep", "more than one beginning"},
		{"a container twice", host("s", 3) + idles("s", 1, 2) + idle("s", 2) + end("s", 4), "keep keep keep", "has a container twice"},
		{"twice, two announced", host("s", 2) + idles("s", 1, 2) + idle("s", 2) + end("s", 4), "keep keep keep", "has a container twice"},
		{"a container after the end", host("s", 2) + idles("s", 1, 2) + end("s", 3) + idle("s", 3), "kill kill keep", "part of a snapshot with lines after its end"},
		{"a container twice, after the end", whole("s", 1) + idle("s", 1), "kill keep", "with lines after its end"},
		{"a second end", whole("s", 1) + end("s", 2) + idle("s", 2) + end("s", 3), "kill keep", "with lines after its end"},
		{"a second end that is wrong", whole("s", 1) + end("s", 9) + idle("s", 2), "kill keep", "with lines after its end"},
		{"a second end that would be right", host("s", 1) + idle("s", 1) + end("s", 9) + end("s", 2), "keep", "of 9 lines of which 2 came"},
		{"none announced", host("s", 0) + idle("s", 1) + end("s", 2), "keep", "announced with 0 containers"},
		{"null announced", host("s", "null") + idle("s", 1) + end("s", 2), "keep", "does not say how many containers"},
		{"no name", host("", 1) + idle("", 1) + end("", 2), "keep", "a snapshot without a name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, reasons := verdicts(t, test.in)
			if got != test.verdicts || !strings.Contains(reasons, test.why) {
				t.Errorf("got %s, want %s:\n%s", got, test.verdicts, reasons)
			}
		})
	}
}

// Where a stream has no end lines, as those of older versions, the next host
// line ends a snapshot, or the end of the input.
func TestWithoutEndLines(t *testing.T) {
	elsewhere := strings.Replace(idle("s", 9), `"host":"h"`, `"host":"other"`, 1)
	tests := []struct{ name, in, verdicts, why string }{
		{"whole", host("s", 3) + idles("s", 1, 3), "kill kill kill", ""},
		{"two whole ones", host("s", 2) + idles("s", 1, 2) + host("s2", 1) + idle("s2", 1), "kill kill kill", ""},
		{"processes", host("s", 1) + idle("s", 1) + process("s", 1) + process("s", 1), "kill", ""},
		{"end of input", host("s", 3) + idles("s", 1, 2), "keep keep", "kept, part of an unfinished snapshot, 2 of 3 containers and no end"},
		{"next host line", host("s", 3) + idles("s", 1, 2) + host("s2", 1) + idle("s2", 1), "keep keep kill", "2 of 3 containers"},
		{"another snapshot", host("s", 3) + idles("s", 1, 2) + idle("s2", 9) + idle("s", 3), "keep keep keep keep", "without a host line"},
		{"another snapshot after a whole one", host("s", 2) + idles("s", 1, 2) + idle("s2", 9), "keep keep keep", "unfinished snapshot, 2 of 2 containers and no end"},
		{"another host", host("s", 3) + idles("s", 1, 2) + elsewhere + idle("s", 3), "keep keep keep keep", "without a host line"},
		{"no host line", idles("s", 1, 3), "keep keep keep", "a snapshot without a host line"},
		{"no host line and no name", strings.ReplaceAll(idles("", 1, 2), `"host":"h",`, ""), "keep keep", "a snapshot without a host line"},
		{"host line too late", idle("s", 1) + host("s", 2) + idles("s", 2, 3), "keep keep keep", "more than one beginning"},
		{"two host lines", host("s", 2) + idle("s", 1) + host("s", 2) + idles("s", 2, 3), "keep keep keep", "more than one beginning"},
		{"twice the same", host("s", 1) + idle("s", 1) + host("s", 1) + idle("s", 1), "keep keep", "more than one beginning"},
		{"a container twice", host("s", 3) + idles("s", 1, 2) + idles("s", 2, 3), "keep keep keep keep", "has a container twice"},
		{"more than announced", host("s", 1) + idles("s", 1, 2), "keep keep", "announced with 1 containers and has 2"},
		{"more than announced, and another", host("s", 1) + idles("s", 1, 3) + host("s2", 1) + idle("s2", 1), "keep keep keep kill", "announced with 1 containers and has 3"},
		{"none announced", host("s", 0) + idles("s", 1, 2), "keep keep", "announced with 0 containers"},
		{"null announced", host("s", "null") + idle("s", 1), "keep", "does not say how many"},
		{"a fraction announced", host("s", 1.5) + idle("s", 1), "keep", "does not say how many"},
		{"too many announced", host("s", 1e300) + idle("s", 1), "keep", "does not say how many"},
		{"nothing announced", `{"type":"host","host":"h","snapshot":"s"}` + "\n" + idle("s", 1), "keep", "does not say how many"},
		{"no name", host("", 1) + idle("", 1), "keep", "a snapshot without a name"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, reasons := verdicts(t, test.in)
			if got != test.verdicts || !strings.Contains(reasons, test.why) {
				t.Errorf("got %s, want %s:\n%s", got, test.verdicts, reasons)
			}
		})
	}
}

// A bad line in a snapshot may have been any of its lines.
func TestBadLineSparesItsSnapshot(t *testing.T) {
	notANumber := strings.Replace(idle("s", 2), "1000", `"x"`, 1)
	tests := []struct{ name, in, verdicts string }{
		{"of a container", host("s", 2) + idle("s", 1) + notANumber + end("s", 3) + whole("s2", 1), "keep kill"},
		{"of one that is cut off", host("s", 2) + idle("s", 1) + idle("s", 2)[:80] + "\n" + end("s", 3) + whole("s2", 1), "keep kill"},
		{"of one, announced as what came", host("s", 1) + idle("s", 1) + notANumber + end("s", 3), "keep"},
		{"of a process", host("s", 1) + idle("s", 1) + process("s", 1)[:30] + "\n" + end("s", 3), "keep"},
		{"of an end", host("s", 1) + idle("s", 1) + end("s", `"2"`) + host("s2", 1) + idle("s2", 1), "keep kill"},
		{"of a last end that is cut off", host("s", 1) + idle("s", 1) + end("s", 2)[:40], "keep"},
		{"of a host", whole("s", 1) + host("s2", `"1"`) + idle("s2", 1) + end("s2", 2), "kill keep"},
		{"of no snapshot", "{\n" + whole("s", 1) + "{\n" + whole("s2", 1), "kill kill"},
		{"of nothing, but the end counts", host("s", 2) + idle("s", 1) + "{\n" + idle("s", 2) + end("s", 3), "kill kill"},
		{"of what, where there are no ends", host("s", 2) + idle("s", 1) + "{\n" + idle("s", 2) + host("s2", 1) + idle("s2", 1), "keep keep kill"},
		{"before it, where there are no ends", "{\n" + host("s", 1) + idle("s", 1), "kill"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(test.in), "--keep-low", "0")
			if err == nil || !strings.Contains(stderr, "classify: line ") {
				t.Errorf("ended with %v, said %q", err, stderr)
			}
			var got []string
			for _, c := range containers(t, stdout) {
				got = append(got, c.Verdict)
			}
			if strings.Join(got, " ") != test.verdicts {
				t.Errorf("got %s, want %s", got, test.verdicts)
			}
		})
	}
}

// What is held of a snapshot is bounded, whatever it consists of, and one that
// is not bounded is not judged.
func TestHeldIsBounded(t *testing.T) {
	notes := strings.Repeat(`{"type":"weather"}`+"\n", 100)
	for name, large := range map[string]string{
		"other lines":    host("s", 2) + notes + idle("s", 1) + notes + idle("s", 2) + end("s", 3),
		"processes":      host("s", 2) + idle("s", 1) + strings.Repeat(process("s", 1), 100) + idle("s", 2) + end("s", 103),
		"containers":     host("s", 100) + idles("s", 1, 100) + end("s", 101),
		"long lines":     host("s", 2) + idle("s", 1) + strings.Repeat(`{"x":"`+strings.Repeat("x", 1500)+"\"}\n", 3) + idle("s", 2) + end("s", 3),
		"after the last": host("s", 2) + idles("s", 1, 2) + notes + end("s", 3),
		"no end lines":   host("s", 2) + idles("s", 1, 2) + notes,
	} {
		t.Run(name, func(t *testing.T) {
			var out, said strings.Builder
			w := bufio.NewWriter(&out)
			p := defaultPolicy()
			p.keepLow = 0
			a := newAssembler(p, w, func(err error) { fmt.Fprintln(&said, err) })
			a.maxHeld = 4 << 10
			for line, err := range record.Lines(strings.NewReader(large + whole("s2", 1))) {
				if err != nil {
					t.Fatal(err)
				}
				a.add(line)
				held := 0
				for i := range a.held {
					held += len(a.held[i].line.Text())
				}
				if held > a.maxHeld {
					t.Fatalf("holds %d bytes", held)
				}
			}
			w.Flush()
			all := containers(t, out.String())
			for i, c := range all {
				if last := i == len(all)-1; (c.Verdict == record.VerdictKill) != last {
					t.Errorf("container %d: %s, %s", i, c.Verdict, c.Reason)
				} else if !last && !strings.Contains(c.Reason, "a snapshot too large to judge") {
					t.Errorf("container %d: %s", i, c.Reason)
				}
			}
			if want := `snapshot "s" on "h" takes more than 0 MiB`; strings.Count(said.String(), want) != 1 {
				t.Errorf("said %q, want %q once", said.String(), want)
			}
		})
	}
}

// What was read before the input fails is passed on, and judged if its end is
// there.
func TestInputFails(t *testing.T) {
	for name, test := range map[string]struct{ in, verdicts string }{
		"with end lines":    {whole("s", 1) + host("t", 1) + idle("t", 1), "kill keep"},
		"without end lines": {host("s", 1) + idle("s", 1) + host("t", 1) + idle("t", 1), "kill keep"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := io.MultiReader(strings.NewReader(test.in), iotest.ErrReader(io.ErrClosedPipe))
			stdout, _, err := filtertest.Run(t, run, broken, "--keep-low", "0")
			if !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("ended with %v", err)
			}
			var got []string
			for _, c := range containers(t, stdout) {
				got = append(got, c.Verdict)
			}
			if strings.Join(got, " ") != test.verdicts {
				t.Errorf("got %s, want %s: %s", got, test.verdicts, stdout)
			}
		})
	}
}

// A snapshot is answered at its end, not with the next one, and at once where
// nothing is to be waited for.
func TestAnswersAtOnce(t *testing.T) {
	answer := func(in string) string {
		stdout, _, _ := filtertest.Run(t, run, strings.NewReader(in))
		return stdout
	}
	note := `{"type":"note"}` + "\n"
	first := host("s1", 2) + process("s1", 1)
	rest := idles("s1", 1, 2) + process("s1", 2) + end("s1", 5)
	short := host("s3", 2) + idle("s3", 1)
	filtertest.AnswersAtOnce(t, run, []filtertest.Exchange{
		{In: note, Out: note},
		{In: first, Out: first},
		{In: rest, Out: strings.TrimPrefix(answer(first+rest), first)},
		{In: whole("s2", 2), Out: answer(whole("s2", 2))},
		{In: short, Out: host("s3", 2)},
		{In: host("s4", 1), Out: strings.TrimPrefix(answer(short), host("s3", 2)) + host("s4", 1)},
		{In: idle("s5", 1), Out: answer(idle("s5", 1))},
		{In: end("s5", 1), Out: end("s5", 1)},
	})
}
