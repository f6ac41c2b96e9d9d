package policy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"winnow/tools/internal/record"
)

// crashing judges a stream as classify does which keeps its memory in a file, and
// crashes: before it has kept what is urgent, before its verdicts are out, before it
// has kept the notices, or later. What was not out are no verdicts. It gives the
// snapshots that were not lost with the first of these, too. With heard, what is kept
// is always heard of.
func crashing(t *testing.T, r *rand.Rand, p *Policy, stream []*Snapshot, heard bool) (all [][]Verdict, seen []*Snapshot) {
	t.Helper()
	kept := Memories{}
	m := kept.Of("h")
	file := []byte(nil)
	save := func() {
		kept.Open = true
		text, err := kept.Encode()
		if err != nil {
			t.Fatal(err)
		}
		file = text
	}
	save()
	for _, s := range stream {
		out, _ := p.Judge(s, m)
		before, after := m.Urgent()
		crash := r.IntN(20) // in 0 to 3
		if crash == 1 && heard {
			crash = 2
		}
		if before && crash != 0 {
			save()
		}
		if crash < 2 { // nobody hears of it
			out = p.Spare(s, "nothing")
		}
		if crash > 2 {
			if m.Told(); after || r.IntN(4) == 0 {
				save()
			}
		}
		all = append(all, out)
		if crash > 0 {
			seen = append(seen, s)
		}
		if crash <= 3 {
			again, err := Decode(file)
			if err != nil {
				t.Fatal(err)
			}
			kept = *again
			m = kept.Of("h")
		}
	}
	return all, seen
}

// TestCrash: however often it crashes, nobody is condemned earlier than without, and
// no more are than the bounds say, nor any without the notice that is due.
func TestCrash(t *testing.T) {
	for seed := range uint64(2 * rounds()) {
		r := rand.New(rand.NewPCG(seed, 3))
		p, stream := randomPolicy(t, r, false), randomStream(r, 60, true)
		crashed, _ := crashing(t, r, p, stream, true) // or a kill that counted long ago may be told only later
		checkPart(t, p, stream, crashed)
		checkNotice(t, p, stream, crashed)
		checkMost(t, p, stream, crashed)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(p.Describe(), "\n"))
		}

		stream = randomStream(r, 60, false) // see TestLostMemory
		p.Most = Most{}                     // whom another one's delay leaves room for may go earlier
		for i := range p.Rules {
			p.Rules[i].Most = Most{}
		}
		crashed, seen := crashing(t, r, p, stream, false)
		whole := new(Memory)
		all, _ := judgeAll(p, seen, func(int) *Memory { return whole })
		killed := map[string]bool{}
		for i, s := range stream {
			if len(seen) > 0 && seen[0] == s {
				for k, c := range s.Containers {
					key := fmt.Sprint(c.ID, c.PID)
					killed[key] = killed[key] || all[0][k].Verdict == record.VerdictKill
				}
				seen, all = seen[1:], all[1:]
			}
			for k, c := range s.Containers {
				if crashed[i][k].Verdict == record.VerdictKill && !killed[fmt.Sprint(c.ID, c.PID)] {
					t.Fatalf("seed %d: %s is killed in snapshot %d already: %s\n%s", seed, c.Name, i, crashed[i][k].Reason, strings.Join(p.Describe(), "\n"))
				}
			}
		}
	}
}
