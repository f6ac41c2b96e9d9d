package policy

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
)

// step is a snapshot of a scenario, and what is to come of it.
type step struct {
	at         float64 // seconds since the first
	containers []*Container
	change     func(*Snapshot)
	want       string
}

func play(t *testing.T, p *Policy, steps []step) {
	t.Helper()
	memory := new(Memory)
	for i, one := range steps {
		s := snap(one.at, one.containers...)
		if one.change != nil {
			one.change(s)
		}
		verdicts, events := p.Judge(s, memory)
		got := words(s, verdicts, events)
		for k, v := range verdicts {
			t.Logf("%v s, %s: %s", one.at, s.Containers[k].Name, v.Reason)
		}
		if got != one.want {
			t.Errorf("step %d at %v s:\ngot  %s\nwant %s", i, one.at, got, one.want)
		}
	}
}

// newcomer has no rate yet.
func newcomer(name string, mib float64) *Container {
	c := box(name, math.NaN(), mib)
	c.SpanMS = math.NaN()
	return c
}

func one(cpu float64) []*Container { return []*Container{box("a", cpu, 10)} }

const hot = "[[rule]]\nname = \"hot\"\ncpu = \"> 90%\"\n"

func TestRules(t *testing.T) {
	hours := func(day, hour int) func(*Snapshot) {
		return func(s *Snapshot) { s.Time = time.Date(2026, 11, day, hour, 30, 0, 0, time.UTC) }
	}
	for _, test := range []struct {
		name, rules string
		steps       []step
	}{
		{"the seed", "[[rule]]\nclass=\"low\"\nkeep=3\n[[rule]]\nclass=\"high\"\nkeep=2", []step{
			{0, []*Container{box("a", 1, 10), box("b", 2, 10), box("c", 3, 10), box("d", 4, 10), box("e", 60, 10), box("f", 70, 10), box("g", 1, 200)}, nil,
				"a keep, b keep, c keep, d kill, e keep, f keep, g kill"}}},
		{"for", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {20, one(95), nil, "a kill"}, {30, one(90), nil, "a keep"}, {40, one(91), nil, "a keep"}}},
		{"for is between samples in both of which it holds", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(50), nil, "a keep"}, {20, one(95), nil, "a keep"}, {30, one(95), nil, "a keep"}, {40, one(95), nil, "a kill"}}},
		{"a pause is not seen", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {50, one(95), nil, "a keep"}, {60, one(95), nil, "a kill"}}},
		{"what alarms add makes no beat shorter", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {10.5, one(95), alarm, "a keep"}, {11, one(95), alarm, "a keep"},
			{20, one(95), nil, "a kill"}}},
		{"a pause after an alarm is not seen", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {11, one(95), alarm, "a keep"}, {40, one(95), nil, "a keep"},
			{50, one(95), nil, "a kill"}}},
		{"a long pause is not seen", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {3600, one(95), nil, "a keep"}, {3610, one(95), nil, "a keep"}, {3620, one(95), nil, "a kill"}}},
		{"forgive", hot + "for=\"20s\"\nforgive=\"10s\"", []step{
			{0, one(95), nil, "a keep"}, {10, one(50), nil, "a keep"}, {20, one(95), nil, "a keep"}, {30, one(95), nil, "a keep"}, {40, one(95), nil, "a kill"}}},
		{"forgive has an end", hot + "for=\"20s\"\nforgive=\"10s\"", []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {20, one(50), nil, "a keep"}, {30, one(50), nil, "a keep"}, {40, one(95), nil, "a keep"},
			{50, one(95), nil, "a keep"}, {60, one(95), nil, "a kill"}}},
		{"notice", hot + `notice="20s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(95), nil, "a warn"}, {20, one(95), nil, "a kill"}}},
		{"notice between samples", hot + `notice="25s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(95), nil, "a warn"}, {20, one(95), nil, "a warn"}, {30, one(95), nil, "a kill"}}},
		{"notice withdrawn", hot + `notice="20s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(50), nil, "a keep, a withdrawn"}, {20, one(95), nil, "a warn"}, {30, one(95), nil, "a warn"}, {40, one(95), nil, "a kill"}}},
		{"notice forgiven", hot + "notice=\"20s\"\nforgive=\"10s\"", []step{
			{0, one(95), nil, "a warn"}, {10, one(50), nil, "a keep"}, {20, one(95), nil, "a kill"}}},
		{"notice over while it fails", hot + "notice=\"20s\"\nforgive=\"30s\"", []step{
			{0, one(95), nil, "a warn"}, {10, one(95), nil, "a warn"}, {20, one(50), nil, "a keep"}, {30, one(95), nil, "a kill"}}},
		{"for and notice", hot + "for=\"10s\"\nnotice=\"10s\"", []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a warn"}, {20, one(95), nil, "a kill"}}},
		{"a newcomer does not take a place", hot + "notice=\"20s\"\nkeep=1", []step{
			{0, []*Container{box("a", 95, 10), box("b", 91, 10)}, nil, "a warn, b keep"},
			{10, []*Container{box("a", 95, 10), box("b", 91, 10), box("c", 99, 10)}, nil, "a warn, b keep, c warn"},
			{20, []*Container{box("a", 95, 10), box("c", 99, 10)}, nil, "a kill, c keep, c withdrawn"},
			{30, []*Container{box("c", 99, 10)}, nil, "c keep"}}},
		{"the floor ends a notice", hot + "notice=\"20s\"\nkeep=1", []step{
			{0, []*Container{box("a", 95, 10), box("b", 91, 10)}, nil, "a warn, b keep"},
			{10, []*Container{box("a", 95, 10)}, nil, "a keep, a withdrawn"}}},
		{"whom one condemns is gone for the next", hot + "[[rule]]\nkeep=1", []step{
			{0, []*Container{box("a", 95, 10), box("b", 10, 10)}, nil, "a kill, b keep"}}},
		{"dry is gone for the dry alone", hot + "mode=\"dry\"\n[[rule]]\nkeep=1\n[[rule]]\nmode=\"dry\"\nkeep=0", []step{
			{0, []*Container{box("a", 95, 10), box("b", 10, 10)}, nil, "a kill, b would kill"}}},
		{"per", "[[rule]]\nper=\"label=owner\"\nkeep=1\norder=\"newest\"", []step{
			{0, []*Container{box("a", 9, 1, "owner", "x"), box("b", 9, 1, "owner", "x"), box("c", 9, 1, "owner", "y"), box("d", 9, 1), box("e", 9, 1)},
				func(s *Snapshot) { s.Containers[0].Created = began; s.Containers[3].Created = began }, "a kill, b keep, c keep, d kill, e keep"}}},
		{"memory budget", "[[rule]]\nkeep_memory=\"50%\"\norder=\"memory\"", []step{
			{0, []*Container{box("a", 9, 300), box("b", 9, 150), box("c", 9, 350)}, nil, "a keep, b keep, c kill"}}},
		{"cpu budget", "[[rule]]\nkeep_cpu=\"150%\"\norder=\"cpu\"", []step{
			{0, []*Container{box("a", 100, 3), box("b", 50, 1), box("c", 200, 1)}, nil, "a keep, b keep, c kill"}}},
		{"a budget and a floor", "[[rule]]\nkeep_memory=\"30%\"\nkeep=2\norder=\"memory\"", []step{
			{0, []*Container{box("a", 9, 300), box("b", 9, 150), box("c", 9, 350)}, nil, "a keep, b keep, c kill"}}},
		{"two budgets", "[[rule]]\nkeep_memory=\"90%\"\nkeep_cpu=\"50%\"\norder=\"memory\"", []step{
			{0, []*Container{box("a", 9, 300), box("b", 40, 150), box("c", 9, 350)}, nil, "a keep, b keep, c kill"}}},
		{"protect", "[[protect]]\nmatch=[\"image=img\"]\n[[rule]]", []step{{0, one(95), nil, "a keep"}}},
		{"match not", "[[rule]]\nmatch=[\"!name=a*\"]", []step{{0, []*Container{box("a1", 9, 9), box("b", 9, 9)}, nil, "a1 keep, b kill"}}},
		{"of the limit", "[[rule]]\nmemory=\"> 90% of limit\"", []step{
			{0, []*Container{box("a", 9, 95), box("b", 9, 95), box("c", 9, 95)}, func(s *Snapshot) {
				s.Containers[0].MemoryLimitKB, s.Containers[1].MemoryLimitKB = 100<<10, 200<<10
			}, "a kill, b keep, c keep"}}},
		{"the host's memory, one in five seconds", "[[rule]]\nhost_available=\"< 8%\"\norder=\"memory\"\nmost=\"1/5s\"", []step{
			{0, []*Container{box("a", 9, 300), box("b", 9, 150)}, nil, "a keep, b keep"},
			{1, []*Container{box("a", 9, 300), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b keep, 1 limited"},
			{2, []*Container{box("a", 9, 300), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b keep"},
			{6, []*Container{box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "b kill"}}},
		{"the host's memory, and the one that took it ends late", "[[rule]]\nhost_available=\"< 8%\"\norder=\"memory\"\nmost=\"1/5s\"", []step{
			{0, []*Container{box("a", 9, 300), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b keep, 1 limited"},
			{10, []*Container{box("a", 9, 400), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b keep"},
			{20, []*Container{box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 100 << 10 }, "b keep"},
			{29, []*Container{box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "b kill"}}},
		{"the host's memory, and the one that took it does not end", "[[rule]]\nhost_available=\"< 8%\"\norder=\"memory\"\nmost=\"1/5s\"", []step{
			{0, []*Container{box("a", 9, 300), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b keep, 1 limited"},
			{29, []*Container{box("a", 9, 300), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b keep"},
			{30, []*Container{box("a", 9, 300), box("b", 9, 150)}, func(s *Snapshot) { s.AvailableKB = 70 << 10 }, "a kill, b kill"}}},
		{"a cause", "[[rule]]\ncause=\"available\"", []step{
			{0, one(9), func(s *Snapshot) { s.Cause = "clock" }, "a keep"}, {1, one(9), nil, "a keep"},
			{2, one(9), func(s *Snapshot) { s.Cause = "available" }, "a kill"}}},
		{"the host's stalls", "[[rule]]\nhost_memory_stall=\"> 10%\"\nhost_cpu_stall=\"> 20%\"\nhost_io_stall=\"> 30%\"", []step{
			{0, one(9), func(s *Snapshot) { s.MemoryStall, s.CPUStall, s.IOStall = 10.1, 20.1, 30 }, "a keep"},
			{1, one(9), func(s *Snapshot) { s.MemoryStall, s.CPUStall, s.IOStall = 10.1, 20, 30.1 }, "a keep"},
			{2, one(9), func(s *Snapshot) { s.MemoryStall, s.CPUStall, s.IOStall = math.NaN(), 20.1, 30.1 }, "a keep"},
			{3, one(9), func(s *Snapshot) { s.MemoryStall, s.CPUStall, s.IOStall = 10.1, 20.1, 30.1 }, "a kill"}}},
		{"a newcomer goes for what it uses", "[[rule]]\nhost_available=\"< 60%\"\norder=\"memory\"\nmost=\"1/5s\"", []step{
			{0, []*Container{box("a", 9, 300), newcomer("b", 400)}, nil, "a keep, b kill, 1 limited"},
			{9, []*Container{box("a", 9, 300), newcomer("c", 200)}, nil, "a kill, c keep, 1 limited"}}},
		{"a newcomer whose memory is not known", "[[rule]]\norder=\"memory\"", []step{{0, []*Container{newcomer("a", math.NaN())}, nil, "a keep"}}},
		{"its share of the memory is not known", "[[rule]]\nmemory=\"> 1MB\"\norder=\"memory\"", []step{
			{0, one(9), func(s *Snapshot) { s.TotalKB = math.NaN() }, "a keep"}}},
		{"a newcomer, and a class", "[[rule]]\nclass=\"high\"\norder=\"memory\"", []step{{0, []*Container{newcomer("a", 400)}, nil, "a keep"}}},
		{"a newcomer, and a condition on cpu", "[[rule]]\ncpu=\"< 90%\"\norder=\"memory\"", []step{{0, []*Container{newcomer("a", 400)}, nil, "a keep"}}},
		{"a newcomer, and a budget of cpu", "[[rule]]\nkeep_cpu=\"1%\"\norder=\"memory\"", []step{
			{0, []*Container{box("a", 9, 400), newcomer("b", 400)}, nil, "a kill, b keep"}}},
		{"a newcomer, and the heaviest", "[[rule]]", []step{{0, []*Container{newcomer("a", 400)}, nil, "a keep"}}},
		{"most over all", "[limits]\nmost=\"1/1m\"\n[[rule]]", []step{
			{0, []*Container{box("a", 9, 9), box("b", 9, 8)}, nil, "a keep, b kill,  limited"},
			{30, []*Container{box("a", 9, 8)}, nil, "a keep"}, {60, []*Container{box("a", 9, 8)}, nil, "a kill"}}},
		{"ttl", hot, []step{
			{0, []*Container{box("a", 9, 9, "winnow.ttl", "61m"), box("b", 9, 9), box("c", 9, 9, "winnow.ttl", "60m")}, nil, "a keep, b keep, c keep"},
			{60, []*Container{box("a", 9, 9, "winnow.ttl", "61m")}, nil, "a keep"}, {61, []*Container{box("a", 9, 9, "winnow.ttl", "61m")}, nil, "a kill"}}},
		{"a label that cannot be read", "[[rule]]", []step{
			{0, []*Container{box("a", 9, 9, "winnow.ttl", "x")}, nil, "a keep, a unread"}, {1, []*Container{box("a", 9, 9, "winnow.ttl", "x")}, nil, "a keep"}}},
		{"hours", "[[rule]]\nhours=\"Fri 20:00-06:00 Europe/Madrid\"", []step{
			{0, one(9), hours(27, 18), "a keep"}, {0, one(9), hours(27, 19), "a kill"}, {0, one(9), hours(28, 4), "a kill"},
			{0, one(9), hours(28, 5), "a keep"}, {0, one(9), hours(28, 20), "a keep"}}},
		{"another boot", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {20, one(95), func(s *Snapshot) { s.Boot = "other" }, "a keep"}}},
		{"another process", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {20, one(95), func(s *Snapshot) { s.Containers[0].PID++ }, "a keep"}}},
		{"its cpu time fell", hot + `for="20s"`, []step{
			{0, one(95), nil, "a keep"}, {10, one(95), nil, "a keep"}, {20, one(95), func(s *Snapshot) { s.Containers[0].CPUNS = 5 }, "a keep"}}},
		{"another boot ends a notice", hot + `notice="20s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(95), func(s *Snapshot) { s.Boot = "other" }, "a warn, a withdrawn"},
			{20, one(95), func(s *Snapshot) { s.Boot = "other" }, "a warn"}, {30, one(95), func(s *Snapshot) { s.Boot = "other" }, "a kill"}}},
		{"another process ends a notice", hot + `notice="20s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(5), func(s *Snapshot) { s.Containers[0].PID++ }, "a keep, a withdrawn"}}},
		{"the clock is set back", hot + `notice="20s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(95), func(s *Snapshot) { s.Time = s.Time.Add(-time.Hour) }, "a warn"},
			{20, one(95), func(s *Snapshot) { s.Time = s.Time.Add(-time.Hour) }, "a warn"}, {30, one(95), nil, "a kill"}}},
		{"the clock is set forward", hot + `notice="20s"`, []step{
			{0, one(95), nil, "a warn"}, {10, one(95), func(s *Snapshot) { s.Time = s.Time.Add(time.Hour) }, "a warn"}, {20, one(95), nil, "a kill"}}},
		{"without at_ns", hot + `for="20s"`, []step{
			{0, one(95), noClock, "a keep"}, {10, one(95), noClock, "a keep"}, {20, one(95), noClock, "a kill"}}},
		{"dry", hot + "mode=\"dry\"\nnotice=\"10s\"", []step{{0, one(95), nil, "a would warn"}, {10, one(95), nil, "a would kill"}, {20, one(5), nil, "a keep, a withdrawn"}}},
	} {
		t.Run(test.name, func(t *testing.T) { play(t, rules(t, test.rules), test.steps) })
	}
}

func alarm(s *Snapshot) { s.Cause = record.CauseAvailable }

func noClock(s *Snapshot) {
	for _, c := range s.Containers {
		c.AtNS = 0
	}
}

// A rule that changed forgets its own memory alone, and takes back its notices.
func TestChangedRule(t *testing.T) {
	before := rules(t, hot+"notice=\"20s\"\n[[rule]]\nname=\"other\"\nmatch=[\"name=b\"]\nnotice=\"20s\"")
	after := rules(t, "[[rule]]\nname=\"hot\"\ncpu=\"> 80%\"\nnotice=\"20s\"\n[[rule]]\nname=\"other\"\nmatch=[\"name=b\"]\nnotice=\"20s\"")
	m := new(Memory)
	boxes := func() []*Container { return []*Container{box("a", 95, 1), box("b", 9, 1)} }
	for _, one := range []struct {
		p    *Policy
		at   float64
		want string
	}{
		{before, 0, "a warn, b warn"}, {before, 10, "a warn, b warn"}, {after, 20, "a warn, b kill, a withdrawn"}, {after, 30, "a warn, b kill"}, {after, 40, "a kill, b kill"},
	} {
		s := snap(one.at, boxes()...)
		v, e := one.p.Judge(s, m)
		if got := words(s, v, e); got != one.want {
			t.Errorf("at %v: got %s, want %s", one.at, got, one.want)
		}
	}
}

// What was condemned in a replay counts as gone until it ended, for the rules in dry
// mode what one of these condemned, too.
func TestReplay(t *testing.T) {
	for mode, kill := range map[string]string{ModeEnforce: "kill", ModeDry: "would kill"} {
		p := rules(t, "[[rule]]\nkeep=1\nmode=\""+mode+"\"")
		m := &Memory{Replay: true}
		for i, one := range []struct{ names, want string }{
			{"a b", "a keep, b KILL"}, {"a b", "a keep, b keep"}, {"a b c", "a keep, b keep, c KILL"}, {"a", "a keep"}, {"a b", "a keep, b KILL"},
		} {
			var boxes []*Container
			for n, name := range strings.Fields(one.names) {
				boxes = append(boxes, box(name, float64(n), 1))
			}
			s := snap(float64(i), boxes...)
			v, e := p.Judge(s, m)
			if got, want := words(s, v, e), strings.ReplaceAll(one.want, "KILL", kill); got != want {
				t.Errorf("%s %d: got %s, want %s", mode, i, got, want)
			}
		}
	}
	// What is gone for the dry alone is there for the others.
	p := rules(t, "[[rule]]\nmode=\"dry\"\n[[rule]]\ncpu=\"> 50%\"")
	m := &Memory{Replay: true}
	for i, want := range []string{"a would kill", "a kill", "a keep"} {
		s := snap(float64(i), box("a", []float64{10, 60, 60}[i], 1))
		v, e := p.Judge(s, m)
		if got := words(s, v, e); got != want {
			t.Errorf("%d: got %s, want %s", i, got, want)
		}
	}
}

// A memory that was written and read again is the same, and one that was cut short
// is known to be.
func TestMemoryFile(t *testing.T) {
	p := rules(t, hot+"for=\"20s\"\nnotice=\"20s\"\nmost=\"1/1h\"\nforgive=\"5s\"")
	var whole Memories
	for at := range 5 {
		p.Judge(snap(float64(10*at), box("a", 95, 1), box("b", 99, 1)), whole.Of("h"))
	}
	text, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.Encode(); err != nil || !bytes.Equal(text, second) {
		t.Errorf("%v: got\n%s\nwant\n%s", err, second, text)
	}
	for n := range text {
		if _, err := Decode(text[:n]); err != ErrDamaged {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	newer := strings.Replace(string(text), `"version":1`, `"version":2`, 1)
	if _, err := Decode([]byte(newer)); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer: %v", err)
	}
	if got := fmt.Sprint(len(whole.Of("h").lives)); got != "2" {
		t.Errorf("%s lives", got)
	}
}
