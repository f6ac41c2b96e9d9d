package main

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/policy"
	"winnow/tools/internal/record"
)

// pipe is a classify of its own, in the middle of a long pipe.
type pipe struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startPipe(t *testing.T, args ...string) *pipe {
	t.Helper()
	p := &pipe{Cmd: exec.Command("classify", args...)}
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out, p.Stderr = in, bufio.NewReader(out), t.Output()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	return p
}

// judge gives it a snapshot, and gives what comes out up to its end.
func (p *pipe) judge(t *testing.T, snapshot string) (judged string) {
	t.Helper()
	go io.WriteString(p.in, snapshot)
	for {
		line, err := p.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if judged += line; strings.HasPrefix(line, `{"type":"end"`) {
			return judged
		}
	}
}

func snapshotsOf(stream string) (all []string) {
	for line := range strings.Lines(stream) {
		if strings.HasPrefix(line, `{"type":"host"`) {
			all = append(all, "")
		}
		all[len(all)-1] += line
	}
	return all
}

func writePolicy(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "p.toml")
	if err := os.WriteFile(path, []byte("version = 1\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// patient is a stream in which three break its rule, and one of them pauses.
func patient() (rule string, snapshots []string) {
	pauses := func(at time.Duration) float64 {
		if at > 40*time.Second && at < 70*time.Second {
			return 1
		}
		return 90
	}
	rule = "[[rule]]\nname = \"r\"\ncpu = \"> 50%\"\nfor = \"30s\"\nnotice = \"20s\"\nmost = \"1/200s\"\n"
	return rule, snapshotsOf(stream(10*time.Minute, 10*time.Second, steady(1e6),
		guest{id: 1, cpu: steady(95), memory: steady(1)}, guest{id: 2, cpu: pauses, memory: steady(1)}, guest{id: 3, cpu: steady(70), memory: steady(1)}))
}

// Killed between snapshots and begun again from its state it kills nobody earlier,
// no more than it may, and nobody without notice.
func TestKilledBetweenSnapshots(t *testing.T) {
	rule, snapshots := patient()
	path := writePolicy(t, rule)
	whole := startPipe(t, "--policy", path)
	killed := map[string]int{} // in which snapshot
	for i, s := range snapshots {
		for _, c := range containers(t, whole.judge(t, s)) {
			if _, already := killed[c.Name]; c.Verdict == record.VerdictKill && !already {
				killed[c.Name] = i
			}
		}
	}
	if len(killed) != 3 {
		t.Fatalf("killed %v", killed)
	}
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 0))
		state := filepath.Join(t.TempDir(), "state")
		p := startPipe(t, "--policy", path, "--state", state)
		warned, again := map[string]bool{}, []int{}
		gone := map[string]bool{}
		for i, s := range snapshots {
			for _, c := range containers(t, p.judge(t, s)) {
				warned[c.Name] = warned[c.Name] || c.Verdict == record.VerdictWarn
				if c.Verdict != record.VerdictKill || gone[c.Name] {
					continue
				}
				gone[c.Name], again = true, append(again, i)
				if i < killed[c.Name] || !warned[c.Name] {
					t.Errorf("seed %d: %s is killed in %d, without a crash in %d; warned: %t", seed, c.Name, i, killed[c.Name], warned[c.Name])
				}
			}
			if r.IntN(6) == 0 {
				p.Process.Kill()
				p.Wait()
				p = startPipe(t, "--policy", path, "--state", state)
			}
		}
		for n := 1; n < len(again); n++ {
			if again[n]-again[n-1] < 20 {
				t.Errorf("seed %d: kills in %v, more than one in 200 s", seed, again)
			}
		}
	}
}

// Patience is not written at each beat, but by a signal, and then nothing is lost.
func TestSignalKeepsPatience(t *testing.T) {
	rule, snapshots := patient()
	path, state := writePolicy(t, rule), filepath.Join(t.TempDir(), "state")
	whole := startPipe(t, "--policy", path)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		p := startPipe(t, "--policy", path, "--state", state)
		for range 2 {
			if got, want := p.judge(t, snapshots[0]), whole.judge(t, snapshots[0]); got != want {
				t.Errorf("before %v: got %s, want %s", sig, got, want)
			}
			snapshots = snapshots[1:]
		}
		before, _ := os.ReadFile(state)
		if begun := time.Now(); p.Process.Signal(sig) != nil || p.Wait() == nil || time.Since(begun) > time.Second {
			t.Errorf("%v: took %v", sig, time.Since(begun))
		}
		after, _ := os.ReadFile(state)
		if bytes.Equal(before, after) {
			t.Errorf("%v: kept nothing more", sig)
		}
	}
}

// A state that cannot be kept is said once, and the verdicts go on.
func TestStateCannotBeKept(t *testing.T) {
	rule, snapshots := patient()
	path := writePolicy(t, rule)
	var stdout, stderr strings.Builder
	err := run(t.Context(), []string{"--policy", path, "--state", filepath.Join(path, "state")}, strings.NewReader(""), io.Discard, io.Discard)
	if err == nil {
		t.Error("read a state from a folder that is a file")
	}
	state := filepath.Join(t.TempDir(), "nowhere", "state")
	err = run(t.Context(), []string{"--policy", path, "--state", state}, strings.NewReader(strings.Join(snapshots, "")), &stdout, &stderr)
	if err == nil || strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "classify: keeping what the policy remembers: ") {
		t.Errorf("ended with %v, said %s", err, stderr.String())
	}
	if !strings.Contains(stdout.String(), `"verdict":"kill"`) {
		t.Error("killed nobody")
	}
}

// Over a long time it remembers nothing of those that are gone.
func TestRemembersNoMoreThanThereIs(t *testing.T) {
	path, state := writePolicy(t, "[[rule]]\ncpu = \"> 50%\"\nfor = \"30s\"\nnotice = \"20s\"\nmost = \"3/1m\"\n"), filepath.Join(t.TempDir(), "state")
	var guests []guest
	for n := range 2000 {
		at := time.Duration(n) * time.Second
		guests = append(guests, guest{id: n, cpu: steady(95), memory: steady(1), from: at, before: at + 30*time.Second})
	}
	var f flags
	f.declare(cli.New("classify", "", "", io.Discard))
	j := &decider{flags: &f, path: path, state: state, saved: time.Now(), warn: t.Logf, complain: func(err error) { t.Error(err) }, memories: new(policy.Memories)}
	if err := j.start(); err != nil {
		t.Fatal(err)
	}
	a := newAssembler(j, bufio.NewWriter(io.Discard), func(err error) { t.Error(err) })
	largest, ids, spare := 0, 0, 0
	for line, err := range record.Records(strings.NewReader(stream(2000*time.Second, time.Second, steady(1e6), guests...))) {
		if err != nil {
			t.Fatal(err)
		}
		a.add(line)
		ids, spare = max(ids, len(a.ids)), max(spare, len(a.spare))
		if line.Type() == record.TypeEnd {
			a.judgedBy = nil // what is written is not the point
			text, err := j.memories.Encode()
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, len(text))
		}
	}
	if ids > 31 || spare > 31 || largest > 31*250+2000 {
		t.Errorf("held %d ids, %d spare ones and a state of %d bytes", ids, spare, largest)
	}
	if slices.Contains([]int{ids, spare, largest}, 0) {
		t.Error("saw nothing")
	}
}
