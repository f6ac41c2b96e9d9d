package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// The clock of these tests stands still but where something waits, so that
// boundaries are met to the nanosecond.

func TestOutcomes(t *testing.T) {
	label := func(pairs ...string) func(*engine) {
		labels := map[string]string{record.LabelManaged: "true"}
		for i := 0; i < len(pairs); i += 2 {
			labels[pairs[i]] = pairs[i+1]
		}
		return func(e *engine) { e.box(1).labels = labels }
	}
	unlabelled := func(e *engine) { e.box(1).labels = nil }
	tests := []struct {
		name     string
		age      time.Duration
		settings func(*settings)
		engine   func(*engine)
		result   string
		says     string
		asked    string // after the first inspection, joined by commas
	}{
		{name: "killed", result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "as old as may be", age: time.Minute, result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "as new as may be", age: -5 * time.Second, result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "started with the sample", engine: func(e *engine) { e.box(1).started = time.Now().Format(time.RFC3339Nano) },
			result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "started after the sample", engine: func(e *engine) { e.box(1).started = time.Now().Add(1).UTC().Format(time.RFC3339Nano) },
			result: "stale", says: "started since the sample, at 2000-01-01T00:00:00.000000001Z"},
		{name: "start is not told", engine: func(e *engine) { e.box(1).started = "soon" },
			result: "stale", says: `Docker does not say when it started: "soon"`},
		{name: "not running", engine: func(e *engine) { e.box(1).running = false }, result: "gone", says: "it is not running"},
		{name: "not there", engine: func(e *engine) { clear(e.boxes) }, result: "gone", says: "there is no such container"},
		{name: "answer about another", engine: func(e *engine) { e.box(1).id = filtertest.ID(2) },
			result: "failed", says: "Docker's answer is not about the container"},
		{name: "answer about a short id", engine: func(e *engine) { e.box(1).id = filtertest.ID(1)[:12] },
			result: "failed", says: "Docker's answer is not about the container"},
		{name: "answer of nothing", engine: answering(200, `{}`), result: "failed", says: "Docker's answer is not about the container"},
		{name: "answer without a state", engine: answering(200, `{"Id":"`+filtertest.ID(1)+`","Config":{"Labels":{"winnow.managed":"true"}}}`),
			result: "failed", says: "Docker's answer is not about the container"},
		{name: "answer without labels", engine: answering(200, `{"Id":"`+filtertest.ID(1)+`","State":{"Running":true,"StartedAt":"1999-01-01T00:00:00Z"},"Config":{}}`),
			result: "protected", says: "not labelled winnow.managed=true"},
		{name: "answer without a config", engine: answering(200, `{"Id":"`+filtertest.ID(1)+`","State":{"Running":true,"StartedAt":"1999-01-01T00:00:00Z"}}`),
			result: "failed", says: "Docker's answer is not about the container"},
		{name: "an error", engine: answering(500, "no"), result: "failed", says: "Error response from daemon: no"},
		{name: "connection breaks", engine: answering(0, ""), result: "failed", says: "the connection to Docker broke: unexpected EOF"},

		{name: "protected", engine: label("winnow.protect", "true"), result: "protected", says: "labelled winnow.protect=true"},
		{name: "protected, in other words", engine: label("winnow.protect", "yes"), result: "protected", says: "its label winnow.protect=yes cannot be read"},
		{name: "protected, with nothing", engine: label("winnow.protect", ""), result: "protected", says: "its label winnow.protect= cannot be read"},
		{name: "protected, False", engine: label("winnow.protect", "False"), result: "protected", says: "its label winnow.protect=False cannot be read"},
		{name: "not protected", engine: label("winnow.protect", "false"), result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "protected beats all", settings: func(s *settings) { s.all = true }, engine: label("winnow.protect", "1"),
			result: "protected", says: "its label winnow.protect=1 cannot be read"},
		{name: "protected beats a dry run", settings: func(s *settings) { s.dryRun = true }, engine: label("winnow.protect", "true"),
			result: "protected", says: "labelled winnow.protect=true"},
		{name: "protected beats only", settings: func(s *settings) { s.only.key = "a" }, engine: label("winnow.protect", "true", "a", "b"),
			result: "protected", says: "labelled winnow.protect=true"},
		{name: "not managed", engine: unlabelled, result: "protected", says: "not labelled winnow.managed=true"},
		{name: "managed in other words", engine: label("winnow.managed", "True"), result: "protected", says: "its label winnow.managed=True cannot be read"},
		{name: "managed with nothing", engine: label("winnow.managed", ""), result: "protected", says: "its label winnow.managed= cannot be read"},
		{name: "not managed, dry run", settings: func(s *settings) { s.dryRun = true }, engine: unlabelled,
			result: "protected", says: "not labelled winnow.managed=true"},
		{name: "not managed, but all", settings: func(s *settings) { s.all = true }, engine: unlabelled,
			result: "killed", asked: "stop 1 t=10,inspect 1"},

		{name: "dry run", settings: func(s *settings) { s.dryRun, s.remove = true, true }, result: "dry_run"},
		{name: "dry run, restarted", settings: func(s *settings) { s.dryRun = true }, engine: func(e *engine) { e.box(1).started = "2000-01-01T00:00:01Z" },
			result: "stale", says: "started since the sample, at 2000-01-01T00:00:01Z"},
		{name: "dry run, not there", settings: func(s *settings) { s.dryRun = true }, engine: func(e *engine) { clear(e.boxes) },
			result: "gone", says: "there is no such container"},
		{name: "only, with it", settings: func(s *settings) { s.only.key = "a" }, engine: label("a", ""),
			result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "only, without it", settings: func(s *settings) { s.only.key, s.remove = "a", true }, engine: label("A", "b"),
			result: "dry_run", says: "not labelled a, as --only wants it"},
		{name: "only, with its value", settings: func(s *settings) { s.only = labelFlag("a", "b") }, engine: label("a", "b"),
			result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "only, with another value", settings: func(s *settings) { s.only = labelFlag("a", "b") }, engine: label("a", "bc"),
			result: "dry_run", says: "not labelled a=b, as --only wants it"},
		{name: "only, of none", settings: func(s *settings) { s.only.key, s.all = "a", true }, engine: unlabelled,
			result: "dry_run", says: "not labelled a, as --only wants it"},
		{name: "only beats not managed", settings: func(s *settings) { s.only.key = "a" }, engine: label("winnow.managed", "false", "a", ""),
			result: "protected", says: "not labelled winnow.managed=true"},
		{name: "dry run goes over only", settings: func(s *settings) { s.only.key, s.dryRun = "a", true }, engine: label("a", ""), result: "dry_run"},

		{name: "removed", settings: func(s *settings) { s.remove = true }, result: "killed", asked: "stop 1 t=10,inspect 1,remove 1"},
		{name: "gone, and not removed", settings: func(s *settings) { s.remove = true }, engine: func(e *engine) { e.box(1).running = false },
			result: "gone", says: "it is not running"},
		{name: "stopped meanwhile", engine: func(e *engine) { // which is answered with 304
			e.onStop = func(b *box, _ *http.Request) *answer { e.exited(b, 0); return nil }
		}, result: "killed", asked: "stop 1 t=10,inspect 1"},
		{name: "removed meanwhile", engine: func(e *engine) {
			e.onStop = func(*box, *http.Request) *answer {
				e.mu.Lock()
				defer e.mu.Unlock()
				clear(e.boxes)
				return &answer{404, "No such container"}
			}
		}, result: "gone", says: "there is no such container", asked: "stop 1 t=10,inspect 1"},
		{name: "restarted in between", engine: func(e *engine) {
			e.onStop = func(b *box, _ *http.Request) *answer {
				e.mu.Lock()
				defer e.mu.Unlock()
				b.started = "2000-01-01T00:00:03Z"
				return &answer{204, ""}
			}
		}, result: "stale", says: "started since the sample, at 2000-01-01T00:00:03Z", asked: "stop 1 t=10,inspect 1"},
		{name: "cannot be stopped at first", engine: func(e *engine) { e.onStop = nth(1, saying(409, "busy")) },
			result: "killed", asked: "stop 1 t=10,inspect 1,stop 1 t=10,inspect 1"},
		{name: "an answer about another after the stop", engine: func(e *engine) {
			e.onInspect = nth(2, saying(200, `{"Id":"`+filtertest.ID(2)+`","State":{"Running":false},"Config":{}}`))
		}, result: "killed", asked: "stop 1 t=10,inspect 1,stop 1 t=10,inspect 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, s := makeEngine(t, 1), usual()
				if test.engine != nil {
					test.engine(e)
				}
				if test.settings != nil {
					test.settings(&s)
				}
				r := newTrial(t, e, s)
				got := r.one(t, 1, test.age)
				if got.Result != test.result || got.Error != test.says {
					t.Errorf("got %+v", got)
				}
				if (got.Signal == "SIGTERM") != (test.result == "killed") || got.Signal != "" && got.Signal != "SIGTERM" {
					t.Errorf("signal %q of %s", got.Signal, got.Result)
				}
				if got.ID != filtertest.ID(1) || got.Name != "web" || got.Image != "low" || got.Class != "high" || got.Reason != "too <heavy>" ||
					got.Host != "h" || got.Snapshot != "s" || !got.Time.Equal(time.Now()) {
					t.Errorf("got %+v", got)
				}
				if asked := strings.Join(e.heard(""), ","); strings.TrimPrefix(asked, "inspect 1") != strings.TrimSuffix(","+test.asked, ",") {
					t.Errorf("asked %s, want inspect 1,%s", asked, test.asked)
				}
				if complained := r.stderr.String() != ""; complained != (test.result == "failed") {
					t.Errorf("said %q", r.stderr.String())
				}
			})
		})
	}
}

func labelFlag(key, value string) label { return label{key, value} }

func saying(status int, message string) func(*box, *http.Request) *answer {
	return func(*box, *http.Request) *answer { return &answer{status, message} }
}

func answering(status int, message string) func(*engine) {
	return func(e *engine) { e.onInspect = saying(status, message) }
}

// A sample of the wrong time is said in words, however far off, and nothing is
// asked about its container.
func TestStale(t *testing.T) {
	const years = 365 * 24 * time.Hour
	for _, test := range []struct {
		when   string
		maxAge time.Duration
		says   string
	}{
		{"1999-12-31T23:58:59.999999999Z", time.Minute, "the sample is 1m0s old, more than 1m0s"},
		{"1999-12-31T23:58:59Z", time.Minute, "the sample is 1m1s old, more than 1m0s"},
		{"1999-12-30T00:00:00Z", time.Minute, "the sample is 48h0m0s old, more than 1m0s"},
		{"1999-12-29T23:59:59Z", time.Minute, "the sample is of 1999-12-29T23:59:59Z, which is too old, more than 1m0s"},
		{"1999-06-01T02:00:00+02:00", time.Hour, "the sample is of 1999-06-01T00:00:00Z, which is too old, more than 1h0m0s"},
		{"1500-06-01T00:00:00Z", time.Minute, "the sample is of 1500-06-01T00:00:00Z, which is too old, more than 1m0s"},
		{"0001-06-01T00:00:00Z", time.Minute, "the sample is of 0001-06-01T00:00:00Z, which is too old, more than 1m0s"},
		{"0001-06-01T00:00:00Z", math.MaxInt64, "the sample is of 0001-06-01T00:00:00Z, which is too old, more than 2562047h47m16.854775807s"},
		{"1900-01-01T00:00:00Z", 99 * years, "the sample is of 1900-01-01T00:00:00Z, which is too old, more than 867240h0m0s"},
		{"2000-01-01T00:00:05.000000001Z", time.Minute, "the sample is 5s in the future"},
		{"2000-01-01T00:01:00Z", 99 * years, "the sample is 1m0s in the future"},
		{"2000-01-03T00:00:00Z", time.Minute, "the sample is 48h0m0s in the future"},
		{"2000-01-03T00:00:01Z", time.Minute, "the sample is of 2000-01-03T00:00:01Z, which is in the future"},
		{"2099-01-01T00:00:00Z", time.Minute, "the sample is of 2099-01-01T00:00:00Z, which is in the future"},
		{"2500-01-01T00:00:00Z", time.Minute, "the sample is of 2500-01-01T00:00:00Z, which is in the future"},
		{"9999-12-31T23:59:59Z", math.MaxInt64, "the sample is of 9999-12-31T23:59:59Z, which is in the future"},
		{"", time.Minute, "the sample has no time"},
		{"", math.MaxInt64, "the sample has no time"},
		{"yesterday", time.Minute, "the sample has no time"},
		{"2000-13-01T00:00:00Z", time.Minute, "the sample has no time"},
		{"0001-01-01T00:00:00Z", time.Minute, "the sample has no time"},
	} {
		t.Run(test.when+" "+test.maxAge.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, s := makeEngine(t, 1), usual()
				s.maxAge = test.maxAge
				r := newTrial(t, e, s)
				if err := r.govern(strings.NewReader(condemnedAt(filtertest.ID(1), test.when))); err != nil {
					t.Fatal(err)
				}
				kills := killLines(t, r.stdout.String())
				if len(kills) != 1 || kills[0].Result != record.ResultStale || kills[0].Error != test.says || kills[0].Signal != "" {
					t.Errorf("got %+v", kills)
				}
				if len(e.heard("")) != 0 {
					t.Errorf("asked %q", e.heard(""))
				}
			})
		})
	}
}

// The age is that of right before the stop, not that of before the question
// that took its time, or of a first try that did not reach Docker.
func TestAgesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 1)
		e.onInspect = func(*box, *http.Request) *answer { time.Sleep(3 * time.Second); return nil }
		r := newTrial(t, e, usual())
		if got := r.one(t, 1, 58*time.Second); got.Result != "stale" || got.Error != "the sample is 1m1s old, more than 1m0s" || got.TookMS != 3000 {
			t.Errorf("got %+v", got)
		}
		if heard := e.heard("stop"); len(heard) != 0 {
			t.Errorf("asked %q", heard)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 1)
		r := newTrial(t, e, usual())
		r.docker.make = e.client(unreachable("stop", time.Hour))
		if got := r.one(t, 1, 58*time.Second); got.Result != "stale" || got.TookMS < 2000 || got.TookMS > 2500 {
			t.Errorf("got %+v", got)
		}
	})
	// One that has begun is carried through, however old its sample is by then.
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 1)
		e.box(1).stubborn = true
		e.onStop = nth(1, func(*box, *http.Request) *answer { time.Sleep(5 * time.Second); return &answer{} })
		if got := newTrial(t, e, usual()).one(t, 1, 58*time.Second); got.Result != "killed" || got.Signal != "SIGKILL" {
			t.Errorf("got %+v", got)
		}
	})
}

// unreachable refuses connections for what ends so, for that long from the first.
func unreachable(what string, d time.Duration) func(*http.Request) error {
	var end time.Time
	return func(r *http.Request) error {
		if !strings.HasSuffix(r.URL.Path, what) {
			return nil
		}
		if end.IsZero() {
			end = time.Now().Add(d)
		}
		if time.Now().Before(end) {
			return errors.New("dial unix /run/docker.sock: connect: connection refused")
		}
		return nil
	}
}

// The grace is one, however often the stop is tried, and whole seconds are
// asked for, never fewer than are left.
func TestGrace(t *testing.T) {
	const second = time.Second
	breaks := func(after time.Duration) func(*box, *http.Request) *answer {
		return func(*box, *http.Request) *answer { time.Sleep(after); return &answer{} }
	}
	for name, test := range map[string]struct {
		grace  time.Duration
		engine func(*engine)
		dial   func(*http.Request) error
		want   string // of each stop
		took   time.Duration
		signal string
	}{
		"as said":          {10 * second, nil, nil, "10", 10 * second, "SIGKILL"},
		"rounded up":       {1500 * time.Millisecond, nil, nil, "2", 2 * second, "SIGKILL"},
		"hardly any":       {1, nil, nil, "1", second, "SIGKILL"},
		"none":             {0, nil, nil, "0", 0, "SIGKILL"},
		"longer than most": {24 * time.Hour, nil, nil, "86400", 24 * time.Hour, "SIGKILL"},
		"heeds its signal": {10 * second, func(e *engine) { e.box(1).stubborn = false }, nil, "10", 0, "SIGTERM"},
		"breaks once, at its middle": {10 * second, func(e *engine) { e.onStop = nth(1, breaks(5*second)) }, nil,
			"10 5", 10*second + pause, "SIGKILL"},
		"breaks each time": {10 * second, func(e *engine) { e.onStop = breaks(3 * second) }, nil,
			"10 7 4 1 0 0 0 0", 25*second + 3*pause, ""},
		"breaks when it is over": {2 * second, func(e *engine) { e.onStop = nth(1, breaks(4*second)) }, nil,
			"2 0", 4*second + pause, "SIGKILL"},
		"not reached for a while": {10 * second, nil, unreachable("stop", 5*second), "10", 15 * second, "SIGKILL"},
		"not reached for a while, then breaks": {10 * second, func(e *engine) { e.onStop = nth(1, breaks(2*second)) },
			unreachable("stop", 5*second), "10 8", 5*second + 2*second + pause + 8*second, "SIGKILL"},
		"done, but unsaid": {10 * second, func(e *engine) {
			e.onStop = func(b *box, _ *http.Request) *answer { e.exited(b, 143); return &answer{} }
		}, nil, "10", 0, "SIGTERM"},
		"removed by Docker": {10 * second, func(e *engine) { e.box(1).autoRemove = true }, nil, "10", 10 * second, "SIGKILL"},
		"removed by Docker, early": {10 * second, func(e *engine) { e.box(1).autoRemove, e.box(1).stubborn = true, false }, nil,
			"10", 0, "SIGTERM"},
		"removed by Docker, in its grace": {10 * second, func(e *engine) {
			e.box(1).autoRemove = true
			e.onStop = func(b *box, _ *http.Request) *answer { time.Sleep(3 * second); e.exited(b, 143); return nil }
		}, nil, "10", 3 * second, "SIGTERM"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, s := makeEngine(t, 1), usual()
				e.box(1).stubborn = true
				if test.engine != nil {
					test.engine(e)
				}
				s.grace = test.grace
				r := newTrial(t, e, s)
				r.docker.make = e.client(test.dial)
				got := r.one(t, 1, 0)
				heard := strings.ReplaceAll(strings.Join(e.heard("stop"), " "), "stop 1 t=", "")
				if heard != test.want {
					t.Errorf("stops with %s, want %s", heard, test.want)
				}
				if took := time.Duration(got.TookMS) * time.Millisecond; took != test.took || got.Signal != test.signal {
					t.Errorf("took %v, want %v; got %+v", took, test.took, got)
				}
				if (got.Result == "killed") != (test.signal != "") {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

// Each question ends in time when Docker does not answer, and says so.
func TestHangs(t *testing.T) {
	for name, test := range map[string]struct {
		engine       func(*engine)
		dial         func(*http.Request) error
		result, says string
		took         time.Duration
		complains    string
	}{
		"on the first inspection": {func(e *engine) { e.onInspect = hang }, nil,
			"failed", "no answer from Docker within 3s", 3 * time.Second, "not killed: no answer"},
		"on an inspection after the stop": {func(e *engine) { e.onInspect = nth(2, hang) }, nil,
			"killed", "", 3*time.Second + pause, ""},
		"on the stop, and it runs on": {func(e *engine) { e.onStop = hang }, nil,
			"failed", "gave up after 25s: it still runs: no answer from Docker within 25s", 25 * time.Second, "not killed: gave up"},
		"on the stop, and it has ended": {func(e *engine) {
			e.onStop = func(b *box, r *http.Request) *answer { e.exited(b, 143); return hang(b, r) }
		}, nil, "killed", "", 25 * time.Second, ""},
		"on all after the first": {func(e *engine) {
			e.onStop = hang
			e.onInspect = func(b *box, r *http.Request) *answer {
				if len(e.heard("stop")) == 0 {
					return nil
				}
				return hang(b, r)
			}
		}, nil, "failed", "gave up after 28s: no answer from Docker within 3s: no answer from Docker within 25s", 28 * time.Second, "not killed: gave up"},
		"on the removal": {func(e *engine) { e.onRemove = hang }, nil,
			"killed", "", 15 * time.Second, "container 000000000000: killed, but not removed: no answer from Docker within 15s"},
		"it always fails to stop": {func(e *engine) { e.onStop = saying(500, "did not receive an exit event") }, nil,
			"failed", "gave up after 25s: it still runs: Error response from daemon: did not receive an exit event", 25 * time.Second, "not killed: gave up"},
		"it is not there any more": {nil, unreachable("stop", time.Hour),
			"failed", "gave up after 15s: it still runs: Cannot connect to the Docker daemon at ", 15 * time.Second, "not killed: gave up"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, s := makeEngine(t, 1), usual()
				s.timeout, s.remove = 3*time.Second, true
				if test.engine != nil {
					test.engine(e)
				}
				r := newTrial(t, e, s)
				r.docker.make = e.client(test.dial)
				got := r.one(t, 1, 0)
				if got.Result != test.result || !strings.HasPrefix(got.Error, test.says) || test.says == "" && got.Error != "" {
					t.Errorf("got %+v", got)
				}
				if took := time.Duration(got.TookMS) * time.Millisecond; took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if !strings.Contains(r.stderr.String(), test.complains) || (r.stderr.String() == "") != (test.complains == "") {
					t.Errorf("said %q", r.stderr.String())
				}
				if removed := len(e.heard("remove")) == 1; removed != (test.result == "killed") {
					t.Errorf("asked %q", e.heard(""))
				}
			})
		})
	}
}

func TestRemoval(t *testing.T) {
	for name, test := range map[string]struct {
		answer answer
		fails  bool
	}{
		"by Docker, at this moment": {answer{409, "removal of container x is already in progress"}, false},
		"by Docker, before":         {answer{404, "No such container"}, false},
		"refused":                   {answer{409, "You cannot remove a running container"}, true},
		"failed":                    {answer{500, "device is busy"}, true},
		"connection broken":         {answer{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, 1)
			e.onRemove = func(*box, *http.Request) *answer { return &test.answer }
			kills, err := kill(t, condemned(filtertest.ID(1), 0), "--rm")
			if len(kills) != 1 || kills[0].Result != "killed" || (err != nil) != test.fails {
				t.Errorf("got %+v, %v", kills, err)
			}
		})
	}
}

// The signal is the one that ended it: what it is configured with, or SIGKILL.
func TestSignal(t *testing.T) {
	for name, test := range map[string]struct {
		configured string
		stubborn   bool
		want       string
	}{
		"usual":                 {"", false, "SIGTERM"},
		"its own":               {"SIGQUIT", false, "SIGQUIT"},
		"its own, by number":    {"2", false, "SIGINT"},
		"after the grace":       {"", true, "SIGKILL"},
		"its own did not do it": {"SIGQUIT", true, "SIGKILL"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := makeEngine(t, 1)
				e.box(1).stopSignal, e.box(1).stubborn = test.configured, test.stubborn
				if got := newTrial(t, e, usual()).one(t, 1, 0); got.Signal != test.want || got.Result != "killed" {
					t.Errorf("got %+v", got)
				}
			})
		})
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

// A second signal leaves what is under way, and says for each that its end was
// not seen.
func TestAbandoned(t *testing.T) {
	for name, change := range map[string]func(*engine){
		"in the grace":               func(e *engine) { e.box(1).stubborn = true },
		"when the stop hangs":        func(e *engine) { e.onStop = hang },
		"when the inspection hangs":  func(e *engine) { e.onInspect = nth(2, hang) },
		"between two tries":          func(e *engine) { e.onStop = saying(500, "no") },
		"and it would be removed so": func(e *engine) { e.box(1).stubborn = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, s := makeEngine(t, 1), usual()
				s.remove = true
				change(e)
				r := newTrial(t, e, s)
				time.AfterFunc(100*time.Millisecond, func() { r.interrupt(errInterrupted) })
				time.AfterFunc(200*time.Millisecond, func() { r.abandon(errAbandoned) })
				got := r.one(t, 1, 0)
				if got.Result != "failed" || got.Error != "interrupted: its end was not seen" || got.TookMS != 200 {
					t.Errorf("got %+v", got)
				}
				if len(e.heard("stop")) != 1 || len(e.heard("remove")) != 0 {
					t.Errorf("asked %q", e.heard(""))
				}
			})
		})
	}
}

// Docker that cannot be spoken to at all is asked once, and named.
func TestNoClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := makeEngine(t, 1)
		r := newTrial(t, e, usual())
		r.docker.make = e.client(func(r *http.Request) error { return context.DeadlineExceeded })
		if got := r.one(t, 1, 0); got.Result != "failed" || got.Error != "no answer from Docker within 5s" {
			t.Errorf("got %+v", got)
		}
	})
}
