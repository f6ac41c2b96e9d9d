package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/client"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/dockertest"
	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// engine answers as Docker 20.10 does, and as strictly: it knows the containers
// that were put into it and no others, stops as it is asked to, and fails the
// test for what no client of its should ask. A test changes one answer of it by
// a hook.
type engine struct {
	t testing.TB

	// Each hook is called before the usual answer, with what is asked; it gives
	// that unless it returns another.
	onInspect, onStop, onRemove func(*box, *http.Request) *answer

	mu    sync.Mutex
	boxes map[string]*box
	asked []string // as "inspect ID", "stop ID t=10", "remove ID", with ID's last digits
}

// box is a container. It may be changed until the engine is asked of it, and in
// its hooks with the engine's lock.
type box struct {
	id         string
	labels     map[string]string
	started    string
	running    bool
	exit       int
	stopSignal string
	stubborn   bool // does not heed its stop signal
	autoRemove bool
	hostConfig map[string]any
}

// answer is a status and what the engine says with it: why it could not, or the
// whole answer. Status 0 breaks the connection.
type answer struct {
	status  int
	message string
}

// newEngine makes one whose containers, of the ids 1 to n, may be killed and
// stop at once, and puts it into the environment.
func newEngine(t testing.TB, n int) *engine {
	e := makeEngine(t, n)
	dockertest.Engine(t).Handle("/v1.41/", e.handler())
	return e
}

func makeEngine(t testing.TB, n int) *engine {
	e := &engine{t: t, boxes: map[string]*box{}}
	for i := 1; i <= n; i++ {
		e.boxes[filtertest.ID(i)] = &box{id: filtertest.ID(i), labels: map[string]string{record.LabelManaged: "true"},
			started: time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano), running: true}
	}
	return e
}

func (e *engine) box(n int) *box { return e.boxes[filtertest.ID(n)] }

func (e *engine) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1.41/containers/{id}/json", e.inspect)
	mux.HandleFunc("POST /v1.41/containers/{id}/stop", e.stop)
	mux.HandleFunc("DELETE /v1.41/containers/{id}", e.remove)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		e.t.Errorf("the engine was asked %s %s", r.Method, r.URL)
		say(w, &answer{404, "page not found"})
	})
	return mux
}

// say answers as the engine does where it has nothing to show.
func say(w http.ResponseWriter, a *answer) {
	if a.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	if a.status >= 400 {
		json.NewEncoder(w).Encode(map[string]string{"message": a.message})
	} else {
		io.WriteString(w, a.message)
	}
}

// begin notes what is asked of which container and gives the hook's answer.
func (e *engine) begin(r *http.Request, what string, hook func(*box, *http.Request) *answer) (*box, *answer) {
	e.mu.Lock()
	id := r.PathValue("id")
	found := e.boxes[id]
	e.asked = append(e.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s", what, strings.TrimLeft(id, "0"), r.URL.RawQuery)))
	e.mu.Unlock()
	if found == nil {
		return nil, &answer{404, "No such container: " + id}
	}
	if hook != nil {
		return found, hook(found, r)
	}
	return found, nil
}

func (e *engine) inspect(w http.ResponseWriter, r *http.Request) {
	box, instead := e.begin(r, "inspect", e.onInspect)
	if instead != nil {
		say(w, instead)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"Id":     box.id,
		"State":  map[string]any{"Running": box.running, "ExitCode": box.exit, "StartedAt": box.started},
		"Config": map[string]any{"Labels": box.labels, "StopSignal": box.stopSignal}, "HostConfig": box.hostConfig,
	})
}

func (e *engine) stop(w http.ResponseWriter, r *http.Request) {
	grace, err := strconv.Atoi(r.URL.Query().Get("t"))
	if err != nil || grace < 0 || r.URL.RawQuery != fmt.Sprintf("t=%d", grace) {
		e.t.Errorf("asked to stop with %q", r.URL.RawQuery)
	}
	box, instead := e.begin(r, "stop", e.onStop)
	if instead != nil {
		say(w, instead)
		return
	}
	e.mu.Lock()
	running, stubborn := box.running, box.stubborn
	e.mu.Unlock()
	if !running {
		say(w, &answer{304, ""})
		return
	}
	if !stubborn {
		e.exited(box, 143)
		say(w, &answer{204, ""})
		return
	}
	ended := make(chan struct{})
	time.AfterFunc(time.Duration(grace)*time.Second, func() { e.exited(box, 137); close(ended) }) // whoever still waits for it
	select {
	case <-ended:
		say(w, &answer{204, ""})
	case <-r.Context().Done():
	}
}

// exited ends a container, unless it is over.
func (e *engine) exited(box *box, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !box.running {
		return
	}
	box.running, box.exit = false, code
	if box.autoRemove {
		delete(e.boxes, box.id)
	}
}

func (e *engine) remove(w http.ResponseWriter, r *http.Request) {
	if r.URL.RawQuery != "" {
		e.t.Errorf("asked to remove with %q", r.URL.RawQuery) // volumes, links or by force
	}
	box, instead := e.begin(r, "remove", e.onRemove)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case instead != nil:
		say(w, instead)
	case box.running:
		say(w, &answer{409, "You cannot remove a running container " + box.id})
	default:
		delete(e.boxes, box.id)
		say(w, &answer{204, ""})
	}
}

// running counts the containers that are.
func (e *engine) running() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.boxes {
		if b.running {
			n++
		}
	}
	return n
}

// heard gives what the engine was asked, in order; of what begins with prefix.
func (e *engine) heard(prefix string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.asked), func(s string) bool { return !strings.HasPrefix(s, prefix) })
}

// hang answers when the client has gone away, or the test has.
func hang(_ *box, r *http.Request) *answer {
	<-r.Context().Done()
	return &answer{500, "too late"}
}

// nth makes a hook that is asked in the n-th call only, counted from 1.
func nth(n int, hook func(*box, *http.Request) *answer) func(*box, *http.Request) *answer {
	var mu sync.Mutex
	calls := 0
	return func(b *box, r *http.Request) *answer {
		mu.Lock()
		calls++
		here := calls == n
		mu.Unlock()
		if here {
			return hook(b, r)
		}
		return nil
	}
}

// wire brings requests to the engine without a socket, so that a synctest
// bubble's clock applies. What dial returns keeps one from being sent.
type wire struct {
	to   http.Handler
	dial func(*http.Request) error
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.dial != nil {
		if err := w.dial(r); err != nil {
			return nil, err
		}
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	recorder, done := httptest.NewRecorder(), make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		w.to.ServeHTTP(recorder, r.Clone(r.Context()))
	}()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case broken := <-done:
		if broken != nil {
			return nil, io.ErrUnexpectedEOF
		}
		return recorder.Result(), nil
	}
}

// client is one of the engine's, over wire.
func (e *engine) client(dial func(*http.Request) error) func() (*client.Client, error) {
	return func() (*client.Client, error) {
		return client.NewClientWithOpts(client.WithVersion("1.41"),
			client.WithHTTPClient(&http.Client{Transport: wire{e.handler(), dial}}))
	}
}

// usual is what the flags say when nothing is said.
func usual() settings {
	return settings{grace: 10 * time.Second, maxAge: time.Minute, timeout: 5 * time.Second,
		patience: 15 * time.Second, while: &cli.While{}}
}

// trial is a killer over wire, for a bubble.
type trial struct {
	*killer
	interrupt, abandon context.CancelCauseFunc
	stdout, stderr     lockedBuffer
}

func newTrial(t *testing.T, e *engine, s settings) *trial {
	var r trial
	var ctx, under context.Context
	ctx, r.interrupt = context.WithCancelCause(t.Context())
	under, r.abandon = context.WithCancelCause(t.Context())
	r.killer = newKiller(ctx, under, s, &output{w: &r.stdout, broken: r.interrupt,
		complain: func(err error) { fmt.Fprintln(&r.stderr, err) }})
	r.docker.make = e.client(nil)
	return &r
}

// one kills container n, sampled that long ago, and gives the kill line.
func (r *trial) one(t *testing.T, n int, age time.Duration) record.Kill {
	t.Helper()
	if err := r.govern(strings.NewReader(condemned(filtertest.ID(n), age))); err != nil && r.ctx.Err() == nil {
		t.Fatal(err)
	}
	kills := killLines(t, r.stdout.String())
	if len(kills) != 1 {
		t.Fatalf("%d kill lines", len(kills))
	}
	return kills[0]
}

// lockedBuffer takes writes of one goroutine while another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// condemned is the line of a container that is to be killed, sampled that long
// ago.
func condemned(id string, age time.Duration) string {
	return condemnedAt(id, time.Now().Add(-age).UTC().Format(time.RFC3339Nano))
}

func condemnedAt(id, when string) string {
	return fmt.Sprintf(`{"type":"container","time":%q,"host":"h","snapshot":"s","id":%q,"name":"web","image":"low","class":"high","verdict":"kill","reason":"too <heavy>"}`+"\n",
		when, id)
}

// kill runs killctr over the stream and gives its kill lines and error.
func kill(t *testing.T, in string, args ...string) ([]record.Kill, error) {
	t.Helper()
	var stdout, stderr lockedBuffer
	var err error
	within(t, func() { err = run(t.Context(), args, strings.NewReader(in), &stdout, &stderr) })
	kills := killLines(t, stdout.String())
	if got := strings.Count(stdout.String(), "\n") - len(kills); got != strings.Count(in, "\n") {
		t.Errorf("passed %d lines on: %s", got, stdout.String())
	}
	return kills, err
}

// within fails the test where f has not returned in a time far above what it
// needs.
func within(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}
}

// eventually waits until ok, for a time far above what it needs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

func killLines(t *testing.T, stream string) (kills []record.Kill) {
	t.Helper()
	for text := range strings.Lines(stream) {
		var kill record.Kill
		if !strings.HasPrefix(text, `{"type":"kill"`) {
			continue
		}
		if err := json.Unmarshal([]byte(text), &kill); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		kills = append(kills, kill)
	}
	return kills
}
