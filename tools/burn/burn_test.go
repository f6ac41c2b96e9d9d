package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/cli"
)

// program is burn, built once, and as it is built to be used: a race detector
// would have memory and work of its own.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "winnow-burn-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "burn")
		if said, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v: %s", err, said))
		}
		return m.Run()
	}())
}

// load is a burn that runs.
type load struct {
	*testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer // to be read once it has ended
	ended          chan error
}

// start runs burn as a process of its own, which the test's end ends.
func start(t *testing.T, args ...string) *load {
	t.Helper()
	l := &load{T: t, cmd: exec.Command(program, args...), ended: make(chan error, 1)}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.cmd.Stdout, l.cmd.Stderr = &l.stdout, &l.stderr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { l.ended <- l.cmd.Wait() }()
	t.Cleanup(func() { l.cmd.Process.Kill() })
	return l
}

// await waits until done is true, for which the load must run on.
func (l *load) await(what string, done func() bool) {
	l.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-l.ended:
			l.Fatalf("%s: ended by itself: %v: %s", what, err, &l.stderr)
		default:
		}
		if time.Now().After(deadline) {
			l.Fatalf("%s: not within a minute", what)
		}
	}
}

// stop sends a signal, on which the load must end well.
func (l *load) stop(signal os.Signal) {
	l.Helper()
	if err := l.cmd.Process.Signal(signal); err != nil {
		l.Fatal(err)
	}
	select {
	case err := <-l.ended:
		if err != nil || l.stderr.Len() > 0 {
			l.Errorf("after %v: %v: %s", signal, err, &l.stderr)
		}
	case <-time.After(time.Minute):
		l.Fatalf("goes on after %v", signal)
	}
}

// file reads one of the process's files in procfs; "" when it has ended.
func (l *load) file(name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", l.cmd.Process.Pid, name))
	return string(text)
}

// kB is the number on the line of the file that begins with key.
func (l *load) kB(file, key string) int {
	_, rest, _ := strings.Cut("\n"+l.file(file), "\n"+key+":")
	n, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return n
}

// used is the CPU time of the process's threads.
func (l *load) used() (sum time.Duration) {
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", l.cmd.Process.Pid))
	for _, task := range tasks {
		var ns time.Duration
		fmt.Sscan(l.file("task/"+task.Name()+"/schedstat"), &ns)
		sum += ns
	}
	return sum
}

func TestCPUIsUsedAndIdleIsNot(t *testing.T) {
	idle, busy := start(t, "idle"), start(t, "cpu")
	const much = 300 * time.Millisecond
	busy.await("busy", func() bool { return busy.used() >= much })
	if used := idle.used(); used > much/2 {
		t.Errorf("the idle one used %v", used)
	}
	idle.stop(syscall.SIGTERM)
	busy.stop(syscall.SIGINT)
}

// There are as many workers as were asked for, while it runs and no longer.
func TestWorkers(t *testing.T) {
	workers := func() int {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "created by winnow/tools/burn.spin")
	}
	await := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); workers() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d workers, want %d", workers(), want)
			}
		}
	}
	for want, args := range map[int][]string{1: {"cpu"}, 3: {"cpu", "--workers", "3"}} {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, args, nil, io.Discard, io.Discard) }()
		await(want)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		await(0)
	}
}

// What is said is held, no more and no less, and used again and again so that
// it is not swapped out, until the end.
func TestMemoryIsHeldUntilTheEnd(t *testing.T) {
	const slackKB = 32 << 10 // the program itself
	tests := []struct {
		args []string
		kB   int
	}{
		{[]string{"--size", "64MB"}, 64 << 10},
		{[]string{"--size", "150000001"}, 150000001 >> 10},
		{nil, 96 << 10},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			l := start(t, append([]string{"memory"}, test.args...)...)
			l.await("memory", func() bool { return l.kB("status", "VmRSS") >= test.kB })
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", l.cmd.Process.Pid), []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			l.await("touched again", func() bool { return l.kB("smaps_rollup", "Referenced") >= test.kB })
			if held := l.kB("status", "VmRSS"); held < test.kB || held > test.kB+slackKB {
				t.Errorf("holds %d kB, want %d", held, test.kB)
			}
			l.stop(syscall.SIGTERM)
		})
	}
}

// What is to take a while takes it, and says when that begins.
func TestMemoryIsTakenAtItsRate(t *testing.T) {
	t.Parallel()
	const (
		wait    = 500 * time.Millisecond
		rateKB  = 20 << 10
		enough  = 64 << 10
		slackKB = 16 << 10 // the program itself
	)
	started := time.Now()
	l := start(t, "memory", "--size", "64GB", "--rate", "20MB", "--wait", wait.String())
	l.await("memory", func() bool { return l.kB("status", "VmRSS") >= enough })
	if took, least := time.Since(started), wait+time.Second*(enough-slackKB)/rateKB; took < least {
		t.Errorf("took %d kB within %v, which takes %v", enough, took, least)
	}
	l.stop(syscall.SIGTERM)
	var said struct{ Begins time.Time }
	err := json.Unmarshal(l.stdout.Bytes(), &said)
	if begins := said.Begins; err != nil || begins.Before(started.Add(wait)) || begins.After(time.Now()) {
		t.Errorf("started at %v, said %q: %v", started, &l.stdout, err)
	}
}

// Who takes memory without end can be ended at any time.
func TestTakingMemoryCanBeEnded(t *testing.T) {
	t.Parallel()
	l := start(t, "memory", "--size", "64GB", "--rate", "1GB")
	l.await("memory", func() bool { return l.kB("status", "VmRSS") >= 64<<10 })
	l.stop(syscall.SIGTERM)
}

func TestWebAnswers(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	l := start(t, "web", "--listen", address)
	var body []byte
	l.await("web", func() bool {
		answer, err := (&http.Client{Timeout: 10 * time.Second}).Get("http://" + address)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		body, err = io.ReadAll(answer.Body)
		return err == nil
	})
	if string(body) != "a light container\n" {
		t.Errorf("answered %q", body)
	}
	l.stop(syscall.SIGTERM)
}

func TestAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = run(t.Context(), []string{"web", "--listen", taken.Addr().String()}, nil, io.Discard, io.Discard)
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v", err)
	}
}

// What ends with its context ends at once and well.
func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{{"cpu"}, {"memory", "--size", "1MB"}, {"idle"}, {"web", "--listen", "127.0.0.1:0"}} {
		ended := make(chan error, 1)
		go func() { ended <- run(ctx, args, nil, io.Discard, io.Discard) }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%v: %v", args, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%v goes on", args)
		}
	}
}

func TestMisuse(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "not a kind of load"},
		{[]string{"fire"}, `not a kind of load: "fire"`},
		{[]string{"cpu", "idle"}, `unexpected argument: "idle"`},
		{[]string{"cpu", "--workers", "0"}, "--workers is 0, and must be at least 1"},
		{[]string{"cpu", "--workers", "-1"}, "--workers is -1, and must be at least 1"},
		{[]string{"cpu", "--workers", "2.5"}, `--workers: not a whole number: "2.5"`},
		{[]string{"memory", "--size", "x"}, `--size: not a size such as 64MB: "x"`},
		{[]string{"memory", "--rate", "fast"}, `--rate: not a size such as 64MB: "fast"`},
		{[]string{"memory", "--wait", "-1s"}, "--wait is -1s, and must not be negative"},
		{[]string{"memory", "--size", "-1"}, `--size: not a size such as 64MB: "-1"`},
	}
	for _, test := range tests {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := run(ctx, test.args, nil, io.Discard, io.Discard)
		cancel()
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want a usage error: %s", strings.Join(test.args, " "), err, test.want)
		}
	}
}
