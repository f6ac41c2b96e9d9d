package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

func TestBadLines(t *testing.T) { filtertest.BadLines(t, run) }

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
