package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/logpost/spool"
)

// process is a logpost of its own, whose stdin stays open.
type process struct {
	*exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	said   bytes.Buffer
	exited chan error
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, exited: make(chan error, 1)}
	if p.Stderr == nil {
		p.Stderr = &p.said
	}
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe() // StdoutPipe's would be closed by Wait
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.in, p.out = w, in, bufio.NewReader(r)
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) { // by nohup, say: p is to begin as from a terminal
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() { p.exited <- p.Wait() }()
	t.Cleanup(func() { p.Process.Kill(); r.Close() })
	return p
}

// sends writes lines to it, and returns when it has read and passed on each.
func (p *process) sends(t *testing.T, lines string) {
	t.Helper()
	io.WriteString(p.in, lines)
	for want := range strings.Lines(lines) {
		passed := make(chan string, 1)
		go func() { text, _ := p.out.ReadString('\n'); passed <- text }()
		select {
		case got := <-passed:
			if got != want {
				t.Fatalf("passed on %q, want %q; said %s", got, want, p.said.String())
			}
		case <-time.After(tooLong):
			t.Fatalf("does not pass on %q", want)
		}
	}
}

func (p *process) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.exited:
		return err
	case <-time.After(tooLong):
		t.Fatal(errHangs)
		return nil
	}
}

// However it is told to stop, and how often, what it has read is stored, or on
// disk.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, how := range [][]syscall.Signal{{syscall.SIGINT}, {syscall.SIGTERM}, {syscall.SIGHUP}, {syscall.SIGQUIT},
		{syscall.SIGINT, syscall.SIGINT}, {syscall.SIGHUP, syscall.SIGHUP, syscall.SIGTERM}} {
		for _, status := range []int{0, http.StatusServiceUnavailable} {
			t.Run(fmt.Sprint(how, status), func(t *testing.T) {
				t.Parallel()
				store := newFakeStore(t)
				store.set(status)
				dir := t.TempDir()
				p := start(t, exec.Command("logpost", "--to", store.URL, "--spool", dir))
				p.sends(t, records(1, 3))
				for _, sig := range how {
					p.Process.Signal(sig)
				}
				if err := p.end(t); err != nil {
					t.Errorf("%v, said %s", err, p.said.String())
				}
				kept := textOf(t, dir, spool.Waiting)
				if stored := strings.Join(store.got(), "\n"); status == 0 && stored+"\n" != records(1, 3) || status != 0 && kept != records(1, 3) {
					t.Errorf("stored %q, kept %q", stored, kept)
				}
			})
		}
	}
}

// With --to-the-end what comes after a signal is stored, or on disk, too.
func TestSignalsBeforeTheEnd(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	dir := t.TempDir()
	p := start(t, exec.Command("logpost", "--to", store.URL, "--spool", dir, "--to-the-end"))
	p.sends(t, records(1, 3))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		p.Process.Signal(sig)
		time.Sleep(400 * time.Millisecond) // the last of them is long after the first
	}
	p.sends(t, records(4, 3))
	p.in.Close()
	if err := p.end(t); err != nil {
		t.Errorf("%v, said %s", err, p.said.String())
	}
	if got := strings.Join(store.got(), "\n") + "\n" + textOf(t, dir, spool.Waiting); got != records(1, 6) {
		t.Errorf("stored and kept %q", got)
	}
}

// A store that hangs does not keep logpost from ending, nor costs a line.
func TestSignalsWhileTheStoreHangs(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 100)
	to, _ := raw(t, func(net.Conn) { arrived <- struct{}{} })
	dir := t.TempDir()
	p := start(t, exec.Command("logpost", "--to", to, "--spool", dir, "--timeout", "1s"))
	p.sends(t, records(1, 3))
	select {
	case <-arrived:
	case <-time.After(tooLong):
		t.Fatal("posts nothing")
	}
	p.sends(t, records(4, 3))
	for range 3 {
		p.Process.Signal(syscall.SIGINT)
		p.Process.Signal(syscall.SIGHUP)
	}
	if err := p.end(t); err != nil {
		t.Errorf("%v, said %s", err, p.said.String())
	}
	if kept := textOf(t, dir, spool.Waiting); kept != records(1, 6) {
		t.Errorf("kept %q, said %s", kept, p.said.String())
	}
}

// What the caller ignores, as nohup and a script with a trap do, it ignores.
func TestIgnoredSignalsStayIgnored(t *testing.T) {
	p := start(t, exec.Command("sh", "-c", `trap '' HUP INT; exec logpost --to http://127.0.0.1:1 --spool "$0"`, t.TempDir()))
	p.sends(t, records(1, 1))
	if mask := signalMask(t, p.Process.Pid, "SigIgn"); mask&(1<<(unix.SIGHUP-1)) == 0 || mask&(1<<(unix.SIGINT-1)) == 0 {
		t.Errorf("ignores %x", mask)
	}
	p.Process.Signal(syscall.SIGHUP)
	p.Process.Signal(syscall.SIGINT)
	p.sends(t, records(2, 2))
	p.in.Close()
	if err := p.end(t); err != nil {
		t.Errorf("%v, said %s", err, p.said.String())
	}
}

func signalMask(t *testing.T, pid int, name string) uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "\n"+name+":\t")
	mask, err := strconv.ParseUint(after[:16], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

// A stderr that nobody reads any more, and a terminal that is gone, do not end
// it: there was enough to say.
func TestStderrGone(t *testing.T) {
	pipe := func(t *testing.T) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		return w
	}
	terminal := func(t *testing.T) *os.File {
		master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			t.Skip(err)
		}
		defer master.Close()
		n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
		if err == nil {
			err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Skip(err)
		}
		return slave
	}
	for name, open := range map[string]func(*testing.T) *os.File{"pipe": pipe, "terminal": terminal} {
		t.Run(name, func(t *testing.T) {
			stderr := open(t)
			defer stderr.Close()
			if _, err := stderr.WriteString("x"); err == nil {
				t.Fatal("this stderr can be written")
			}
			dir := t.TempDir()
			cmd := exec.Command("logpost", "--to", "http://127.0.0.1:1", "--spool", dir)
			cmd.Stderr = stderr
			p := start(t, cmd)
			p.sends(t, records(1, 2))
			io.WriteString(p.in, "bad\n")
			p.sends(t, records(3, 2))
			p.Process.Signal(syscall.SIGHUP)
			if err := p.end(t); err == nil || p.ProcessState.ExitCode() != 1 {
				t.Errorf("%v", err)
			}
			if kept := textOf(t, dir, spool.Waiting); kept != records(1, 4) {
				t.Errorf("kept %q", kept)
			}
		})
	}
}

// What a store says unasked, between two batches, is not for the user.
func TestRubbishOnTheIdleConnection(t *testing.T) {
	to, gone := raw(t, func(c net.Conn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"stored\":1}")
		io.WriteString(c, "\x1b[2Jrubbish\r\n\r\n")
	})
	p := start(t, exec.Command("logpost", "--to", to))
	p.sends(t, records(1, 1))
	select {
	case <-gone: // it has read it
	case <-time.After(tooLong):
		t.Fatal("does not close the connection")
	}
	p.sends(t, records(2, 1))
	p.in.Close()
	if err := p.end(t); err != nil || p.said.String() != "" {
		t.Errorf("%v, said %q", err, p.said.String())
	}
}

// A reader of stdout that hangs, as a paused terminal does, does not keep it
// from ending.
func TestStdoutThatTakesNothing(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	p := start(t, exec.Command("logpost", "--to", store.URL))
	p.sends(t, records(1, 1))
	go io.WriteString(p.in, records(2, 100_000)) // far more than the pipe holds
	until(t, "it has read more than the pipe holds", func() bool {
		return len(strings.Join(store.got(), "\n")) > 64<<10+len(records(1, 1))
	})
	p.Process.Signal(syscall.SIGTERM)
	err := p.end(t)
	want := fmt.Sprintf("stdout takes nothing: what was read after line %d is lost\n", len(store.got()))
	if err == nil || !strings.Contains(p.said.String(), want) {
		t.Errorf("%v, said %q, want %q", err, p.said.String(), want)
	}
}
