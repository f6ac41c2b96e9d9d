package policy

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
)

// randomPolicy is a policy of up to four rules. With floors it has keep.
func randomPolicy(t *testing.T, r *rand.Rand, floors bool) *Policy {
	var b strings.Builder
	if r.IntN(3) == 0 {
		fmt.Fprintf(&b, "[limits]\nmost = \"%d/%ds\"\n", 1+r.IntN(3), 5+r.IntN(60))
	}
	if r.IntN(3) == 0 {
		b.WriteString("[[protect]]\nmatch = [\"image=img2\"]\n")
	}
	for n := range 1 + r.IntN(4) {
		fmt.Fprintf(&b, "[[rule]]\nname = \"r%d\"\n", n)
		maybe := func(chance int, text string, with ...any) bool {
			if r.IntN(chance) != 0 {
				return false
			}
			fmt.Fprintf(&b, text+"\n", with...)
			return true
		}
		maybe(4, `mode = "dry"`)
		maybe(3, `match = ["image=img%d"]`, r.IntN(2))
		maybe(2, `cpu = "> %d%%"`, r.IntN(60))
		maybe(4, `memory = "> %d%%"`, r.IntN(60))
		maybe(4, `host_available = "< 50%%"`)
		patient := maybe(2, `for = "%ds"`, 1+r.IntN(40))
		patient = maybe(2, `notice = "%ds"`, 1+r.IntN(40)) || patient
		if patient {
			maybe(2, `forgive = "%ds"`, r.IntN(25))
		}
		if floors && maybe(2, `keep = %d`, r.IntN(4)) {
			maybe(2, `per = "label=owner"`)
		}
		maybe(2, `order = "%s"`, orders[r.IntN(len(orders))])
		maybe(3, `most = "%d/%ds"`, 1+r.IntN(2), 5+r.IntN(60))
	}
	return rules(t, b.String())
}

// randomStream is snapshots of containers that come, go, start anew, and are of
// every kind that takes no part; of a host that sleeps, boots and has its clock set.
func randomStream(r *rand.Rand, length int, clockSet bool) []*Snapshot {
	alive, pids := map[string]bool{}, map[string]int{}
	var stream []*Snapshot
	second, shift, boot := 0.0, time.Duration(0), "b0"
	for range length {
		second += []float64{1, 5, 10, 10, 10, 10, 11, 25, 500}[r.IntN(9)]
		switch n := r.IntN(60); {
		case n == 0 && clockSet:
			shift = time.Duration(r.IntN(7200)-3600) * time.Second
		case n == 1:
			boot = fmt.Sprint("b", second)
		}
		var boxes []*Container
		for n := range 8 {
			name := fmt.Sprint("c", n)
			if r.IntN(15) == 0 {
				alive[name] = !alive[name]
				pids[name]++
			}
			if !alive[name] {
				continue
			}
			c := box(name, float64(r.IntN(100)), float64(r.IntN(600)), "owner", fmt.Sprint(n%3))
			c.Image, c.PID = fmt.Sprint("img", n%3), 100+pids[name]
			switch n {
			case 4:
				c.Consent = record.Consent{}
			case 5:
				c.Consent.Label("winnow.protect", []string{"true", "yes"}[r.IntN(2)])
			case 6:
				c.Consent.Label("winnow.unknown", "true")
			}
			switch r.IntN(20) {
			case 0:
				c.CPU, c.SpanMS = math.NaN(), math.NaN()
			case 1:
				c.Labelled, c.Consent, c.Labels = false, record.Consent{}, nil
			}
			boxes = append(boxes, c)
		}
		s := snap(second, boxes...)
		s.Boot, s.Time = boot, s.Time.Add(shift)
		s.AvailableKB = float64(r.IntN(1000)) * 1024
		stream = append(stream, s)
	}
	return stream
}

func judgeAll(p *Policy, stream []*Snapshot, m func(int) *Memory) (all [][]Verdict, events [][]Event) {
	for i, s := range stream {
		verdicts, said := p.Judge(s, m(i))
		all, events = append(all, verdicts), append(events, said)
	}
	return all, events
}

func rounds() int {
	if testing.Short() {
		return 60
	}
	return 400
}

// TestRandom holds, for random policies over random streams, what always holds.
func TestRandom(t *testing.T) {
	for seed := range uint64(rounds()) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, stream := randomPolicy(t, r, true), randomStream(r, 60, true)
		memory := new(Memory)
		all, events := judgeAll(p, stream, func(int) *Memory { return memory })
		checkPart(t, p, stream, all)
		checkFloors(t, p, stream, all)
		checkMost(t, p, stream, all)
		checkNotice(t, p, stream, all)
		checkCutUp(t, p, stream, all, events)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(p.Describe(), "\n"))
		}
	}
}

// checkPart: nobody who takes no part is warned or condemned; without a rate that is only done by memory.
func checkPart(t *testing.T, p *Policy, stream []*Snapshot, all [][]Verdict) {
	for i, s := range stream {
		for k, c := range s.Containers {
			v := all[i][k]
			rated := !math.IsNaN(c.CPU) || slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Name == v.Rule && r.byMemoryAlone() })
			in := c.Labelled && c.Consent.Managed && !c.Consent.Protected && rated && !(len(p.Protect) > 0 && c.Image == "img2")
			if !in && (v.Verdict != record.VerdictKeep || v.Would != "") {
				t.Errorf("snapshot %d: %s takes no part: %+v", i, c.Name, v)
			}
		}
	}
}

// checkFloors: of each group as many stay as its rule keeps.
func checkFloors(t *testing.T, p *Policy, stream []*Snapshot, all [][]Verdict) {
	for i, s := range stream {
		for n := range p.Rules {
			r := &p.Rules[n]
			hold, killed := map[string]int{}, map[string]int{}
			for k, c := range s.Containers {
				v := all[i][k]
				before := slices.IndexFunc(p.Rules, func(other Rule) bool { return other.Name == v.Rule }) < n
				gone := before && (v.Verdict == record.VerdictKill || v.Would == record.VerdictKill && r.Mode == ModeDry)
				if p.exempt(c) != "" || p.unrated(c) != "" && !r.byMemoryAlone() || gone || !r.Match.holds(c) || r.hostFails(s) != nil || r.fails(c, s) != nil {
					continue
				}
				group := ""
				if r.Per != "" {
					group = c.Labels["owner"]
				}
				hold[group]++
				if v.Rule == r.Name && (v.Verdict == record.VerdictKill || v.Would == record.VerdictKill) {
					killed[group]++
				}
			}
			for group, n := range killed {
				if hold[group]-n < r.Keep {
					t.Errorf("snapshot %d, rule %s: %d of %d killed in group %q", i, r.Name, n, hold[group], group)
				}
			}
		}
	}
}

// checkMost: in no span of time more were condemned anew than the bounds say.
func checkMost(t *testing.T, p *Policy, stream []*Snapshot, all [][]Verdict) {
	boot, counted := "", map[string]bool{}
	times := map[string][]int64{}
	last := map[string]*Container{}
	for i, s := range stream {
		here := map[string]*Container{}
		if s.Boot != boot {
			boot, times = s.Boot, map[string][]int64{}
		}
		for k, c := range s.Containers {
			if before := last[c.ID]; before == nil || before.PID != c.PID || before.CPUNS > c.CPUNS {
				delete(counted, c.ID)
			}
			here[c.ID] = c
			v := all[i][k]
			if v.Verdict != record.VerdictKill || counted[c.ID] {
				continue
			}
			counted[c.ID] = true
			for _, name := range []string{"", v.Rule} {
				times[name] = append(times[name], c.AtNS)
				most := p.Most
				if at := slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Name == name }); at >= 0 {
					most = p.Rules[at].Most
				}
				recent := 0
				for _, at := range times[name] {
					if at > c.AtNS-int64(most.Within) {
						recent++
					}
				}
				if !most.none() && recent > most.Count {
					t.Errorf("snapshot %d, rule %q: %d condemned in %s, not %s", i, name, recent, span(most.Within), most)
				}
			}
		}
		last = here
	}
}

// checkNotice: no rule with notice kills whom it did not warn that long before.
func checkNotice(t *testing.T, p *Policy, stream []*Snapshot, all [][]Verdict) {
	type warning struct {
		at   int64
		wall time.Time
	}
	warnings := map[string]warning{}
	for i, s := range stream {
		seen := map[string]bool{}
		for k, c := range s.Containers {
			v := all[i][k]
			at := slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Name == v.Rule })
			if at < 0 {
				continue
			}
			notice := p.Rules[at].Notice
			key := fmt.Sprint(s.Boot, c.ID, c.PID, v.Rule)
			seen[key] = true
			first, there := warnings[key]
			switch {
			case v.Verdict == record.VerdictWarn || v.Would == record.VerdictWarn:
				if !there || !first.wall.Add(notice).Equal(v.KillAt) {
					warnings[key] = warning{c.AtNS, s.Time}
				}
				if want := warnings[key].wall.Add(notice); !v.KillAt.Equal(want) {
					t.Errorf("snapshot %d: %s is to go at %v, not %v", i, c.Name, v.KillAt, want)
				}
			case notice > 0 && (v.Verdict == record.VerdictKill || v.Would == record.VerdictKill):
				if !there || c.AtNS-first.at < int64(notice) || s.Time.Before(first.wall.Add(notice)) {
					t.Errorf("snapshot %d: %s is killed by %s with no notice of %v before", i, c.Name, v.Rule, notice)
				}
			}
		}
	}
}

// checkCutUp: a memory that is written and read between all snapshots changes nothing.
func checkCutUp(t *testing.T, p *Policy, stream []*Snapshot, all [][]Verdict, events [][]Event) {
	kept := new(Memories)
	again, said := judgeAll(p, stream, func(int) *Memory {
		kept.Of("h").Told()
		text, err := kept.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if kept, err = Decode(text); err != nil {
			t.Fatal(err)
		}
		if second, err := kept.Encode(); err != nil || !bytes.Equal(text, second) {
			t.Fatalf("%v: %s became %s", err, text, second)
		}
		return kept.Of("h")
	})
	for i := range all {
		if !reflect.DeepEqual(all[i], again[i]) || fmt.Sprint(events[i]) != fmt.Sprint(said[i]) {
			t.Errorf("snapshot %d: in one go %+v %v, cut up %+v %v", i, all[i], events[i], again[i], said[i])
			return
		}
	}
}

// TestLostMemory: where a memory was lost nobody is condemned earlier than with it.
// Where a floor lets one stay in another's place, that may then be another one; but as
// many stay, and each has notice anew. Bounds are TestLostBounds. (A clock that is set
// back puts off the end of notices that were given before, but not of later ones.)
func TestLostMemory(t *testing.T) {
	for seed := range uint64(rounds()) {
		r := rand.New(rand.NewPCG(seed, 2))
		p, stream := randomPolicy(t, r, seed%2 == 0), randomStream(r, 40, false)
		floors := seed%2 == 0
		p.Most = Most{}
		for i := range p.Rules {
			p.Rules[i].Most = Most{}
		}
		lostAt := 1 + r.IntN(30)
		whole, cut := new(Memory), new(Memory)
		all, _ := judgeAll(p, stream, func(int) *Memory { return whole })
		after, _ := judgeAll(p, stream, func(i int) *Memory {
			if i == lostAt {
				spoilt, err := Decode([]byte("{"))
				if err != ErrDamaged {
					t.Fatal(err)
				}
				cut = spoilt.Of("h")
			}
			return cut
		})
		checkFloors(t, p, stream, after)
		checkNotice(t, p, stream[lostAt:], after[lostAt:])
		killed := map[string]bool{}
		for i, s := range stream {
			for k, c := range s.Containers {
				if all[i][k].Verdict == record.VerdictKill {
					killed[fmt.Sprint(c.ID, c.PID)] = true
				}
			}
			for k, c := range s.Containers {
				if !floors && after[i][k].Verdict == record.VerdictKill && !killed[fmt.Sprint(c.ID, c.PID)] {
					t.Errorf("%s is killed in %d already: %s", c.Name, i, after[i][k].Reason)
				}
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: lost before snapshot %d:\n%s", seed, lostAt, strings.Join(p.Describe(), "\n"))
		}
	}
}

// TestLostBounds: where a memory was lost, bounds count as reached just then.
func TestLostBounds(t *testing.T) {
	p := rules(t, "[limits]\nmost = \"2/1m\"\n[[rule]]\nmost = \"1/10s\"")
	spoilt, _ := Decode(nil)
	for _, one := range []struct {
		at   float64
		want string
	}{{0, "a keep, 1 limited"}, {9, "a keep"}, {10, "a keep,  limited"}, {59, "a keep"}, {60, "a kill"}} {
		s := snap(one.at, box("a", 9, 9))
		v, e := p.Judge(s, spoilt.Of("h"))
		if got := words(s, v, e); got != one.want {
			t.Errorf("at %v: got %s, want %s", one.at, got, one.want)
		}
	}
}
