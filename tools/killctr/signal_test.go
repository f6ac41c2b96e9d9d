package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// underWay is killctr as a process, with container 1's kill under way and
// Docker asked about container 2.
type underWay struct {
	*exec.Cmd
	e      *engine
	feed   io.WriteCloser
	stdout *bufio.Reader
	pipe   io.Closer // what stdout reads from
	stderr lockedBuffer
	finish func() // ends container 1
}

func start(t *testing.T, command ...string) *underWay {
	t.Helper()
	e := newEngine(t, 4)
	begun, release := make(chan struct{}), make(chan struct{})
	e.onStop = func(b *box, r *http.Request) *answer {
		if b != e.box(1) {
			return nil
		}
		close(begun)
		select {
		case <-release:
			return nil
		case <-r.Context().Done():
			return &answer{500, "too late"}
		}
	}
	asked := make(chan struct{})
	e.onInspect = func(b *box, r *http.Request) *answer {
		if b != e.box(2) {
			return nil
		}
		close(asked)
		return hang(b, r)
	}
	// Where the tests run under nohup, killctr does not.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(heard) })
	u := &underWay{Cmd: exec.Command(command[0], command[1:]...), e: e, finish: func() { close(release) }}
	u.Stderr = &u.stderr
	stdin, err := u.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := u.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Process.Kill() })
	u.feed, u.stdout, u.pipe = stdin, bufio.NewReader(stdout), stdout
	io.WriteString(u.feed, condemned(filtertest.ID(1), 0)+condemned(filtertest.ID(2), 0))
	within(t, func() { <-begun; <-asked })
	return u
}

// next gives the next kill line.
func (u *underWay) next(t *testing.T) (kill record.Kill) {
	t.Helper()
	within(t, func() {
		for {
			text, err := u.stdout.ReadString('\n')
			if kills := killLines(t, text); len(kills) == 1 || err != nil {
				if err == nil {
					kill = kills[0]
				}
				return
			}
		}
	})
	return kill
}

// end waits for the process and gives its exit status and what was left to read.
func (u *underWay) end(t *testing.T) (status int, rest string) {
	t.Helper()
	within(t, func() {
		text, err := io.ReadAll(u.stdout)
		if err != nil {
			t.Error(err)
		}
		rest = string(text)
		u.Wait()
	})
	return u.ProcessState.ExitCode(), rest
}

// A first signal lets the kill under way come to its end, though the input goes
// on, and begins no other.
func TestInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(signal.String(), func(t *testing.T) {
			u := start(t, "killctr", "--timeout", "1h")
			u.Process.Signal(signal)
			if got := u.next(t); got.ID != filtertest.ID(2) || got.Result != "failed" || got.Error != "interrupted before it began" {
				t.Errorf("got %+v", got)
			}
			io.WriteString(u.feed, condemned(filtertest.ID(3), 0))
			u.finish()
			if got := u.next(t); got.ID != filtertest.ID(1) || got.Result != "killed" {
				t.Errorf("got %+v", got)
			}
			status, rest := u.end(t)
			if status != 1 || rest != "" || !strings.HasSuffix(u.stderr.String(), "killctr: interrupted\n") {
				t.Errorf("status %d, said %q; then %q", status, u.stderr.String(), rest)
			}
			if stops := u.e.heard("stop"); !slices.Equal(stops, []string{"stop 1 t=10"}) {
				t.Errorf("asked %q", stops)
			}
		})
	}
}

// A second one ends it, with a line for the kill under way.
func TestSecondInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT} {
		t.Run(signal.String(), func(t *testing.T) {
			u := start(t, "killctr", "--timeout", "1h")
			u.Process.Signal(syscall.SIGINT)
			u.next(t)
			u.Process.Signal(signal)
			if got := u.next(t); got.ID != filtertest.ID(1) || got.Result != "failed" || got.Error != "interrupted: its end was not seen" {
				t.Errorf("got %+v", got)
			}
			if status, rest := u.end(t); status != 1 || rest != "" {
				t.Errorf("status %d, then %q", status, rest)
			}
		})
	}
}

// A terminal that closes sends SIGHUP more than once: that abandons nothing.
func TestHeed(t *testing.T) {
	const hup, intr, term = syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM
	for _, test := range []struct {
		signals                []os.Signal
		interrupted, abandoned bool
	}{
		{nil, false, false},
		{[]os.Signal{intr}, true, false},
		{[]os.Signal{hup}, true, false},
		{[]os.Signal{intr, intr}, true, true},
		{[]os.Signal{term, intr, term}, true, true},
		{[]os.Signal{hup, hup, hup}, true, false},
		{[]os.Signal{intr, hup}, true, false},
		{[]os.Signal{hup, term}, true, true},
		{[]os.Signal{hup, hup, intr}, true, true},
	} {
		signals := make(chan os.Signal, len(test.signals))
		for _, s := range test.signals {
			signals <- s
		}
		close(signals)
		ctx, interrupt := context.WithCancelCause(t.Context())
		under, abandon := context.WithCancelCause(t.Context())
		heed(signals, interrupt, abandon)
		if got := errors.Is(context.Cause(ctx), errInterrupted); got != test.interrupted {
			t.Errorf("%v: interrupted is %v", test.signals, got)
		}
		if got := errors.Is(context.Cause(under), errAbandoned); got != test.abandoned {
			t.Errorf("%v: abandoned is %v", test.signals, got)
		}
		interrupt(nil)
		abandon(nil)
	}
}

// Under nohup a SIGHUP means nothing.
func TestNohup(t *testing.T) {
	u := start(t, "sh", "-c", `trap "" HUP; exec killctr --timeout 1h`)
	u.Process.Signal(syscall.SIGHUP)
	io.WriteString(u.feed, condemned(filtertest.ID(3), 0))
	if got := u.next(t); got.ID != filtertest.ID(3) || got.Result != "killed" {
		t.Errorf("got %+v", got)
	}
	u.Process.Signal(syscall.SIGTERM)
	u.next(t)
	u.finish()
	if got := u.next(t); got.ID != filtertest.ID(1) || got.Result != "killed" {
		t.Errorf("got %+v", got)
	}
	u.end(t)
}

// What has begun goes on when nobody reads of it any more.
func TestReaderGone(t *testing.T) {
	u := start(t, "killctr", "--timeout", "1h")
	within(t, func() { // the lines that were passed on, lest the pipe breaks before
		for range 2 {
			if _, err := u.stdout.ReadString('\n'); err != nil {
				t.Error(err)
			}
		}
	})
	u.pipe.Close()
	u.finish()
	within(t, func() { u.Wait() })
	if status := u.ProcessState.ExitCode(); status != 1 {
		t.Errorf("status %d", status)
	}
	if u.e.running() != 3 || !strings.Contains(u.stderr.String(), "killctr: container 000000000000 web: killed: its line was lost\n") ||
		!strings.Contains(u.stderr.String(), "broken pipe") {
		t.Errorf("said %q", u.stderr.String())
	}
}
