package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

func TestBadLines(t *testing.T)  { filtertest.BadLines(t, run) }
func TestGoodLines(t *testing.T) { filtertest.GoodLines(t, run) }

const hostLine = `{"type":"host","host":"h","snapshot":"s"}` + "\n"

// results counts how the kills ended, and why where they failed.
func results(t *testing.T, stream string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, kill := range killLines(t, stream) {
		if kill.Result == record.ResultFailed {
			kill.Result = kill.Error
		}
		counts[kill.Result]++
	}
	return counts
}

// crowd is n containers that do not heed their stop signal, and their lines.
func crowd(t *testing.T, n int) (e *engine, lines string) {
	e = makeEngine(t, n)
	var b strings.Builder
	for i := 1; i <= n; i++ {
		e.box(i).stubborn = true
		b.WriteString(condemned(filtertest.ID(i), 0))
	}
	return e, b.String()
}

// unending yields the lines, then nothing more and no end until the test ends.
func unending(t *testing.T, lines string) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { w.Close() })
	return io.MultiReader(strings.NewReader(lines), r)
}

// governed runs govern to its end beside the test.
func (r *trial) governed(stdin io.Reader) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.govern(stdin) }()
	return ended
}

// A container named twice in one snapshot is killed once, also when the first
// kill of it is over; in a next snapshot it may be again.
func TestSameContainerTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 2)
		e.box(2).stubborn = true
		r := newTrial(t, e, usual())
		stdin, feed := io.Pipe()
		ended := r.governed(stdin)
		line, other := condemned(filtertest.ID(1), 0), condemned(filtertest.ID(2), 0)
		say := func(text string) {
			io.WriteString(feed, text)
			synctest.Wait()
		}
		say(hostLine + line + line)
		if got := results(t, r.stdout.String()); len(got) != 1 || got["killed"] != 1 {
			t.Errorf("got %v", got)
		}
		say(line)
		if got := results(t, r.stdout.String()); len(got) != 1 || got["killed"] != 1 {
			t.Errorf("named when its kill was over: got %v", got)
		}
		say(hostLine + line)
		if got := results(t, r.stdout.String()); got["killed"] != 1 || got["gone"] != 1 {
			t.Errorf("named in a next snapshot: got %v", got)
		}

		say(other + other)
		say(hostLine + other) // a next snapshot in the middle of the kill
		say(hostLine + hostLine + other)
		if stops := e.heard("stop 2"); len(stops) != 1 {
			t.Errorf("asked %q", stops)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := results(t, r.stdout.String()); got["killed"] != 2 || got["gone"] != 1 || len(e.heard("inspect 2")) != 2 {
			t.Errorf("got %v, asked %q", got, e.heard("inspect 2"))
		}
		say(other) // still of the snapshot that it was killed in
		say(hostLine + other)
		if got := results(t, r.stdout.String()); got["killed"] != 2 || got["gone"] != 2 {
			t.Errorf("got %v", got)
		}
		feed.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Only a container's line with the verdict kill is one.
func TestNotCondemned(t *testing.T) {
	e := newEngine(t, 1)
	line := condemned(filtertest.ID(1), 0)
	in := strings.Replace(line, `"container"`, `"process"`, 1) + strings.Replace(line, `"container"`, `"kill"`, 1) +
		strings.Replace(line, `"container"`, `"end"`, 1) + strings.Replace(line, `"container"`, `"host"`, 1) +
		strings.Replace(line, `"kill"`, `"warn"`, 1) + strings.Replace(line, `"kill"`, `"Kill"`, 1) + strings.Replace(line, `"kill"`, `null`, 1)
	var stdout, stderr lockedBuffer
	var err error
	within(t, func() { err = run(t.Context(), nil, strings.NewReader(in), &stdout, &stderr) })
	if err != nil || stdout.String() != in || len(e.heard("")) != 0 {
		t.Errorf("got %s, %v; asked %q", stdout.String(), err, e.heard(""))
	}
}

// 300 kills are under way at most 128 at a time, while all lines pass at once.
func TestBoundedAndNotBlocking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, lines := crowd(t, 300)
		r := newTrial(t, e, usual())
		ended := r.governed(unending(t, lines))
		for round, want := range []int{128, 256, 300} {
			synctest.Wait()
			if got := len(e.heard("stop")); got != want {
				t.Errorf("round %d: %d stops, want %d", round, got, want)
			}
			if got := strings.Count(r.stdout.String(), `"type":"container"`); got != 300 {
				t.Errorf("round %d: passed %d lines on", round, got)
			}
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		if got := results(t, r.stdout.String()); got["killed"] != 300 {
			t.Errorf("got %v", got)
		}
		r.interrupt(errInterrupted)
		<-ended
	})
}

// With 128 under way and 200 queued, the first signal lets none of the latter
// begin, and each says so at once; the former come to their end.
func TestInterruptedWithManyQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, lines := crowd(t, 328)
		r := newTrial(t, e, usual())
		ended := r.governed(unending(t, lines))
		synctest.Wait()
		r.interrupt(errInterrupted)
		synctest.Wait()
		if got := results(t, r.stdout.String()); len(got) != 1 || got["interrupted before it began"] != 200 {
			t.Errorf("at once: got %v", got)
		}
		if err := <-ended; err != errInterrupted {
			t.Errorf("ended with %v", err)
		}
		if got := results(t, r.stdout.String()); got["killed"] != 128 || got["interrupted before it began"] != 200 {
			t.Errorf("in the end: got %v", got)
		}
		if got := len(e.heard("stop")); got != 128 {
			t.Errorf("%d stops", got)
		}
		if got := len(e.heard("inspect")); got != 2*128 {
			t.Errorf("%d inspections", got)
		}
	})
}

// A second one leaves the 128 alone; all 328 have their line.
func TestAbandonedWithManyQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, lines := crowd(t, 328)
		r := newTrial(t, e, usual())
		ended := r.governed(unending(t, lines))
		synctest.Wait()
		start := time.Now()
		r.interrupt(errInterrupted)
		r.abandon(errAbandoned)
		if err := <-ended; err != errInterrupted || time.Since(start) > 0 {
			t.Errorf("ended with %v after %v", err, time.Since(start))
		}
		if got := results(t, r.stdout.String()); got["interrupted: its end was not seen"] != 128 || got["interrupted before it began"] != 200 {
			t.Errorf("got %v", got)
		}
	})
}

// --while keeps the queued ones back as well, each looks right before its stop.
func TestWhileWithManyQueued(t *testing.T) {
	path, while := governing(t)
	synctest.Test(t, func(t *testing.T) {
		e, lines := crowd(t, 328)
		s := usual()
		s.while = while
		r := newTrial(t, e, s)
		ended := r.governed(strings.NewReader(lines))
		synctest.Wait()
		os.Remove(path)
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		if got := results(t, r.stdout.String()); got["killed"] != 128 || got["told to stop by --while: lstat "+path+": no such file or directory"] != 200 {
			t.Errorf("got %v", got)
		}
		if got := len(e.heard("stop")); got != 128 {
			t.Errorf("%d stops", got)
		}
	})
}

// A stdin that never ends does not hold it when the file is gone; nothing is
// read from then on.
func TestWhileEndsTheStream(t *testing.T) {
	path, _ := governing(t)
	e := newEngine(t, 3)
	begun, held := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	e.onStop = func(*box, *http.Request) *answer { close(begun); <-held; return nil }
	e.onInspect = func(b *box, r *http.Request) *answer {
		if b == e.box(2) {
			return hang(b, r)
		}
		return nil
	}
	stdin, feed := io.Pipe()
	defer feed.Close()
	var stdout, stderr lockedBuffer
	ended := make(chan error, 1)
	go func() {
		ended <- run(t.Context(), []string{"--while", path, "--timeout", "1h"}, stdin, &stdout, &stderr)
	}()
	io.WriteString(feed, condemned(filtertest.ID(1), 0)+condemned(filtertest.ID(2), 0))
	within(t, func() { <-begun })
	eventually(t, "the second is asked about", func() bool { return len(e.heard("inspect 2")) == 1 })
	os.Remove(path)
	gone := "told to stop by --while: lstat " + path + ": no such file or directory"
	eventually(t, "the second is given up", func() bool { return results(t, stdout.String())[gone] == 1 })
	go io.WriteString(feed, condemned(filtertest.ID(3), 0))
	release()
	var err error
	within(t, func() { err = <-ended })
	if err == nil || err.Error() != gone {
		t.Errorf("ended with %v", err)
	}
	if got := results(t, stdout.String()); len(got) != 2 || got["killed"] != 1 || strings.Contains(stdout.String(), filtertest.ID(3)) {
		t.Errorf("got %s", stdout.String())
	}
}

// Where the file is gone from the start, nothing is done.
func TestWhileGoneAtOnce(t *testing.T) {
	e := newEngine(t, 1)
	path := t.TempDir() + "/never"
	var err error
	var stdout, stderr lockedBuffer
	within(t, func() {
		err = run(t.Context(), []string{"--while", path}, unending(t, condemned(filtertest.ID(1), 0)), &stdout, &stderr)
	})
	if err == nil || !strings.Contains(err.Error(), path) || len(e.heard("")) != 0 {
		t.Errorf("ended with %v; asked %q", err, e.heard(""))
	}
}

// writer calls f for each line.
type writer func(string) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(string(p)) }

// A reader that is stuck holds up no kill whose line was passed on, not those
// that were queued either. A second signal does not wait for it.
func TestStdoutStuck(t *testing.T) {
	e, lines := crowd(t, 200)
	passed, stuck := make(chan struct{}), make(chan struct{})
	defer close(stuck)
	e.onStop = func(b *box, _ *http.Request) *answer { <-passed; e.exited(b, 143); return nil }
	r := newTrial(t, e, usual())
	count := 0
	r.out.w = writer(func(text string) (int, error) {
		if count++; count == 200 {
			close(passed)
		}
		if strings.Contains(text, `"type":"kill"`) {
			<-stuck
		}
		return len(text), nil
	})
	ended := r.governed(strings.NewReader(lines))
	eventually(t, "all are stopped", func() bool { return e.running() == 0 })
	r.interrupt(errInterrupted)
	select {
	case err := <-ended:
		t.Errorf("ended with %v, its lines not written", err)
	default:
	}
	r.abandon(errAbandoned)
	var err error
	within(t, func() { err = <-ended })
	if err == nil || err.Error() != "interrupted\nnobody reads stdout: lines are lost" {
		t.Errorf("ended with %v", err)
	}
}

// When stdout is gone, what has begun comes to its end and stderr tells of it;
// no other kill begins, since nobody would hear of it.
func TestStdoutGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, lines := crowd(t, 200)
		e.box(7).stubborn = false // its line is the first to fail
		r := newTrial(t, e, usual())
		broken := errors.New("broken pipe")
		r.out.w = writer(func(text string) (int, error) {
			if strings.Contains(text, `"type":"kill"`) {
				return 0, broken
			}
			return len(text), nil
		})
		e.onStop = func(b *box, _ *http.Request) *answer {
			if b == e.box(7) {
				time.Sleep(time.Second) // when all have their turn
			}
			return nil
		}
		err := r.govern(unending(t, lines))
		if err == nil || err.Error() != "writing: broken pipe" {
			t.Errorf("ended with %v", err)
		}
		stopped := 200 - e.running()
		said := r.stderr.String()
		if killed := strings.Count(said, "killed: its line was lost\n"); len(e.heard("stop")) != stopped || stopped < 128 || stopped > 129 ||
			killed != stopped || strings.Count(said, "not killed: writing: broken pipe\n") != 200-stopped {
			t.Errorf("stopped %d of %d; said %.500s", stopped, len(e.heard("stop")), said)
		}
	})
}

// A line that cannot be passed on is not acted on.
func TestStdoutGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 1)
		r := newTrial(t, e, usual())
		r.out.w = writer(func(string) (int, error) { return 0, io.ErrClosedPipe })
		err := r.govern(unending(t, condemned(filtertest.ID(1), 0)))
		if err == nil || err.Error() != "writing: "+io.ErrClosedPipe.Error() || len(e.heard("")) != 0 {
			t.Errorf("ended with %v; asked %q", err, e.heard(""))
		}
	})
}

// Its input's own error is told, and what was read before it is done.
func TestInputFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 1)
		r := newTrial(t, e, usual())
		failing, fail := io.Pipe()
		fail.CloseWithError(errors.New("input/output error"))
		err := r.govern(io.MultiReader(strings.NewReader(condemned(filtertest.ID(1), 0)), failing))
		if err == nil || !strings.Contains(err.Error(), "input/output error") || results(t, r.stdout.String())["killed"] != 1 {
			t.Errorf("ended with %v: %s", err, r.stdout.String())
		}
	})
}

func TestLabelFlag(t *testing.T) {
	for _, text := range []string{"", "=", "=x", "a=", "a b", " a", "a\n", "a\t=b", "\x1b[1m", "a\u202e"} {
		var l label
		if err := l.Set(text); err == nil || l != (label{}) {
			t.Errorf("%q: got %+v, %v", text, l, err)
		}
	}
	for text, want := range map[string]label{"a": {"a", ""}, "a=b": {"a", "b"}, "a=b=c": {"a", "b=c"}, "a=my name": {"a", "my name"}} {
		var l label
		if err := l.Set(text); err != nil || l != want || l.String() != text {
			t.Errorf("%q: got %+v, %v", text, l, err)
		}
	}
}

// The next tool takes every kill line, with each byte of its texts escaped.
func TestKillLineIsBounded(t *testing.T) {
	if 7*6*longestText > record.MaxLine {
		t.Errorf("a kill line can be longer than %d bytes", record.MaxLine)
	}
}
