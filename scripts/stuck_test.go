package scripts

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// pid is that of this world's process of that name, 0 where there is none.
func (w *world) pid(name string) int {
	all := w.processes("")
	if i := slices.IndexFunc(all, func(pid int) bool { return comm(pid) == name }); i >= 0 {
		return all[i]
	}
	return 0
}

// A terminal that takes nothing, as after Ctrl-S or over a connection that is lost,
// holds up nothing: what ended begins again, and TERM and down end all.
func TestTerminalThatTakesNothing(t *testing.T) {
	const ctrlS = "\x13"
	for _, victim := range []string{"classify", "pipeline.sh"} {
		t.Run(victim, func(t *testing.T) {
			w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms")
			loop := w.inTerminal(w.command("loop", "--dry-run"))
			w.eventually("a snapshot has come through", func() bool { return w.has("beat") && w.pid("report") != 0 })
			loop.press(ctrlS)
			time.Sleep(2 * time.Second) // the report waits for it
			before := w.pid("classify")
			killed := []int{before}
			if victim != "classify" {
				killed = w.processes(victim)
			}
			for _, pid := range killed {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			if !within(20*time.Second, func() bool { now := w.pid("classify"); return now != 0 && now != before }) {
				t.Error("the pipeline has not begun again")
			}
			loop.Process.Signal(syscall.SIGTERM)
			if !within(10*time.Second, loop.isOver) {
				t.Error("TERM has not ended the loop")
			}
			w.run(0, "down")
			w.isDown()
		})
	}
}

// Nor does what was stopped, as a loop with Ctrl-Z, hold up down.
func TestDownEndsWhatIsStopped(t *testing.T) {
	for _, stopped := range []string{"loop", "logpost"} {
		t.Run(stopped, func(t *testing.T) {
			w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms")
			loop := w.start(w.command("loop", "--dry-run"))
			w.eventually("a snapshot has come through", func() bool { return w.has("beat") })
			pid := loop.Process.Pid
			if stopped != "loop" {
				pid = w.pid(stopped)
			}
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			w.run(0, "down")
			w.isDown()
		})
	}
}
