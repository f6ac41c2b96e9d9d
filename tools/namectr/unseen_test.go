package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// What runs and is in no snapshot is told once, and again when it comes back.
func TestTellsOfWhatCannotBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.running[1], s.running[2] = "a", "hidden"
		told := func(want int) {
			t.Helper()
			if n := strings.Count(s.said.String(), "namectr: hidden (000000000000) runs, says the engine, but has no cgroup that can be seen from here: it is never judged\n"); n != want || strings.Count(s.said.String(), "\n") != n {
				t.Errorf("told %d times, want %d: %s", n, want, s.said.String())
			}
		}
		s.snapshot(t, 1)
		told(1)
		for range 3 * 60 { // and the names are renewed
			s.snapshot(t, 1)
		}
		told(1)
		s.change(func() { delete(s.running, 2) })
		for range 2 * 60 {
			s.snapshot(t, 1)
		}
		s.change(func() { s.running[2] = "hidden" })
		for range 2 * 60 {
			s.snapshot(t, 1)
		}
		told(2)
	})
}

// Also where nothing at all can be seen, as in a container without the host's cgroup files.
func TestTellsWhereNothingIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.running[1] = "hidden"
		s.snapshot(t)
		if s.said.Len() > 0 || len(s.askedAt()) > 0 {
			t.Errorf("of one snapshot: asked %v, said %s", s.askedAt(), s.said.String())
		}
		for range 2 * 60 {
			s.snapshot(t)
		}
		if strings.Count(s.said.String(), "hidden (000000000000) runs") != 1 || len(s.askedAt()) != 2 {
			t.Errorf("asked %v, said %s", s.askedAt(), s.said.String())
		}
	})
}

// An answer says nothing of a snapshot that was taken after it, was cut short, or of a container that is new.
func TestNotSeenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.running[1], s.running[2] = "a", "b"
		s.snapshot(t, 1, 2)
		s.snapshot(t, 1) // the second has ended since
		s.change(func() { delete(s.running, 2); s.running[3] = "c" })
		s.snapshot(t, 1, 3)
		if s.said.Len() > 0 {
			t.Errorf("said %s", s.said.String())
		}
	})
	all := known{}
	for n, age := range []time.Duration{settled - time.Second, settled, time.Hour} {
		set, err := members(container.Summary{Names: []string{"/x"}, Created: time.Now().Add(-age).Unix()})
		if err != nil {
			t.Fatal(err)
		}
		all[filtertest.ID(n)] = set
	}
	all["odd"] = []record.Member{record.Raw("created", `"yesterday"`)}
	for _, test := range []struct {
		name string
		u    unseen
		want int
	}{
		{"one that is new", unseen{asked: true, whole: true}, 2},
		{"cut short", unseen{asked: true}, 0},
		{"not asked since", unseen{whole: true}, 0},
		{"seen", unseen{asked: true, whole: true, here: map[string]bool{filtertest.ID(1): true}}, 1},
	} {
		test.u.told = map[string]bool{}
		if ids := test.u.missed(all, time.Now()); len(ids) != test.want {
			t.Errorf("%s: %q", test.name, ids)
		}
		if again := test.u.missed(all, time.Now()); len(again) != 0 {
			t.Errorf("%s: told again of %q", test.name, again)
		}
	}
}
