package scripts

import (
	"syscall"
	"testing"
	"time"
)

// After down nothing governs any more, whatever became of who did, and a kill
// that had begun has come to its end and is in the log.
func TestDownEndsAllGoverning(t *testing.T) {
	for _, victim := range []string{"", "run", "loop", "pipeline"} {
		t.Run("killed "+victim, func(t *testing.T) {
			w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_ENFORCE=1", "WINNOW_SPAN=500ms",
				"WINNOW_KEEP_LOW=0", "WINNOW_KEEP_HIGH=0", "WINNOW_GRACE=3s")
			stubborn := w.managed("theirs=1", true)
			run := w.start(w.command("run"))
			w.eventually("a kill that has begun", func() bool { return w.isStopped(stubborn) })
			if victim != "" {
				found := w.processes(victim)
				if len(found) == 0 {
					t.Fatalf("no %s is running", victim)
				}
				for _, pid := range found {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			w.run(0, "down")
			if w.lives(stubborn) || w.kills()[stubborn] != "killed" {
				t.Errorf("after down: lives %v, logged %q", w.lives(stubborn), w.kills()[stubborn])
			}
			w.killsNobody(6, 4*time.Second)
			run.wait()
			w.isDown()
		})
	}
}
