package scripts

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// draw is one way to disturb a script.
type draw struct {
	script  string
	signals []syscall.Signal
	group   bool          // to its process group, as a terminal does, not to it alone
	after   time.Duration // from its start to the signal
	again   time.Duration // from the signal to a second one
	grace   bool          // after counts from a kill that has begun
	wait    bool          // for the script's end before down
	watch   bool          // whether what comes after down lives
}

func (d draw) String() string {
	names := []string{}
	for _, s := range d.signals {
		names = append(names, strings.TrimPrefix(signalNames[s], "SIG"))
	}
	return fmt.Sprintf("%s %s", d.script, strings.Join(names, "+"))
}

var signalNames = map[syscall.Signal]string{syscall.SIGHUP: "HUP", syscall.SIGINT: "INT",
	syscall.SIGQUIT: "QUIT", syscall.SIGTERM: "TERM", syscall.SIGKILL: "KILL"}

// draws shuffles all pairs of script and signals, and goes through them as often
// as it takes. A moment lies within what a script takes, which is measured in
// times of up.
func draws(r *rand.Rand, n int, up time.Duration) (all []draw) {
	length := map[string]float64{"up": 1, "down": 1, "run": 3, "loop": 1.5, "cycle": 1, "spawn": 0.7, "cron": 0.7}
	var pairs []draw
	for _, script := range []string{"up", "down", "run", "loop", "cycle", "spawn", "cron"} {
		for _, signals := range [][]syscall.Signal{{syscall.SIGHUP}, {syscall.SIGINT}, {syscall.SIGINT, syscall.SIGINT},
			{syscall.SIGQUIT}, {syscall.SIGTERM}, {syscall.SIGKILL}} {
			pairs = append(pairs, draw{script: script, signals: signals})
		}
	}
	for i := range n {
		if i%len(pairs) == 0 {
			r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		}
		d := pairs[i%len(pairs)]
		d.after = time.Duration(r.Float64() * length[d.script] * float64(up))
		d.again = time.Duration(r.Float64() * 0.3 * float64(up))
		d.group, d.wait, d.watch = r.IntN(2) == 0, r.IntN(2) == 0, i%4 == 0
		if d.grace = r.IntN(3) == 0 && d.script != "up"; d.grace {
			d.after /= 4
		}
		all = append(all, d)
	}
	return all
}

// Whatever script gets whatever signal at whatever moment, after the next down
// nothing is left, nothing is killed, and every kill is logged.
func TestSignalsAtAnyMoment(t *testing.T) {
	seed, n := fromEnvironment(t, "WINNOW_MATRIX_SEED", rand.Uint64()), fromEnvironment(t, "WINNOW_MATRIX_DRAWS", 6)
	t.Logf("WINNOW_MATRIX_SEED=%d WINNOW_MATRIX_DRAWS=%d", seed, n)
	w := newWorld(t)
	begun := time.Now()
	w.run(0, "up")
	up := time.Since(begun)
	w.run(0, "down")
	var hit, failed, kills, watched int
	for i, d := range draws(rand.New(rand.NewPCG(seed, 0)), int(n), up) {
		if !t.Run(fmt.Sprintf("%d %v", i, d), func(t *testing.T) {
			w := newWorld(t, "WINNOW_SPAWN=4", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms", "WINNOW_GRACE=1s",
				"WINNOW_KEEP_LOW=0", "WINNOW_KEEP_HIGH=0")
			t.Logf("after %v, again after %v, in a grace %v, to the group %v, waited for %v", d.after, d.again, d.grace, d.group, d.wait)
			if d.play(w) {
				hit++
			}
			if d.watch {
				watched++
				w.killsNobody(2, 1500*time.Millisecond)
			}
			w.isDown()
			kills += len(w.stopped)
		}) {
			failed++
		}
	}
	t.Logf("seed %d: %d draws, %d hit a script under way, %d kills begun, after %d downs others were watched: %d draws failed",
		seed, n, hit, kills, watched, failed)
}

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// play does it all, down included, and tells whether the signal met the script
// under way.
func (d draw) play(w *world) (hit bool) {
	cmd := w.command(d.script)
	var governor *process
	var stubborn string
	switch d.script {
	case "up":
	case "run":
		stubborn = w.managed(w.test(), true)
	case "loop", "cycle":
		w.run(0, "up")
		stubborn = w.managed(w.test(), true)
		w.run(0, "spawn")
		w.run(0, "cycle", "--dry-run") // so that their load is known
	default: // while another one governs
		w.run(0, "up")
		if d.script == "cron" {
			cmd = w.cronLine()
		}
		stubborn = w.managed(w.test(), true)
		governor = w.start(w.command("loop"))
		w.eventually("loop governs", func() bool { return w.has("governing") && (!d.grace || w.isStopped(stubborn)) })
	}
	p := w.start(cmd)
	if d.grace {
		w.eventually("a kill has begun", func() bool { return w.isStopped(stubborn) || p.isOver() })
	}
	hit = d.disturb(w, p)
	if d.wait {
		p.wait()
	}
	if said := w.run(0, "down"); noise.MatchString(said) {
		w.t.Errorf("down:\n%s", said)
	}
	p.wait()
	if governor != nil {
		governor.wait()
	}
	if w.t.Failed() {
		w.t.Logf("%s:\n%s", d.script, p.output())
	}
	return hit
}

// disturb sends the signals, unless the script has ended before the first one.
func (d draw) disturb(w *world, p *process) bool {
	if within(d.after, p.isOver) {
		return false
	}
	targets := []int{p.Process.Pid}
	switch {
	case d.group:
		targets[0] = -targets[0]
	case d.script == "down": // which has put itself into a session of its own
		targets = append(targets, w.processes("down")...)
	}
	for i, s := range d.signals {
		if i > 0 {
			time.Sleep(d.again)
		}
		for _, target := range targets {
			syscall.Kill(target, s)
		}
	}
	return true
}

// cronLine is the first line of the crontab, as cron runs it: a bare % ends the
// command, \% stands for one, and there is hardly an environment.
func (w *world) cronLine() *exec.Cmd {
	w.t.Helper()
	lines, err := exec.Command("crontab", "-l").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 6)
		if !strings.Contains(line, w.state) || len(fields) < 6 {
			continue
		}
		command := strings.ReplaceAll(fields[5], `\%`, "\x00")
		command, _, _ = strings.Cut(command, "%")
		cmd := exec.Command("/bin/sh", "-c", strings.ReplaceAll(command, "\x00", "%"))
		cmd.Env = []string{"HOME=" + w.t.TempDir(), "LOGNAME=root", "SHELL=/bin/sh", "PATH=/usr/bin:/bin"}
		if host := os.Getenv("DOCKER_HOST"); host != "" {
			cmd.Env = append(cmd.Env, "DOCKER_HOST="+host)
		}
		return cmd
	}
	w.t.Fatalf("no line of ours:\n%s", lines)
	return nil
}
