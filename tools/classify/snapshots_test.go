package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

func TestBadLines(t *testing.T) { filtertest.BadLines(t, run) }

func TestGoodLines(t *testing.T) { filtertest.GoodLines(t, run) }

// A snapshot is judged at its end line, if that tells of as many lines as came.
func TestEndLines(t *testing.T) {
	elsewhere := func(line string) string { return strings.Replace(line, `"host":"h"`, `"host":"other"`, 1) }
	tests := []verdictTest{
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
		test.run(t)
	}
}

// Where a stream has no end lines, as those of older versions, the next host
// line ends a snapshot, or the end of the input.
func TestWithoutEndLines(t *testing.T) {
	elsewhere := strings.Replace(idle("s", 9), `"host":"h"`, `"host":"other"`, 1)
	tests := []verdictTest{
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
		test.run(t)
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
			if got := verdictsOf(t, stdout); got != test.verdicts {
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
			f := flags{highCPU: 50, highMemory: policy.Amount{Percent: 10}, victims: "heaviest"}
			d := decider{flags: &f, memories: new(policy.Memories)}
			d.use(f.policy())
			a := newAssembler(&d, w, func(err error) { fmt.Fprintln(&said, err) })
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
			if got := verdictsOf(t, stdout); got != test.verdicts {
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
