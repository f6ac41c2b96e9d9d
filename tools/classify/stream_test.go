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
	return fmt.Sprintf(`{"type":"host","host":"h","snapshot":%q,"containers":%v,"total_memory_kb":1000000}`+"\n", snapshot, containers)
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
	var stdout, stderr strings.Builder
	if err := run(t.Context(), args, strings.NewReader(in), &stdout, &stderr); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if got, want := strings.Count(stdout.String(), "\n"), strings.Count(in, "\n"); got != want {
		t.Errorf("%d lines out of %d", got, want)
	}
	return containers(t, stdout.String())
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

func TestWhoTakesPart(t *testing.T) {
	tests := []struct {
		name, more, why string
		args            []string
	}{
		{"protected", `"labels":{"winnow.managed":"true","winnow.protect":"true"}`, "protected by its label winnow.protect=true", nil},
		{"protected, with --all", `"labels":{"winnow.protect":"true"}`, "protected", []string{"--all"}},
		{"no such label", `"labels":{}`, "not labelled winnow.managed=true", nil},
		{"another value", `"labels":{"winnow.managed":"True"}`, "not labelled winnow.managed=true", nil},
		{"not named", `"image":"x"`, "its labels are not known", nil},
		{"not named, with --all", `"image":"x"`, "its labels are not known", []string{"--all"}},
		{"null labels, with --all", `"labels":null`, "its labels are not known", []string{"--all"}},
		{"age unknown", managed, "its time of creation is not known", []string{"--victims", "newest"}},
		{"age is no time", managed + `,"created":"long ago"`, "its time of creation is not known", []string{"--victims", "oldest"}},
		{"managed", managed, "", nil},
		{"no label, with --all", `"labels":{}`, "", []string{"--all"}},
		{"protect is not true", `"labels":{"winnow.managed":"true","winnow.protect":"false"}`, "", nil},
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

// The nearer of two limits counts: 20 % of a core weighs less than 80 kB of 100.
func TestLoadWeighsBoth(t *testing.T) {
	in := host("s", 2) + sampled("s", 1, 20, 0, managed) + sampled("s", 2, 0, 80000, managed)
	got := judge(t, in, "--keep-low", "1")
	if got[0].Verdict != record.VerdictKeep || got[1].Verdict != record.VerdictKill {
		t.Errorf("got %s, %s", got[0].Reason, got[1].Reason)
	}
}

func TestUnfinishedSnapshots(t *testing.T) {
	idles := func(snapshot string, from, to int) (lines string) {
		for id := from; id <= to; id++ {
			lines += idle(snapshot, id)
		}
		return lines
	}
	elsewhere := strings.Replace(idle("s", 9), `"host":"h"`, `"host":"other"`, 1)
	tests := []struct {
		name, in, why string
		kills         int
	}{
		{"whole", host("s", 5) + idles("s", 1, 5), "", 5},
		{"two whole ones", host("s", 2) + idles("s", 1, 2) + host("s2", 1) + idles("s2", 1, 1), "", 3},
		{"end of input", host("s", 5) + idles("s", 1, 3), "kept, part of an unfinished snapshot, 3 of 5 containers", 0},
		{"next host line", host("s", 5) + idles("s", 1, 3) + host("s2", 1) + idles("s2", 1, 1), "3 of 5 containers", 1},
		{"another snapshot", host("s", 3) + idles("s", 1, 2) + idle("s2", 9) + idle("s", 3), "without a host line", 0},
		{"another host", host("s", 3) + idles("s", 1, 2) + elsewhere + idle("s", 3), "without a host line", 0},
		{"no host line", idles("s", 1, 5), "a snapshot without a host line", 0},
		{"host line too late", idles("s", 1, 2) + host("s", 2) + idles("s", 3, 4), "more than one beginning", 0},
		{"two host lines", host("s", 5) + idles("s", 1, 2) + host("s", 2) + idles("s", 3, 4), "more than one beginning", 0},
		{"twice the same", host("s", 2) + idles("s", 1, 2) + host("s", 2) + idles("s", 1, 2), "more than one beginning", 2},
		{"a container twice", host("s", 3) + idles("s", 1, 2) + idles("s", 2, 3), "has a container twice", 0},
		{"more than announced", host("s", 2) + idles("s", 1, 4), "announced with 2 containers and has more", 2},
		{"none announced", host("s", 0) + idles("s", 1, 2), "announced with 0 containers", 0},
		{"null announced", host("s", "null") + idles("s", 1, 2), "does not say how many", 0},
		{"a fraction announced", host("s", 1.5) + idles("s", 1, 2), "does not say how many", 0},
		{"too many announced", host("s", 1e300) + idles("s", 1, 2), "does not say how many", 0},
		{"nothing announced", `{"type":"host","host":"h","snapshot":"s"}` + "\n" + idles("s", 1, 2), "does not say how many", 0},
		{"no name", host("", 2) + idles("", 1, 2), "a snapshot without a name", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			kills, reasons := 0, ""
			for _, c := range judge(t, test.in, "--keep-low", "0") {
				reasons += c.Reason + "\n"
				if c.Verdict == record.VerdictKill {
					kills++
				} else if c.Rank != 0 {
					t.Errorf("rank %d of nothing", c.Rank)
				}
			}
			if kills != test.kills || !strings.Contains(reasons, test.why) {
				t.Errorf("%d kills, want %d:\n%s", kills, test.kills, reasons)
			}
		})
	}
}

// A bad line in a snapshot leaves it short.
func TestBadLineSparesItsSnapshot(t *testing.T) {
	for _, bad := range []string{"{\n", strings.Replace(idle("s", 2), "1000", `"x"`, 1), idle("s", 2)[:80] + "\n"} {
		in := host("s", 3) + idle("s", 1) + bad + idle("s", 3) + host("s2", 1) + idle("s2", 4)
		var stdout, stderr strings.Builder
		if run(t.Context(), []string{"--keep-low", "0"}, strings.NewReader(in), &stdout, &stderr) == nil {
			t.Error("did not fail")
		}
		var got []string
		for _, c := range containers(t, stdout.String()) {
			got = append(got, c.Verdict)
		}
		if strings.Join(got, " ") != "keep keep kill" {
			t.Errorf("got %s", stdout.String())
		}
	}
}

func TestHeldIsBounded(t *testing.T) {
	var out, said strings.Builder
	w := bufio.NewWriter(&out)
	p := defaultPolicy()
	p.keepLow = 0
	s := newStream(p, w, func(err error) { fmt.Fprintln(&said, err) })
	s.maxHeld = 4 << 10
	for line, err := range record.Lines(strings.NewReader(host("s", 10) + strings.Repeat(`{"type":"weather"}`+"\n", 100) +
		idle("s", 1) + strings.Repeat(`{"type":"weather"}`+"\n", 100) + idle("s", 2) + host("s2", 1) + idle("s2", 3))) {
		if err != nil {
			t.Fatal(err)
		}
		it := readItem(line, false)
		s.take(&it)
		if s.size > s.maxHeld {
			t.Fatalf("holds %d bytes", s.size)
		}
	}
	w.Flush()
	got := containers(t, out.String())
	if len(got) != 3 || got[0].Verdict != "keep" || got[1].Verdict != "keep" || got[2].Verdict != "kill" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(said.String(), `snapshot "s" on "h" takes more than 0 MiB`) {
		t.Errorf("said %q", said.String())
	}
}

// What was read before the input fails is judged and passed on.
func TestInputFails(t *testing.T) {
	broken := io.MultiReader(strings.NewReader(host("s", 1)+idle("s", 1)+host("t", 2)+idle("t", 1)), iotest.ErrReader(io.ErrClosedPipe))
	var stdout strings.Builder
	err := run(t.Context(), []string{"--keep-low", "0"}, broken, &stdout, io.Discard)
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("ended with %v", err)
	}
	got := containers(t, stdout.String())
	if len(got) != 2 || got[0].Verdict != record.VerdictKill || got[1].Verdict != record.VerdictKeep {
		t.Errorf("got %s", stdout.String())
	}
}

// A snapshot is answered as soon as it is whole, not with the next one.
func TestAnswersAtOnce(t *testing.T) {
	stdin, feed := io.Pipe()
	answer, stdout := io.Pipe()
	done := make(chan error)
	go func() { done <- run(t.Context(), nil, stdin, stdout, io.Discard) }()
	lines := bufio.NewReader(answer)
	for _, snapshot := range []string{"s1", "s2"} {
		go io.WriteString(feed, host(snapshot, 2)+idle(snapshot, 1)+idle(snapshot, 2))
		for _, want := range []string{"host", "container", "container"} {
			text, err := lines.ReadString('\n')
			if err != nil || !strings.Contains(text, want) {
				t.Fatalf("got %q, %v", text, err)
			}
		}
	}
	feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
