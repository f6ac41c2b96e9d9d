package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLoop measures the CPU of all of winnow, what it has dockerd and logd do
// included, in percent of a core, at 0, 30 and 100 containers: the loop at two beats,
// for WINNOW_BENCH_LOOP or a minute each, and for a quarter of it, but a minute at
// least, a cycle every 10 s, `docker stats`, and the engine when nobody asks it.
func BenchmarkLoop(b *testing.B) {
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		b.Skipf("needs a Docker engine: %s", out)
	}
	each, err := time.ParseDuration(cmp.Or(os.Getenv("WINNOW_BENCH_LOOP"), "1m"))
	if err != nil {
		b.Fatal(err)
	}
	h := newHost(b, max(each/4, min(each, time.Minute)))
	had := 0
	for _, containers := range []int{0, 30, 100} {
		h.start(containers - had)
		had = containers
		idle := h.engineAlone()
		stats := h.stats() - idle
		cycles := h.cycles() - idle
		for _, beat := range []string{"10s", "1s"} {
			loop := h.loop(beat, each) - idle
			name := fmt.Sprintf("loop at %d containers, a sample every %s", containers, beat)
			Print(b, Result{Bench: name, Ours: loop, Peer: stats, Unit: "% of a core", Against: "docker stats"})
			Print(b, Result{Bench: name, Ours: loop, Peer: cycles, Unit: "% of a core", Against: "a cycle every 10 s"})
		}
	}
}

// host is a winnow of the bench's own, and the containers that it looks at.
type host struct {
	b     *testing.B
	peers time.Duration // how long each of them lasts
	state string
	port  string
	ids   []string
}

func newHost(b *testing.B, peers time.Duration) *host {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	listener.Close()
	h := &host{b: b, peers: peers, state: b.TempDir(), port: strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)}
	b.Cleanup(func() {
		if len(h.ids) > 0 {
			exec.Command("docker", append([]string{"rm", "--force"}, h.ids...)...).Run()
		}
		h.script("down").Run()
	})
	for _, words := range [][]string{{"up"}, {"images", "low-idle"}} {
		if out, err := h.script(words[0], words[1:]...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", words, err, out)
		}
	}
	return h
}

func (h *host) script(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("../../../scripts/"+name, args...)
	cmd.Env = append(os.Environ(), "WINNOW_NAME=winnow-bench", "WINNOW_STATE="+h.state, "WINNOW_PORT="+h.port, "WINNOW_SPAWN=0", "WINNOW_SOURCE=cgroup")
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

func (h *host) engineAlone() float64 { return h.share(func() { time.Sleep(h.peers) }) }

func (h *host) stats() float64 {
	return h.with(exec.Command("docker", "stats"), h.peers)
}

func (h *host) loop(beat string, each time.Duration) float64 {
	cmd := h.script("loop")
	cmd.Env = append(cmd.Env, "WINNOW_INTERVAL="+beat)
	return h.with(cmd, each)
}

// with is the share while a command goes on, for so long, that has begun a while before.
func (h *host) with(cmd *exec.Cmd, long time.Duration) float64 {
	if err := cmd.Start(); err != nil {
		h.b.Fatal(err)
	}
	time.Sleep(12 * time.Second)
	share := h.share(func() { time.Sleep(long) }, cmd.Process.Pid)
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	return share
}

// cycles is the share of a cycle every 10 s, whose processes end each time.
func (h *host) cycles() float64 {
	var own time.Duration
	began := time.Now()
	share := h.share(func() {
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for ; time.Since(began) < h.peers-time.Second; <-tick.C {
			cmd := h.script("cycle")
			if err := cmd.Run(); err != nil {
				h.b.Fatal(err)
			}
			own += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
	})
	return share + 100*own.Seconds()/time.Since(began).Seconds()
}

// share is the CPU, in percent of a core, that the engine, logd and the processes
// with their descendants use while something lasts.
func (h *host) share(during func(), pids ...int) float64 {
	before, began := h.used(pids), time.Now()
	during()
	return 100 * (h.used(pids) - before) / time.Since(began).Seconds()
}

// used is the CPU time in seconds until now.
func (h *host) used(pids []int) (seconds float64) {
	parents, cpu := make(map[int]int), make(map[int]float64)
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		if open < 0 || end < 0 {
			continue
		}
		fields := strings.Fields(string(text[end+1:]))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:open])))
		parents[pid], _ = strconv.Atoi(fields[1])
		var ticks float64
		for _, field := range fields[11:15] { // of its children that have ended, too
			n, _ := strconv.ParseFloat(field, 64)
			ticks += n
		}
		cpu[pid] = ticks / 100
		switch string(text[open+1 : end]) {
		case "dockerd", "containerd", "logd":
			pids = append(pids, pid)
		}
	}
	wanted := make(map[int]bool)
	for _, pid := range pids {
		wanted[pid] = true
	}
	for pid := range cpu {
		for of := pid; of > 1; of = parents[of] {
			if wanted[of] {
				seconds += cpu[pid]
				break
			}
		}
	}
	return seconds
}
