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

// A run that is killed as it calls up leaves nothing that comes up after down.
func TestDownAfterRunIsKilledAtItsStart(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0")
	run := w.start(w.command("run"))
	w.eventually("up has started", func() bool { return len(w.processes("up")) > 0 })
	run.Process.Kill()
	w.run(0, "down")
	w.eventually("all has ended", func() bool { return len(w.processes("")) == 0 })
	w.isDown()
}

// And the loop that run starts governs nothing where down came between.
func TestLoopOfRunEndsWhereDownCameBetween(t *testing.T) {
	w := newWorld(t)
	cmd := w.command("loop")
	cmd.Env = append(cmd.Env, "WINNOW_OF_RUN=1")
	loop := w.start(cmd)
	if status := loop.wait(); status != 0 || w.has("last") || w.has("governing") {
		t.Errorf("exit status %d, a pass %v:\n%s", status, w.has("last"), loop.output())
	}
}
