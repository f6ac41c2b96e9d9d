package scripts

import (
	"os"
	"strings"
	"testing"
)

// --dry-run kills nothing and logs all as dry; without --enforce only the test
// containers are killed.
func TestDryAndEnforced(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms",
		"WINNOW_KEEP_LOW=0", "WINNOW_KEEP_HIGH=0", "WINNOW_GRACE=1s")
	w.run(0, "up")
	ours, theirs := w.managed(w.test(), false), w.managed("theirs=1", false)
	// after checks who lives, and what the log has.
	after := func(what string, id string, lives bool, logged string) {
		t.Helper()
		if got := w.kills()[id]; w.lives(id) != lives || got != logged {
			t.Errorf("%s: lives %v, logged %q; should be %v, %q", what, w.lives(id), got, lives, logged)
		}
	}
	has := func(what, said, part string) {
		t.Helper()
		if !strings.Contains(said, part) {
			t.Errorf("%s does not say %q:\n%s", what, part, said)
		}
	}

	said := w.run(0, "cycle", "--dry-run")
	has("cycle --dry-run", said, "dry: nothing is killed")
	for _, id := range []string{ours, theirs} {
		after("cycle --dry-run", id, true, "dry_run")
		found := false
		for line := range strings.Lines(said) { // stdout has the records
			found = found || strings.Contains(line, `"type":"kill"`) && strings.Contains(line, id) && strings.Contains(line, `"dry_run"`)
		}
		if !found {
			t.Errorf("no dry_run line of %s in\n%s", id, said)
		}
	}

	run := w.start(w.command("run", "--dry-run", "--enforce"))
	more := w.managed(w.test(), false)
	w.eventually("run --dry-run logs", func() bool { return w.kills()[more] == "dry_run" })
	run.Process.Signal(os.Interrupt)
	run.wait()
	has("run --dry-run", run.output(), "dry: nothing is killed")
	after("run --dry-run", theirs, true, "dry_run")
	if w.isStopped(more) || w.isStopped(ours) {
		t.Error("run --dry-run killed")
	}
	w.isDown()

	// judged runs cycle until there is a kill line of the container, whose load
	// is not known as soon as it has started.
	judged := func(id string, args ...string) (said string) {
		t.Helper()
		before := w.kills()[id]
		w.eventually("a verdict on a container", func() bool {
			said = w.run(0, "cycle", args...)
			return before != "" || w.kills()[id] != ""
		})
		return said
	}
	w.run(0, "up")
	ours = w.managed(w.test(), false)
	has("cycle", judged(ours), "--enforce or WINNOW_ENFORCE=1")
	after("cycle", ours, false, "killed")
	after("cycle", theirs, true, "dry_run")
	judged(theirs, "--enforce")
	after("cycle --enforce", theirs, false, "killed")

	plain := w.settings
	w.settings = append(w.settings, "WINNOW_ENFORCE=1")
	theirs = w.managed("theirs=1", false)
	judged(theirs)
	after("WINNOW_ENFORCE=1 cycle", theirs, false, "killed")
	w.run(0, "up")
	w.settings = plain
	theirs = w.managed("theirs=1", false)
	judged(theirs)
	after("cycle, after WINNOW_ENFORCE=1 up", theirs, false, "killed")
	w.run(0, "down")
	w.isDown()
}
