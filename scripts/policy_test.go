package scripts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

const policyText = `version = 1

[[rule]]
name = "lasting"
match = ["label=role=burner"]
cpu = "> 20%"
for = "8s"
notice = "4s"

[[rule]]
name = "share"
match = ["label=role=share"]
per = "label=owner"
keep = 1
order = "newest"

[[rule]]
name = "tried"
mode = "dry"
match = ["label=role=tried"]

[[rule]]
name = "guard"
host_available = "< 1%"
`

// TestPolicy: with a policy's file a spike is survived, what lasts is warned and
// only then killed, each owner has a share, dry kills nothing, nor does the memory
// guard while there is memory. A file made wrong changes nothing.
func TestPolicy(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms", "WINNOW_GRACE=1s")
	dir := t.TempDir()
	file, told, tell := filepath.Join(dir, "policy.toml"), filepath.Join(dir, "told"), filepath.Join(dir, "tell")
	if err := os.WriteFile(tell, []byte("#!/bin/sh\ncat >>"+told+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.settings = append(w.settings, "WINNOW_POLICY="+file, "WINNOW_NOTIFY="+tell)
	if err := os.WriteFile(file, []byte(policyText+"keep = 1.5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := w.run(1, "up"); !strings.Contains(said, `policy.toml:25:1: keep: "1.5" is not a number from 0 up`) {
		t.Errorf("up with a wrong policy:\n%s", said)
	}
	if err := os.WriteFile(file, []byte(policyText), 0o644); err != nil {
		t.Fatal(err)
	}
	w.run(0, "up")

	spike := w.load("cpu", "role=burner")
	lasting := w.load("cpu", "role=burner")
	older := w.load("idle", "role=share", "owner=ann")
	time.Sleep(1100 * time.Millisecond) // Docker tells when one was made in whole seconds
	newer, other := w.load("idle", "role=share", "owner=ann"), w.load("idle", "role=share", "owner=bob")
	tried := w.load("idle", "role=tried")

	loop := w.start(w.command("loop"))
	time.Sleep(4 * time.Second)
	if err := w.docker.ContainerPause(t.Context(), spike); err != nil {
		t.Fatal(err)
	}
	w.eventually("the one that lasts is killed", func() bool { return w.kills()[lasting] == "killed" })
	w.eventually("ann's newer one is killed", func() bool { return w.kills()[newer] == "killed" })

	if err := os.WriteFile(file, []byte("version = 1\n[[rule]]\nkep = 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	third := w.load("idle", "role=share", "owner=bob")
	w.eventually("the policy before stays in force", func() bool { return w.kills()[third] == "killed" })
	loop.Process.Signal(os.Interrupt)
	loop.wait()
	if said := loop.output(); !strings.Contains(said, "the policy before stays in force: "+file+`:3:1: unknown key "rule.kep"; did you mean "keep"?`) ||
		strings.Contains(said, "the cycle failed") {
		t.Errorf("the loop said:\n%s", said)
	}
	for name, id := range map[string]string{"a spike": spike, "ann's older one": older, "bob's": other, "one of a dry rule": tried} {
		if !w.lives(id) || w.kills()[id] != "" {
			t.Errorf("%s: lives %v, logged %q", name, w.lives(id), w.kills()[id])
		}
	}
	w.warnedBefore(lasting, 4*time.Second)
	if w.wouldKill(tried) == "" {
		t.Error("no line says what the dry rule would have done")
	}
	notes, _ := os.ReadFile(told)
	if n := strings.Count(string(notes), `"verdict":"warn"`); n != 1 && n != 2 { // the spike may have been warned, too
		t.Errorf("told of %d warnings:\n%s", n, notes)
	}
	if n := strings.Count(string(notes), `"type":"kill"`); n != 3 {
		t.Errorf("told of %d kills, not 3:\n%s", n, notes)
	}
	if err := w.docker.ContainerUnpause(t.Context(), spike); err != nil {
		t.Fatal(err)
	}
	w.run(0, "down")
	w.isDown()
}

// load starts a test container with a burn's load, and more labels as KEY=VALUE.
func (w *world) load(burn string, labels ...string) string {
	w.t.Helper()
	config := &container.Config{Image: image, Cmd: []string{burn}, Labels: map[string]string{"winnow.managed": "true"}}
	for _, label := range append(labels, w.test()) {
		key, value, _ := strings.Cut(label, "=")
		config.Labels[key] = value
	}
	host := &container.HostConfig{NetworkMode: "none", Resources: container.Resources{NanoCPUs: 500_000_000}}
	return w.begin(config, host)
}

// loggedLine is what the test looks at of a container's line and of a kill's.
type loggedLine struct {
	Type, ID, Verdict, Would, Reason string
	Time                             time.Time
	KillAt                           time.Time `json:"kill_at"`
}

// logged are the lines of the log and the spool that are of the container.
func (w *world) logged(id string) (all []loggedLine) {
	w.t.Helper()
	for _, pattern := range []string{"log/*.jsonl", "spool/*.ndjson"} {
		files, _ := filepath.Glob(filepath.Join(w.state, pattern))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				var one loggedLine
				if json.Unmarshal([]byte(line), &one) == nil && one.ID == id {
					all = append(all, one)
				}
			}
		}
	}
	return all
}

// warnedBefore fails unless the container was warned that long before it was killed.
func (w *world) warnedBefore(id string, notice time.Duration) {
	w.t.Helper()
	var warned, killed loggedLine
	for _, one := range w.logged(id) {
		switch {
		case one.Verdict == "warn" && warned.Type == "":
			warned = one
		case one.Type == "kill":
			killed = one
		}
	}
	if warned.Type == "" || !warned.KillAt.Equal(warned.Time.Add(notice)) || killed.Time.Before(warned.KillAt) {
		w.t.Errorf("warned at %v to be killed from %v on, and killed at %v", warned.Time, warned.KillAt, killed.Time)
	}
}

// wouldKill is the reason of a dry rule's verdict on the container.
func (w *world) wouldKill(id string) string {
	for _, one := range w.logged(id) {
		if one.Would == "kill" {
			return one.Reason
		}
	}
	return ""
}
