package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLoop measures the CPU of all of winnow, what it has dockerd and logd do
// included, in percent of a core, at 0, 30 and 100 containers: the loop at two beats,
// at once and for WINNOW_BENCH_LOOP or a minute, and for a tenth of it, but a minute at
// least, a cycle every 10 s, `docker stats`, and the engine when nobody asks it.
func BenchmarkLoop(b *testing.B) {
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		b.Skipf("needs a Docker engine: %s", out)
	}
	each, err := time.ParseDuration(cmp.Or(os.Getenv("WINNOW_BENCH_LOOP"), "1m"))
	if err != nil {
		b.Fatal(err)
	}
	beats := []string{"10s", "1s"}
	h := newHost(b, max(each/10, min(each, time.Minute)), len(beats))
	had := 0
	for _, containers := range []int{0, 30, 100} {
		h.start(containers - had)
		had = containers
		idle := h.engineAlone()
		stats := h.stats() - idle
		cycles := h.cycles() - idle
		for i, loop := range h.loops(each, beats) {
			name := fmt.Sprintf("loop at %d containers, a sample every %s", containers, beats[i])
			Print(b, Result{Bench: name, Ours: loop - idle, Peer: stats, Unit: "% of a core", Against: "docker stats"})
			Print(b, Result{Bench: name, Ours: loop - idle, Peer: cycles, Unit: "% of a core", Against: "a cycle every 10 s"})
		}
	}
}

// host is winnows of the bench's own, and the containers that they look at.
type host struct {
	b       *testing.B
	peers   time.Duration // how long each of them lasts
	winnows []*winnow
	ids     []string
}

// winnow is one, which is up.
type winnow struct {
	settings []string
	logd     int // its process
}

func newHost(b *testing.B, peers time.Duration, winnows int) *host {
	h := &host{b: b, peers: peers}
	b.Cleanup(func() {
		if len(h.ids) > 0 {
			exec.Command("docker", append([]string{"rm", "--force"}, h.ids...)...).Run()
		}
	})
	for i := range winnows {
		h.winnows = append(h.winnows, newWinnow(b, fmt.Sprintf("winnow-bench%d", i)))
	}
	if out, err := h.winnows[0].script("images", "low-idle").CombinedOutput(); err != nil {
		b.Fatalf("images: %v\n%s", err, out)
	}
	return h
}

func newWinnow(b *testing.B, name string) *winnow {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listener.Close()
	w := &winnow{settings: []string{"WINNOW_NAME=" + name, "WINNOW_STATE=" + b.TempDir(), "WINNOW_SPAWN=0", "WINNOW_SOURCE=cgroup",
		"WINNOW_PORT=" + strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)}}
	b.Cleanup(func() { w.script("down").Run() })
	if out, err := w.script("up").CombinedOutput(); err != nil {
		b.Fatalf("up: %v\n%s", err, out)
	}
	pid, err := exec.Command("docker", "inspect", "--format", "{{.State.Pid}}", name+"-logd").Output()
	if err == nil {
		w.logd, err = strconv.Atoi(string(bytes.TrimSpace(pid)))
	}
	if err != nil {
		b.Fatalf("%s-logd: %v", name, err)
	}
	return w
}

func (w *winnow) script(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("../../../scripts/"+name, args...)
	cmd.Env = append(os.Environ(), w.settings...)
	return cmd
}

// start starts so many containers more, which rest and opted in.
func (h *host) start(more int) {
	for range more {
		id, err := exec.Command("docker", "run", "--detach", "--network", "none", "--label", "winnow.managed=true", "winnow/low-idle").Output()
		if err != nil {
			h.b.Fatal(err)
		}
		h.ids = append(h.ids, string(bytes.TrimSpace(id)))
	}
	time.Sleep(5 * time.Second) // a start costs dockerd more than what is measured
}

func (h *host) engineAlone() float64 {
	return shares(func() { time.Sleep(h.peers) }, nil)[0]
}

func (h *host) stats() float64 {
	return h.with(h.peers, client{Cmd: exec.Command("docker", "stats")})[0]
}

// loops are the shares of loops at once, in each of them all that the engine did for all.
func (h *host) loops(long time.Duration, beats []string) []float64 {
	var all []client
	for i, beat := range beats {
		cmd := h.winnows[i].script("loop")
		cmd.Env = append(cmd.Env, "WINNOW_INTERVAL="+beat)
		all = append(all, client{cmd, h.winnows[i].logd})
	}
	return h.with(long, all...)
}

// client is a command that goes on, and the logd that works for it, 0 for none.
type client struct {
	*exec.Cmd
	logd int
}

// with is the shares while clients go on, for so long, that have begun a while before.
func (h *host) with(long time.Duration, clients ...client) []float64 {
	var sets [][]int
	for _, c := range clients {
		if err := c.Start(); err != nil {
			h.b.Fatal(err)
		}
		sets = append(sets, []int{c.Process.Pid, c.logd})
	}
	time.Sleep(12 * time.Second)
	all := shares(func() { time.Sleep(long) }, sets...)
	for _, c := range clients {
		c.Process.Signal(syscall.SIGTERM)
		c.Wait()
	}
	return all
}

// cycles is the share of a cycle every 10 s, whose processes end each time.
func (h *host) cycles() float64 {
	var own time.Duration
	began := time.Now()
	share := shares(func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for ; time.Since(began) < h.peers-time.Second; <-tick.C {
			cmd := h.winnows[0].script("cycle")
			if err := cmd.Run(); err != nil {
				h.b.Fatal(err)
			}
			own += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
	}, []int{h.winnows[0].logd})[0]
	return share + 100*own.Seconds()/time.Since(began).Seconds()
}

// shares are the CPU, in percent of a core, that the engine and each of these sets of processes with their descendants
// use together while something lasts.
func shares(during func(), sets ...[]int) (all []float64) {
	before, began := look(), time.Now()
	during()
	after, took := look(), time.Since(began)
	for _, set := range sets {
		all = append(all, 100*(after.seconds(set)-before.seconds(set))/took.Seconds())
	}
	return all
}

// processes are those that there are, by their id.
type processes map[int]process

type process struct {
	parent  int
	engine  bool
	seconds float64 // of CPU until now, with its children that have ended
}

func look() processes {
	all := make(processes)
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		if open < 0 || end < 0 {
			continue
		}
		name, fields := string(text[open+1:end]), strings.Fields(string(text[end+1:]))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:open])))
		one := process{engine: name == "dockerd" || name == "containerd"}
		one.parent, _ = strconv.Atoi(fields[1])
		for _, field := range fields[11:15] {
			ticks, _ := strconv.ParseFloat(field, 64)
			one.seconds += ticks / 100
		}
		all[pid] = one
	}
	return all
}

// seconds is the CPU time of the engine, of these and of their descendants.
func (all processes) seconds(of []int) (sum float64) {
	for pid, one := range all {
		for at := pid; at > 1; at = all[at].parent {
			if all[at].engine || slices.Contains(of, at) {
				sum += one.seconds
				break
			}
		}
	}
	return sum
}
