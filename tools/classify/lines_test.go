package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

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
	Type, Name, Class, Verdict, Reason string
	Rank                               int
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

// verdictsOf gives those on the container lines of a stream.
func verdictsOf(t testing.TB, stream string) string {
	t.Helper()
	var all []string
	for _, c := range containers(t, stream) {
		all = append(all, c.Verdict)
	}
	return strings.Join(all, " ")
}

// verdictTest is a stream, the verdicts where none is kept for its rank, and what
// their reasons say.
type verdictTest struct{ name, in, verdicts, why string }

func (test *verdictTest) run(t *testing.T) {
	t.Run(test.name, func(t *testing.T) {
		got, reasons := verdicts(t, test.in)
		if got != test.verdicts || !strings.Contains(reasons, test.why) {
			t.Errorf("got %s, want %s:\n%s", got, test.verdicts, reasons)
		}
	})
}
