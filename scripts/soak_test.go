package scripts

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

const soakPolicy = `version = 1

[[rule]]
name = "old"
match = ["label=soak=go"]
age = "> 4s"
grace = "1s"
`

// soakStages are killed in turn.
var soakStages = []string{"classify", "readsysinfo", "logpost", "namectr", "killctr"}

// TestSoak keeps a loop with a beat of 100 ms going, for as long as WINNOW_SOAK says
// (20m, say), else in short: containers come and go, the engine goes away and comes
// back, and so does logd, and stages are killed.
func TestSoak(t *testing.T) {
	long := 40 * time.Second
	pause := 15 * time.Second // at most, of what shares its processors with the other tests
	if text := os.Getenv("WINNOW_SOAK"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		pause = 5 * time.Second
	}
	w := newWorld(t, "WINNOW_SPAWN=0", "WINNOW_INTERVAL=100ms", "WINNOW_SPAN=500ms", "WINNOW_ENFORCE=1", "WINNOW_GRACE=2s")
	policy := filepath.Join(t.TempDir(), "soak.toml")
	if err := os.WriteFile(policy, []byte(soakPolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	w.settings = append(w.settings, "WINNOW_POLICY="+policy)
	w.run(0, "up")
	gate := newEngineGate(t)
	loop := w.command("loop")
	loop.Env = append(loop.Env, "DOCKER_HOST=unix://"+gate.address)
	governor := w.start(loop)
	w.eventually("a snapshot is in the log", func() bool { return len(w.snapshots()) > 0 })

	s := &soak{world: w, began: time.Now(), stay: map[string]bool{}, stages: map[string]*stageUse{}}
	s.run(long, gate)
	time.Sleep(2 * time.Second) // what is on its way comes
	governor.Process.Signal(syscall.SIGTERM)
	stopped := time.Now()
	if status := governor.wait(); status != 0 || time.Since(stopped) > pause {
		t.Errorf("the loop ended with status %d, %v after it was told to", status, time.Since(stopped))
	}
	w.run(0, "cycle", "--dry-run") // it delivers what is left in the spool
	s.check(pause)
	if t.Failed() {
		t.Logf("the loop said:\n%s", governor.output())
	}
	w.run(0, "down")
	if left := w.left(); len(left) > 0 {
		t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
}

// soak is what happens while it lasts, and what was seen.
type soak struct {
	*world
	began  time.Time
	stay   map[string]bool // containers that no rule is about
	killed int             // stages that were
	stages map[string]*stageUse
}

// stageUse is the most that a stage used, and its memory over the life of one process.
type stageUse struct {
	pid         int
	memoryKB    []int
	maxKB, maxF int
	grown       int // KiB, from the first third of the last life to its last
}

// run lets things happen, each at its share of the time.
func (s *soak) run(long time.Duration, gate *gate) {
	away := max(long/20, 3*time.Second)
	kill, look, come := time.NewTicker(max(long/10, 11*time.Second)), time.NewTicker(time.Second), time.NewTicker(2*time.Second)
	defer kill.Stop()
	defer look.Stop()
	defer come.Stop()
	at := func(share float64) <-chan time.Time { return time.After(time.Duration(share * float64(long))) }
	engineGone, logGone, end := at(0.23), at(0.53), time.After(long)
	var engineBack, logBack <-chan time.Time
	var leaving []string
	logd := s.name + "-logd"
	for n := 0; ; {
		select {
		case <-end:
			return
		case <-engineGone:
			gate.close()
			engineBack = time.After(away)
		case <-engineBack:
			gate.open()
		case <-logGone:
			if err := s.docker.ContainerStop(s.t.Context(), logd, container.StopOptions{}); err != nil {
				s.t.Fatal(err)
			}
			logBack = time.After(away)
		case <-logBack:
			if err := s.docker.ContainerStart(s.t.Context(), logd, container.StartOptions{}); err != nil {
				s.t.Fatal(err)
			}
		case <-kill.C:
			s.kill(soakStages[s.killed%len(soakStages)])
			s.killed++
		case <-look.C:
			s.look()
		case <-come.C:
			n++
			if id := s.managed([]string{"soak=go", "soak=stay"}[n%2], false); n%2 == 1 {
				s.stay[id] = true
				leaving = append(leaving, id)
			}
			if len(leaving) > 4 {
				s.docker.ContainerRemove(s.t.Context(), leaving[0], container.RemoveOptions{Force: true})
				leaving = leaving[1:]
			}
		}
	}
}

func (s *soak) kill(stage string) {
	for pid := range s.running() {
		if comm(pid) == stage {
			syscall.Kill(pid, syscall.SIGKILL)
			return
		}
	}
	s.t.Errorf("%v: there is no %s to kill", time.Since(s.began), stage)
}

// running are the processes of this world's pipeline.
func (s *soak) running() map[int]bool {
	all := make(map[int]bool)
	for _, pid := range s.processes("") {
		all[pid] = true
	}
	return all
}

func comm(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

// look notes what the stages use.
func (s *soak) look() {
	for pid := range s.running() {
		name := comm(pid)
		if !slices.Contains(soakStages, name) {
			continue
		}
		statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		fields := strings.Fields(string(statm))
		if len(fields) < 2 {
			continue
		}
		pages, _ := strconv.Atoi(fields[1])
		use := s.stages[name]
		if use == nil {
			use = &stageUse{}
			s.stages[name] = use
		}
		if use.pid != pid {
			use.pid, use.memoryKB = pid, nil
		}
		kb := pages * os.Getpagesize() / 1024
		use.memoryKB = append(use.memoryKB, kb)
		use.maxKB, use.maxF = max(use.maxKB, kb), max(use.maxF, len(files))
		if third := len(use.memoryKB) / 3; third > 20 {
			use.grown = slices.Max(use.memoryKB[2*third:]) - slices.Max(use.memoryKB[:third])
		}
	}
}

// check holds what came to the log to what was done.
func (s *soak) check(pause time.Duration) {
	t := s.t
	t.Helper()
	all := s.snapshots()
	var times []time.Time
	cut := 0
	for _, one := range all {
		if one.hosts > 1 || one.ends > 1 || one.twice != "" {
			t.Errorf("snapshot %s: %d host lines, %d ends, twice %q", one.name, one.hosts, one.ends, one.twice)
		}
		if one.ends == 0 || one.hosts == 0 || one.lines != one.counted {
			cut++
		}
		times = append(times, one.at)
	}
	slices.SortFunc(times, time.Time.Compare)
	longest, at := time.Duration(0), time.Time{}
	for i := 1; i < len(times); i++ {
		if gap := times[i].Sub(times[i-1]); gap > longest {
			longest, at = gap, times[i-1]
		}
	}
	killed, doubled := s.killLines()
	t.Logf("%d snapshots, %d of them cut short by %d stages that were killed; the longest pause was %v; %d kills; stays: %d",
		len(all), cut, s.killed, longest.Round(time.Millisecond), len(killed), len(s.stay))
	for _, name := range slices.Sorted(maps.Keys(s.stages)) {
		use := s.stages[name]
		t.Logf("%s: at most %.1f MiB and %d descriptors; grown by %.1f MiB in its last life", name, float64(use.maxKB)/1024, use.maxF, float64(use.grown)/1024)
		files := 64
		if name == "readsysinfo" {
			files = 400 // it keeps those of each container open, and there are other tests' containers
		}
		if use.maxKB > 64<<10 || use.maxF > files || use.grown > 8<<10 {
			t.Errorf("%s grows: %+v", name, use)
		}
	}
	if longest > pause {
		t.Errorf("no snapshot for %v from %v on, %v after the start", longest, at, at.Sub(s.began))
	}
	if cut > s.killed {
		t.Errorf("%d snapshots are not whole, but only %d stages were killed", cut, s.killed)
	}
	if doubled != "" || len(killed) == 0 {
		t.Errorf("%d kills, twice: %q", len(killed), doubled)
	}
	for id := range s.stay {
		if s.isStopped(id) || killed[id] != "" {
			t.Errorf("killed, though no rule is about it: %s, %q", id, killed[id])
		}
	}
	if lost := s.unlogged(); len(lost) > s.killed {
		t.Errorf("stopped without a line, more than stages were killed: %v", lost)
	}
}

// soakSnapshot is one of which lines are in the log.
type soakSnapshot struct {
	name           string
	at             time.Time
	hosts, ends    int
	lines, counted int    // in the log, and as the end line says
	twice          string // a container that is in it twice
	ids            map[string]bool
}

// lines hands on all lines of the log and the spool.
func (w *world) lines(take func(line []byte)) {
	for _, pattern := range []string{"log/*.jsonl", "spool/*.ndjson"} {
		files, _ := filepath.Glob(filepath.Join(w.state, pattern))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				take([]byte(line))
			}
		}
	}
}

// snapshots are those of which there are lines in the log.
func (w *world) snapshots() map[string]*soakSnapshot {
	all := make(map[string]*soakSnapshot)
	w.lines(func(line []byte) {
		var in struct {
			Type, Snapshot, ID string
			Time               time.Time
			Lines              int
		}
		if json.Unmarshal(line, &in) != nil || !slices.Contains([]string{"host", "container", "end"}, in.Type) {
			return
		}
		one := all[in.Snapshot]
		if one == nil {
			one = &soakSnapshot{name: in.Snapshot, at: in.Time, ids: map[string]bool{}}
			all[in.Snapshot] = one
		}
		switch in.Type {
		case "host":
			one.hosts++
			one.lines++
		case "end":
			one.ends++
			one.counted = in.Lines
		default:
			one.lines++
			if one.ids[in.ID] {
				one.twice = in.ID
			}
			one.ids[in.ID] = true
		}
	})
	return all
}

// killLines are the results of the kill lines by container, and one that was killed twice.
func (w *world) killLines() (results map[string]string, doubled string) {
	results = make(map[string]string)
	w.lines(func(line []byte) {
		var kill struct{ Type, ID, Result string }
		if json.Unmarshal(line, &kill) != nil || kill.Type != "kill" {
			return
		}
		if results[kill.ID] == "killed" && kill.Result == "killed" {
			doubled = kill.ID
		}
		if results[kill.ID] != "killed" {
			results[kill.ID] = kill.Result
		}
	})
	return results, doubled
}
