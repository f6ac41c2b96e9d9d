package main

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxLine = 64 << 10 // bytes of a line that may wait
	maxSaid = 512      // bytes of a command's stderr that are repeated
)

// queue holds the lines that wait for the command. Whoever offers one never
// waits, not even for stderr: only work writes there.
type queue struct {
	lines   chan string
	stop    chan struct{} // is closed when what waits is all that is to be done
	dropped atomic.Int64
	command []string
	timeout time.Duration
	warn    func(format string, a ...any)
}

// offer puts a line into the queue, if there is room.
func (q *queue) offer(line string) bool {
	if len(line) <= maxLine {
		select {
		case q.lines <- strings.Clone(line):
			return true
		default:
		}
	}
	q.dropped.Add(1)
	return false
}

// work runs the command for each line until there are no more, or until the
// context's end, and tells whether none was left.
func (q *queue) work(ctx context.Context) bool {
	runtime.LockOSThread() // a command that this thread has started dies with it
	defer runtime.UnlockOSThread()
	for more := true; more && ctx.Err() == nil; {
		var line string
		select {
		case line, more = <-q.lines:
		case <-ctx.Done():
		case <-q.stop:
			select {
			case line, more = <-q.lines:
			default:
				more = false
			}
		}
		if line != "" {
			q.run(ctx, line)
		}
		if n := q.dropped.Swap(0); n > 0 {
			q.warn("dropped %d: no more than %d may wait, of %d KiB each", n, cap(q.lines), maxLine>>10)
		}
	}
	if n := len(q.lines); n > 0 {
		q.warn("dropped %d: there was no time left for them", n)
	}
	return ctx.Err() == nil
}

// run runs the command, and says what went wrong. All of its process group is
// gone after that.
func (q *queue) run(ctx context.Context, line string) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	var said beginning
	cmd := exec.CommandContext(ctx, q.command[0], q.command[1:]...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(line+"\n"), &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for what holds its stderr when it has ended
	err := cmd.Run()
	if cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left behind
	}
	if err != nil && ctx.Err() != nil {
		err = errors.New("did not come to its end in time")
	}
	if err != nil {
		q.warn("%s: %s", q.command[0], strings.TrimRight(err.Error()+": "+said.String(), ": \n"))
	}
}

// beginning keeps the first of what is written.
type beginning struct{ strings.Builder }

func (b *beginning) Write(p []byte) (int, error) {
	b.Builder.Write(p[:min(len(p), maxSaid-b.Len())])
	return len(p), nil
}
