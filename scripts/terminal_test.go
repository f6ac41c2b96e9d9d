package scripts

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a real one, whose keys the test presses.
type terminal struct {
	*process
	keys *os.File
}

// inTerminal starts a command as the first one of a terminal.
func (w *world) inTerminal(cmd *exec.Cmd) *terminal {
	w.t.Helper()
	// Not blocking, so that closing it does not wait for who reads it.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	keys := os.NewFile(uintptr(fd), "/dev/ptmx")
	w.t.Cleanup(func() { keys.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer screen.Close()
	said, err := os.CreateTemp(w.t.TempDir(), "said")
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer said.Close()
		io.Copy(said, keys) // until it is closed on either side
	}()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p := w.start(cmd)
	p.said = said.Name()
	return &terminal{p, keys}
}

// press presses keys one after the other, or closes the terminal. Between two
// keys a script has the time to start a child, which the next one ends.
func (t *terminal) press(keys string) {
	if keys == "" {
		t.keys.Close()
	}
	for i := range len(keys) {
		t.keys.Write([]byte{keys[i]})
		time.Sleep(3 * time.Millisecond)
	}
}

const closed, ctrlC, quit = "", "\x03", "\x1c"

var strokes = []struct{ name, keys string }{
	{"closed", closed}, {"ctrl-c twice", ctrlC + ctrlC}, {`ctrl-\`, quit}, {"ctrl-c held down", strings.Repeat(ctrlC, 100)}, {"ctrl-c", ctrlC},
}

// governed is a world in which every test container is condemned.
func governed(t *testing.T) *world {
	return newWorld(t, "WINNOW_SPAWN=4", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms", "WINNOW_GRACE=3s",
		"WINNOW_KEEP_LOW=0", "WINNOW_KEEP_HIGH=0")
}

// However run is ended in a terminal, it takes everything down, and what it
// had begun to kill is logged.
func TestRunInATerminal(t *testing.T) {
	for _, stroke := range strokes[:4] {
		t.Run(stroke.name+" during up", func(t *testing.T) {
			w := governed(t)
			run := w.inTerminal(w.command("run"))
			w.eventually("up is under way", func() bool { return w.has("unfinished") })
			run.press(stroke.keys)
			run.wait()
			w.isDown()
		})
		t.Run(stroke.name+" during a grace", func(t *testing.T) {
			w := governed(t)
			stubborn := w.managed(w.test(), true)
			run := w.inTerminal(w.command("run"))
			w.eventually("a kill that has begun", func() bool { return w.isStopped(stubborn) })
			run.press(stroke.keys)
			run.wait()
			w.isDown()
			if w.kills()[stubborn] != "killed" {
				t.Errorf("logged as %q:\n%s", w.kills()[stubborn], run.output())
			}
		})
	}
	// The second one comes while down is at it.
	t.Run("ctrl-c, and again during down", func(t *testing.T) {
		w := governed(t)
		run := w.inTerminal(w.command("run"))
		w.eventually("it governs", func() bool { return w.has("governing") })
		w.run(0, "spawn")
		run.press(ctrlC)
		w.eventually("down is under way", func() bool { return w.has("unfinished") })
		run.press(ctrlC)
		run.wait()
		w.isDown()
	})
	// A terminal is a shell's, most of all.
	t.Run("a shell's, closed", func(t *testing.T) {
		w := governed(t)
		bash := exec.Command("bash", "--norc", "-i")
		bash.Env = append(w.command("run").Env, "HISTFILE=/dev/null")
		shell := w.inTerminal(bash)
		shell.press(w.command("run").Path + "\n")
		w.eventually("it governs", func() bool { return w.has("governing") })
		w.run(0, "spawn")
		shell.press(closed)
		shell.wait()
		w.eventually("run has ended", func() bool { return len(w.processes("run")) == 0 })
		w.isDown()
	})
}

// No key of the terminal comes between a kill and its line in the log.
func TestEveryKillIsLogged(t *testing.T) {
	w := governed(t)
	w.run(0, "up")
	for _, script := range []string{"cycle", "loop"} {
		for _, stroke := range strokes {
			t.Run(script+" "+stroke.name, func(t *testing.T) {
				w := w.in(t)
				stubborn := w.managed(w.test(), true)
				w.eventually("its load is known", func() bool {
					w.run(0, "cycle", "--dry-run")
					return w.kills()[stubborn] != ""
				})
				p := w.inTerminal(w.command(script))
				w.eventually("a kill that has begun", func() bool { return w.isStopped(stubborn) })
				p.press(stroke.keys)
				p.wait()
				w.eventually("nothing governs", func() bool { return len(w.processes("pipeline.sh")) == 0 })
				if w.lives(stubborn) || w.kills()[stubborn] != "killed" {
					t.Errorf("lives %v, logged %q:\n%s", w.lives(stubborn), w.kills()[stubborn], p.output())
				}
			})
		}
	}
	w.run(0, "down")
	w.isDown()
}
