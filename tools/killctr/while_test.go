package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/filtertest"
)

// governing makes a file and the flag --while that names it.
func governing(t *testing.T) (path string, while *cli.While) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "governing")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tool := cli.New("test", "", "", io.Discard)
	while = tool.WhileFlag()
	if err := tool.Parse([]string{"--while", path}, io.Discard, 0); err != nil {
		t.Fatal(err)
	}
	return path, while
}

// What takes the leave to kill away while a kill is being prepared keeps it from
// beginning; what takes it away when the stop has begun does not end it.
func TestLeaveTaken(t *testing.T) {
	tests := []struct {
		name         string
		hook         func(e *engine, take func())
		dial         func(take func()) func(*http.Request) error
		result       string
		stops        int
		notAgainSaid bool
	}{
		{name: "in the inspection", hook: func(e *engine, take func()) {
			e.onInspect = func(*box, *http.Request) *answer { take(); return nil }
		}, result: "failed"},
		{name: "when Docker is not reached", dial: func(take func()) func(*http.Request) error {
			refuse := unreachable("stop", 2*time.Second)
			return func(r *http.Request) error {
				err := refuse(r)
				if err != nil {
					take()
				}
				return err
			}
		}, result: "failed"},
		{name: "when the stop has begun", hook: func(e *engine, take func()) {
			e.onStop = func(*box, *http.Request) *answer { take(); return nil }
		}, result: "killed", stops: 1},
		{name: "when the stop has begun, and breaks", hook: func(e *engine, take func()) {
			e.onStop = nth(1, func(*box, *http.Request) *answer { take(); return &answer{} })
		}, result: "killed", stops: 2},
		{name: "when the stop has begun, and fails", hook: func(e *engine, take func()) {
			e.onStop = nth(1, func(*box, *http.Request) *answer { take(); return &answer{500, "no"} })
		}, result: "killed", stops: 2},
		{name: "after the stop", hook: func(e *engine, take func()) {
			e.onInspect = nth(2, func(*box, *http.Request) *answer { take(); return &answer{500, "no"} })
		}, result: "killed", stops: 2},
	}
	for _, test := range tests {
		for _, by := range []string{"--while", "a signal", "nothing"} {
			t.Run(test.name+", by "+by, func(t *testing.T) {
				path, while := governing(t)
				synctest.Test(t, func(t *testing.T) {
					e, s := makeEngine(t, 1), usual()
					s.while = while
					r := newTrial(t, e, s)
					want, says, stops := test.result, "", test.stops
					take := func() {}
					switch by {
					case "--while":
						says = "told to stop by --while: lstat " + path + ": no such file or directory"
						take = func() { os.Remove(path) }
					case "a signal":
						says = "interrupted before it began"
						take = func() { r.interrupt(errInterrupted) }
					default:
						want, stops = "killed", max(stops, 1)
					}
					if want == "killed" {
						says = ""
					}
					if test.hook != nil {
						test.hook(e, take)
					}
					if test.dial != nil {
						r.docker.make = e.client(test.dial(take))
					}
					got := r.one(t, 1, 0)
					if got.Result != want || got.Error != says || len(e.heard("stop")) != stops {
						t.Errorf("got %+v; asked %q", got, e.heard(""))
					}
				})
			})
		}
	}
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
