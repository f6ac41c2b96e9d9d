package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// After down nothing governs any more, whatever became of who did, and a kill
// that had begun has come to its end and is in the log.
func TestDownEndsAllGoverning(t *testing.T) {
	for _, victim := range []string{"", "run", "loop", "pipeline.sh"} {
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

// A kill that had begun is in the log where the whole pipeline is told to end, as a
// host does that shuts down.
func TestKillIsLoggedThoughAllAreToldToEnd(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_ENFORCE=1", "WINNOW_SPAN=500ms", "WINNOW_GRACE=3s")
			policy := filepath.Join(t.TempDir(), "policy.toml")
			if err := os.WriteFile(policy, []byte("version = 1\n[[rule]]\nname = \"all\"\nmatch = [\"label=theirs="+w.name+"\"]\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			w.settings = append(w.settings, "WINNOW_POLICY="+policy)
			w.run(0, "up")
			stubborn := w.managed("theirs="+w.name, true)
			loop := w.start(w.command("loop"))
			w.eventually("a kill that has begun", func() bool { return w.isStopped(stubborn) })
			loop.Process.Signal(syscall.SIGTERM)
			for _, pid := range w.processes("") {
				if pid != loop.Process.Pid {
					syscall.Kill(pid, sig)
				}
			}
			loop.wait()
			w.eventually("nothing governs", func() bool { return len(w.processes("")) == 0 })
			if w.lives(stubborn) || w.kills()[stubborn] != "killed" {
				t.Errorf("lives %v, logged %q:\n%s", w.lives(stubborn), w.kills()[stubborn], loop.output())
			}
			w.run(0, "down")
			w.isDown()
		})
	}
}

// What down finds condemned, but not yet being stopped, it saves.
func TestDownBeforeTheStop(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_ENFORCE=1", "WINNOW_SPAN=500ms",
		"WINNOW_KEEP_LOW=0", "WINNOW_KEEP_HIGH=0")
	w.run(0, "up")
	victim := w.managed("theirs=1", false)
	engine, asked, answer := heldEngine(t, victim)
	cmd := w.command("loop")
	cmd.Env = append(cmd.Env, engine)
	loop := w.start(cmd)
	// First when it comes, then since it is condemned.
	w.eventually("killctr asks about the container that it is to stop", func() bool { return len(asked) > 1 })
	down := w.start(w.command("down"))
	w.eventually("down has begun", func() bool { return !w.has("governing") })
	close(answer)
	if status := down.wait(); status != 0 {
		t.Errorf("down: exit status %d:\n%s", status, down.output())
	}
	loop.wait()
	if !w.lives(victim) || w.isStopped(victim) || w.kills()[victim] != "failed" {
		t.Errorf("lives %v, logged %q:\n%s", w.lives(victim), w.kills()[victim], loop.output())
	}
	w.isDown()
}

// A run that is killed as it calls up leaves nothing that comes up after down:
// here up has not come to its lock yet.
func TestDownAfterRunIsKilledAtItsStart(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0")
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	gate := t.TempDir() // up's first question to Docker waits in it
	text := fmt.Sprintf("#!/bin/bash\ntouch %[1]s/reached\nuntil [[ -e %[1]s/open ]]; do sleep 0.05; done\nexec %[2]s \"$@\"\n", gate, docker)
	if err := os.WriteFile(filepath.Join(gate, "docker"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := w.command("run")
	cmd.Env = append(cmd.Env, "PATH="+gate+":"+os.Getenv("PATH"))
	run := w.start(cmd)
	w.eventually("up asks Docker", func() bool {
		_, err := os.Stat(filepath.Join(gate, "reached"))
		return err == nil
	})
	run.Process.Kill()
	down := w.start(w.command("down"))
	w.eventually("down is at its lock", func() bool {
		return down.isOver() || slices.ContainsFunc(w.processes(""), func(pid int) bool {
			cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			return string(cmdline) == "flock\x00--timeout\x00180\x007\x00"
		})
	})
	if err := os.WriteFile(filepath.Join(gate, "open"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if status := down.wait(); status != 0 {
		t.Errorf("down: exit status %d:\n%s", status, down.output())
	}
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

// TestToldToStop: a loop that was told to stop has not failed.
func TestToldToStop(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms")
	w.run(0, "up")
	loop := w.start(w.command("loop"))
	w.eventually("a snapshot has come through", func() bool { return w.has("beat") })
	loop.Process.Signal(syscall.SIGTERM)
	if status := loop.wait(); status != 0 {
		t.Errorf("the loop ended with status %d:\n%s", status, loop.output())
	}
	w.run(0, "status")
	w.run(0, "down")
	w.isDown()
}
