package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
)

// What the flags say reaches Docker.
func TestFlags(t *testing.T) {
	for _, test := range []struct {
		args   string
		engine func(*engine)
		result string
		asked  []string
	}{
		{"", nil, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1"}},
		{"--grace 1500ms", nil, "killed", []string{"inspect 1", "stop 1 t=2", "inspect 1"}},
		{"--rm", nil, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1", "remove 1"}},
		{"--dry-run --rm", nil, "dry_run", []string{"inspect 1"}},
		{"--max-age 1h", nil, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1"}},
		{"--max-age 1ms", nil, "stale", nil},
		{"--timeout 10ms", func(e *engine) { e.onInspect = hang }, "failed", []string{"inspect 1"}},
		{"--all", func(e *engine) { e.box(1).labels = nil }, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1"}},
		{"--only winnow.managed", nil, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1"}},
		{"--only winnow.managed=true", nil, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1"}},
		{"--only winnow.managed=tru", nil, "dry_run", []string{"inspect 1"}},
		{"--only winnow.test", nil, "dry_run", []string{"inspect 1"}},
		{"--only winnow.managed --dry-run", nil, "dry_run", []string{"inspect 1"}},
		{"--only winnow.test --all", nil, "dry_run", []string{"inspect 1"}},
		{"--while /", nil, "killed", []string{"inspect 1", "stop 1 t=10", "inspect 1"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			e := newEngine(t, 1)
			if test.engine != nil {
				test.engine(e)
			}
			kills, err := kill(t, condemned(filtertest.ID(1), time.Second), strings.Fields(test.args)...)
			if len(kills) != 1 || kills[0].Result != test.result || (err != nil) != (test.result == "failed") {
				t.Errorf("got %+v, %v", kills, err)
			}
			if asked := e.heard(""); !slices.Equal(asked, test.asked) {
				t.Errorf("asked %q, want %q", asked, test.asked)
			}
		})
	}
}

func TestLabelFlag(t *testing.T) {
	for _, text := range []string{"", "=", "=x", "a=", "a b", " a", "a\n", "a\t=b", "\x1b[1m", "a\u202e"} {
		var l label
		if err := l.Set(text); err == nil || l != (label{}) {
			t.Errorf("%q: got %+v, %v", text, l, err)
		}
	}
	for text, want := range map[string]label{"a": {"a", ""}, "a=b": {"a", "b"}, "a=b=c": {"a", "b=c"}, "a=my name": {"a", "my name"}} {
		var l label
		if err := l.Set(text); err != nil || l != want || l.String() != text {
			t.Errorf("%q: got %+v, %v", text, l, err)
		}
	}
}
