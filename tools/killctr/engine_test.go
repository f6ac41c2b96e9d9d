package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/dockertest"
	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

func TestBadLines(t *testing.T)  { filtertest.BadLines(t, run) }
func TestGoodLines(t *testing.T) { filtertest.GoodLines(t, run) }

// engine answers as Docker does, for containers that do as the test says.
type engine struct {
	mu      sync.Mutex
	labels  string
	started time.Time
	exit    int // the exit code; -1 while it runs
	stop    func(*engine, http.ResponseWriter, *http.Request)
	remove  int // the status of a removal
	stops   atomic.Int32
	stopped sync.Map // ids that no longer run, whatever exit says
}

// newEngine makes one whose containers may be killed, and stop at once.
func newEngine(t testing.TB) *engine {
	e := &engine{labels: `{"winnow.managed":"true"}`, started: time.Now().Add(-time.Hour), exit: -1, remove: 204}
	e.stop = func(e *engine, w http.ResponseWriter, _ *http.Request) { e.exited(143); w.WriteHeader(204) }
	mux := dockertest.Engine(t)
	mux.HandleFunc("GET /v1.41/containers/{id}/json", e.inspect)
	mux.HandleFunc("POST /v1.41/containers/{id}/stop", func(w http.ResponseWriter, r *http.Request) {
		e.stops.Add(1)
		e.stop(e, w, r)
	})
	mux.HandleFunc("DELETE /v1.41/containers/{id}", func(w http.ResponseWriter, r *http.Request) {
		if e.remove >= 400 {
			http.Error(w, map[int]string{409: "removal is already in progress", 500: "device is busy"}[e.remove], e.remove)
		}
	})
	return e
}

func (e *engine) exited(code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.exit = code
}

func (e *engine) inspect(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, stopped := e.stopped.Load(r.PathValue("id"))
	fmt.Fprintf(w, `{"Id":%q,"State":{"Running":%v,"ExitCode":%d,"StartedAt":%q},"Config":{"Labels":%s}}`,
		r.PathValue("id"), e.exit < 0 && !stopped, max(e.exit, 0), e.started.Format(time.RFC3339Nano), e.labels)
}

// condemned is the line of a container that is to be killed, sampled that long
// ago.
func condemned(id string, age time.Duration) string {
	return fmt.Sprintf(`{"type":"container","time":%q,"host":"h","snapshot":"s","id":%q,"name":"web","image":"low","class":"high","verdict":"kill","reason":"too <heavy>"}`+"\n",
		time.Now().Add(-age).UTC().Format(time.RFC3339Nano), id)
}

// kill runs killctr over the stream and gives its kill lines and error.
func kill(t *testing.T, in string, args ...string) ([]record.Kill, error) {
	t.Helper()
	var stdout, stderr strings.Builder
	err := run(t.Context(), args, strings.NewReader(in), &stdout, &stderr)
	kills := killLines(t, stdout.String())
	if got := strings.Count(stdout.String(), "\n") - len(kills); got != strings.Count(in, "\n") {
		t.Errorf("passed %d lines on: %s", got, stdout.String())
	}
	return kills, err
}

func killLines(t *testing.T, stream string) (kills []record.Kill) {
	t.Helper()
	for text := range strings.Lines(stream) {
		var kill record.Kill
		if err := json.Unmarshal([]byte(text), &kill); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if kill.Type == record.TypeKill {
			kills = append(kills, kill)
		}
	}
	return kills
}

func TestOutcomes(t *testing.T) {
	now, id := time.Now(), filtertest.ID(1)
	tests := []struct {
		name, line   string
		args         []string
		change       func(*engine)
		result, says string
		stops        int32
		fails        bool
	}{
		{"killed", condemned(id, 0), nil, func(*engine) {}, "killed", "", 1, false},
		{"killed, a minute old by far", condemned(id, 50*time.Second), nil, func(*engine) {}, "killed", "", 1, false},
		{"dry run", condemned(id, 0), []string{"--dry-run"}, func(*engine) {}, "dry_run", "", 0, false},
		{"too old", condemned(id, 61*time.Second), nil, func(*engine) {}, "stale", "the sample is 1m1s old, more than 1m0s", 0, false},
		{"from the future", condemned(id, -10*time.Second), nil, func(*engine) {}, "stale", "in the future", 0, false},
		{"clock set back a little", condemned(id, -2*time.Second), nil, func(*engine) {}, "killed", "", 1, false},
		{"no time", strings.Replace(condemned(id, 0), `"time"`, `"when"`, 1), nil, func(*engine) {}, "stale", "the sample has no time", 0, false},
		{"restarted", condemned(id, 5*time.Second), nil, func(e *engine) { e.started = now }, "stale", "started since the sample", 0, false},
		{"not running", condemned(id, 0), nil, func(e *engine) { e.exit = 0 }, "gone", "it is not running", 0, false},
		{"protected", condemned(id, 0), []string{"--all"}, func(e *engine) { e.labels = `{"winnow.managed":"true","winnow.protect":"true"}` },
			"protected", "labelled winnow.protect=true", 0, false},
		{"protected, dry run", condemned(id, 0), []string{"--dry-run"}, func(e *engine) { e.labels = `{"winnow.managed":"true","winnow.protect":"true"}` },
			"protected", "labelled winnow.protect=true", 0, false},
		{"not managed", condemned(id, 0), nil, func(e *engine) { e.labels = `null` }, "protected", "not labelled winnow.managed=true", 0, false},
		{"not managed, but all", condemned(id, 0), []string{"--all"}, func(e *engine) { e.labels = `null` }, "killed", "", 1, false},
		{"removed meanwhile", condemned(id, 0), []string{"--rm"}, func(e *engine) { e.remove = 409 }, "killed", "", 1, false},
		{"not removed", condemned(id, 0), []string{"--rm"}, func(e *engine) { e.remove = 500 }, "killed", "", 1, true},
		{"restarted in between", condemned(id, 0), nil, func(e *engine) {
			e.stop = func(e *engine, _ http.ResponseWriter, _ *http.Request) {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.started = time.Now()
			}
		}, "stale", "started since the sample", 1, false},
		{"Docker fails twice", condemned(id, 0), nil, func(e *engine) {
			e.stop = func(e *engine, w http.ResponseWriter, _ *http.Request) {
				if e.stops.Load() < 3 {
					panic(http.ErrAbortHandler) // the connection breaks
				}
				e.exited(137)
			}
		}, "killed", "", 3, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := newEngine(t)
			test.change(e)
			kills, err := kill(t, test.line, test.args...)
			if (err != nil) != test.fails {
				t.Errorf("ended with %v", err)
			}
			if len(kills) != 1 {
				t.Fatalf("%d kill lines", len(kills))
			}
			got := kills[0]
			if got.Result != test.result || !strings.Contains(got.Error, test.says) || (test.says == "") != (got.Error == "") {
				t.Errorf("got %+v", got)
			}
			if (got.Signal != "") != (test.result == "killed") {
				t.Errorf("signal %q of %s", got.Signal, got.Result)
			}
			if got.ID != id || got.Name != "web" || got.Image != "low" || got.Class != "high" || got.Reason != "too <heavy>" ||
				got.Host != "h" || got.Snapshot != "s" || time.Since(got.Time) > time.Minute {
				t.Errorf("got %+v", got)
			}
			if e.stops.Load() != test.stops {
				t.Errorf("stopped %d times, want %d", e.stops.Load(), test.stops)
			}
		})
	}
}

// A container named twice, in one snapshot or while it is being killed, is
// killed once.
func TestSameContainerTwice(t *testing.T) {
	newEngine(t)
	line, other := condemned(filtertest.ID(1), 0), condemned(filtertest.ID(2), 0)
	kills, err := kill(t, line+other+line)
	if err != nil || len(kills) != 2 {
		t.Errorf("got %+v, %v", kills, err)
	}
}

func TestStopSignal(t *testing.T) {
	for configured, want := range map[string]string{"": "SIGTERM", "15": "SIGTERM", "9": "SIGKILL", "term": "SIGTERM",
		"SIGQUIT": "SIGQUIT", "RTMIN+3": "SIGRTMIN+3", "64": "64"} {
		if got := stopSignal(configured); got != want {
			t.Errorf("%q: got %s, want %s", configured, got, want)
		}
	}
}

// 300 kills are under way at most 128 at a time, while all lines pass at once.
func TestBoundedAndNotBlocking(t *testing.T) {
	e := newEngine(t)
	release := make(chan struct{})
	var now, most atomic.Int32
	e.stop = func(_ *engine, w http.ResponseWriter, _ *http.Request) {
		for n := now.Add(1); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		<-release
		now.Add(-1)
		http.Error(w, `{"message":"removed"}`, 404)
	}
	stdin, feed := io.Pipe()
	answer, stdout := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(t.Context(), nil, stdin, stdout, io.Discard); stdout.Close() }()
	lines := bufio.NewReader(answer)
	for n := range 300 {
		text := condemned(filtertest.ID(n), 0)
		go io.WriteString(feed, text)
		if got, err := lines.ReadString('\n'); err != nil || got != text {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	feed.Close()
	for most.Load() < parallel {
		time.Sleep(time.Millisecond)
	}
	e.exited(0)
	close(release)
	rest, _ := io.ReadAll(lines)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if kills := killLines(t, string(rest)); len(kills) != 300 {
		t.Errorf("%d kill lines", len(kills))
	}
	if most.Load() != parallel {
		t.Errorf("%d at a time", most.Load())
	}
}

// start runs killctr as a process that has one kill under way, and gives what
// ends that kill.
func start(t *testing.T, stdout io.Writer) (cmd *exec.Cmd, feed io.WriteCloser, finish func()) {
	e := newEngine(t)
	begun, release := make(chan struct{}), make(chan struct{})
	e.stop = func(e *engine, _ http.ResponseWriter, r *http.Request) {
		close(begun)
		select {
		case <-release:
			e.exited(0)
		case <-r.Context().Done():
		}
	}
	cmd = exec.Command("killctr")
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	feed, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	io.WriteString(feed, condemned(filtertest.ID(1), 0))
	<-begun
	return cmd, feed, func() { close(release) }
}

// A first signal lets the kill under way come to its end, though the input goes
// on, and begins no other.
func TestInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			var stdout strings.Builder
			cmd, feed, finish := start(t, &stdout)
			cmd.Process.Signal(signal)
			time.Sleep(100 * time.Millisecond) // until it is delivered
			io.WriteString(feed, condemned(filtertest.ID(2), 0))
			finish()
			err := cmd.Wait()
			if cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("ended with %v", err)
			}
			kills := killLines(t, stdout.String())
			if len(kills) != 1 || kills[0].Result != record.ResultKilled {
				t.Errorf("got %s", stdout.String())
			}
		})
	}
}

func TestSecondInterrupt(t *testing.T) {
	var stdout strings.Builder
	cmd, _, _ := start(t, &stdout)
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	for {
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
				t.Errorf("ended with %v", err)
			}
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Kills go on when nobody reads of them any more.
func TestReaderGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd, feed, finish := start(t, w)
	r.Close()
	w.Close()
	feed.Close()
	finish()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
}

func TestGivesUp(t *testing.T) {
	e := newEngine(t)
	e.stop = func(_ *engine, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"tried to kill container, but did not receive an exit event"}`, 500)
	}
	var stdout, stderr strings.Builder
	k := newKiller(context.Background(), settings{maxAge: time.Minute, timeout: time.Second, patience: time.Second},
		&output{w: &stdout, complain: func(err error) { fmt.Fprintln(&stderr, err) }})
	if err := k.readAll(strings.NewReader(condemned(filtertest.ID(1), 0))); err != nil {
		t.Fatal(err)
	}
	k.wait()
	kills := killLines(t, stdout.String())
	if len(kills) != 1 || kills[0].Result != record.ResultFailed ||
		!strings.Contains(kills[0].Error, "gave up after 1s: it still runs: ") || !strings.Contains(kills[0].Error, "exit event") {
		t.Errorf("got %+v", kills)
	}
	if !strings.Contains(stderr.String(), "container 000000000000 web: not killed: gave up") {
		t.Errorf("said %q", stderr.String())
	}
}
