package main

import (
	"strings"
	"testing"

	"winnow/tools/internal/filtertest"
)

// A line's own grace goes before the flag's, unless it is none that can be.
func TestGraceOfTheLine(t *testing.T) {
	for own, want := range map[string]string{
		`0`: "0", `2500`: "3", `86400000`: "86400", `86400001`: "10", `1e300`: "10", `null`: "10", `1.5`: "1",
	} {
		t.Run(own, func(t *testing.T) {
			e := newEngine(t, 1)
			in := strings.Replace(condemned(filtertest.ID(1), 0), `"reason"`, `"grace_ms":`+own+`,"reason"`, 1)
			kills, err := kill(t, in)
			if err != nil || len(kills) != 1 || kills[0].Result != "killed" {
				t.Fatalf("%v: %+v", err, kills)
			}
			if got := strings.Join(e.heard("stop"), " "); got != "stop 1 t="+want {
				t.Errorf("got %s, want %s s", got, want)
			}
		})
	}
}

// The line of a kill tells what follows from it.
func TestFollows(t *testing.T) {
	always := map[string]any{"RestartPolicy": map[string]any{"Name": "always"}}
	for _, test := range []struct {
		name   string
		config map[string]any
		label  string
		args   []string
		want   string
	}{
		{"nothing", nil, "", nil, ""},
		{"a policy that does not", map[string]any{"RestartPolicy": map[string]any{"Name": "unless-stopped"}}, "", nil, ""},
		{"always", always, "", nil, "it comes back when Docker starts anew, by its restart policy always"},
		{"always, dry", always, "", []string{"--dry-run"}, "it comes back when Docker starts anew, by its restart policy always"},
		{"always, but removed", always, "", []string{"--rm"}, ""},
		{"Swarm", nil, "com.docker.swarm.service.name", nil, "Swarm starts another task of the service x"},
		{"network", map[string]any{"NetworkMode": "container:" + filtertest.ID(2)}, "", nil,
			"it shared the network of the container " + filtertest.ID(2)[:12] + "…"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEngine(t, 1)
			box := e.box(1)
			if box.hostConfig = test.config; test.label != "" {
				box.labels[test.label] = "x"
			}
			kills, err := kill(t, condemned(filtertest.ID(1), 0), test.args...)
			if err != nil || len(kills) != 1 || kills[0].Follows != test.want {
				t.Errorf("%v: got %+v, want %q", err, kills, test.want)
			}
		})
	}
}
