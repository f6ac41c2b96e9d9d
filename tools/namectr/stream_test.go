package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// stream is a namer in the middle of a long pipe, in a bubble, and an engine that
// lists what runs.
type stream struct {
	*namer
	mu      sync.Mutex
	running map[int]string // names
	takes   time.Duration  // for an answer
	err     error
	asked   []time.Duration // when, from the beginning
	begun   time.Time
	said    strings.Builder
}

func newStream(t *testing.T) *stream {
	s := &stream{running: map[int]string{}, begun: time.Now()}
	s.namer = newNamer(time.Minute, s.answer, cli.New("namectr", "", "", &s.said))
	t.Cleanup(s.wait)
	return s
}

func (s *stream) answer(context.Context) (known, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Since(s.begun))
	takes := s.takes
	s.mu.Unlock()
	time.Sleep(takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	all := known{}
	for n, name := range s.running {
		set, err := members(container.Summary{ID: filtertest.ID(n), Names: []string{name}})
		if err != nil {
			return nil, err
		}
		all[filtertest.ID(n)] = set
	}
	return all, nil
}

// askedAt is when the engine was asked.
func (s *stream) askedAt() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// change has what f changes be so for the answers to come.
func (s *stream) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// snapshot gives the names in one of these containers, and how long it took. It
// comes with others at a beat of a second.
func (s *stream) snapshot(t *testing.T, ids ...int) (names string, took time.Duration) {
	t.Helper()
	begun := time.Now()
	text := host("s")
	for _, n := range ids {
		text += line("s", n, "")
	}
	for line, err := range record.Records(strings.NewReader(text + rest("s"))) {
		if err != nil {
			t.Fatal(err)
		}
		out := string(s.appendLine(t.Context(), nil, line))
		if _, name, ok := strings.Cut(out, `"name":"`); ok {
			name, _, _ = strings.Cut(name, `"`)
			names += name + " "
		} else if line.Type() == record.TypeContainer {
			names += "- "
		}
	}
	took = time.Since(begun)
	time.Sleep(max(0, time.Second-took))
	return strings.TrimSpace(names), took
}

// An engine is asked when an id is new, and now and then for renames.
func TestAsksWhenThereIsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.running[1] = "a"
		for range 10 {
			if names, _ := s.snapshot(t, 1); names != "a" {
				t.Errorf("named %q", names)
			}
		}
		s.change(func() { s.running[1], s.running[2] = "renamed", "b" })
		if names, _ := s.snapshot(t, 1, 2); names != "renamed b" && names != "a b" {
			t.Errorf("named %q", names)
		}
		if len(s.askedAt()) != 2 {
			t.Errorf("asked at %v", s.askedAt())
		}
		s.change(func() { s.running[1], s.takes = "again", 500*time.Millisecond })
		for range 65 {
			if _, took := s.snapshot(t, 1, 2); took > 0 {
				t.Errorf("waited %v for what it knows", took)
			}
		}
		if names, _ := s.snapshot(t, 1, 2); names != "again b" || len(s.askedAt()) != 3 {
			t.Errorf("named %q, asked at %v", names, s.askedAt())
		}
	})
}

// What an engine does not list is asked for again, less and less often.
func TestBacksOffFromAnotherEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.running[1] = "a"
		for range 10 * 60 {
			if names, _ := s.snapshot(t, 1, 7); names != "a -" {
				t.Fatalf("named %q", names)
			}
		}
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second, 31 * time.Second}; !slices.Equal(s.askedAt()[:6], want) {
			t.Errorf("asked at %v", s.askedAt())
		}
		if len(s.askedAt()) > 20 {
			t.Errorf("asked %d times in ten minutes", len(s.askedAt()))
		}
		before := len(s.askedAt())
		s.snapshot(t, 1, 7, 8) // 8 is only just starting
		s.change(func() { s.running[8] = "c" })
		if names, _ := s.snapshot(t, 1, 7, 8); names != "a - c" || len(s.askedAt()) != before+2 {
			t.Errorf("named %q, asked %d times more", names, len(s.askedAt())-before)
		}
	})
}

// While the engine is away, what is known stays known and no beat waits for it but
// the first.
func TestOutlivesAnEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		s.running[1] = "a"
		s.snapshot(t, 1)
		s.change(func() { s.takes, s.err = 5*time.Second, errors.New("no answer") })
		if names, took := s.snapshot(t, 1, 2); names != "a -" || took != 5*time.Second {
			t.Errorf("named %q after %v", names, took)
		}
		waits := 0
		for range 300 {
			names, took := s.snapshot(t, 1, 2)
			if names != "a -" || took > moment {
				t.Fatalf("named %q after %v", names, took)
			}
			if took > 0 {
				waits++
			}
		}
		if asked := len(s.askedAt()); asked > 16 || waits > asked {
			t.Errorf("asked %d times in five minutes, waited %d times", asked, waits)
		}
		s.change(func() { s.takes, s.err, s.running[2] = 0, nil, "b" })
		for range 40 {
			s.snapshot(t, 1, 2)
		}
		if names, _ := s.snapshot(t, 1, 2); names != "a b" {
			t.Errorf("named %q", names)
		}
		want := "namectr: new containers' lines pass unnamed: no answer\nnamectr: Docker answers again\n"
		if s.said.String() != want {
			t.Errorf("said %q, want %q", s.said.String(), want)
		}
	})
}

// Over a long time it remembers what the last list had, and what the last snapshot
// had beside it.
func TestRemembersNoMoreThanThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		for n := range 2000 {
			var ids []int
			running := map[int]string{}
			for id := n; id < n+30; id++ {
				ids = append(ids, id)
				if id%5 > 0 {
					running[id] = fmt.Sprint("c", id)
				}
			}
			s.change(func() { s.running = running })
			s.snapshot(t, ids...)
			if len(s.known) > 60 || len(s.missing) > 30 {
				t.Fatalf("after %d snapshots knows %d, misses %d", n, len(s.known), len(s.missing))
			}
		}
	})
}
