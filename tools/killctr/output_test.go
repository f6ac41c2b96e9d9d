package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"winnow/tools/internal/filtertest"
)

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
