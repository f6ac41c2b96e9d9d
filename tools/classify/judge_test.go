package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"winnow/tools/internal/record"
)

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
