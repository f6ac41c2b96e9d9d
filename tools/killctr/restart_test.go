package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// serve has the engine answer at the socket, in that version of its API and in no
// other, until it is closed.
func (e *engine) serve(t *testing.T, socket, version string) (shut func()) {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("API-Version", version) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		path, asked := strings.CutPrefix(r.URL.Path, "/v"+version)
		if !asked {
			say(w, &answer{400, "client version is too old"})
			return
		}
		r.URL.Path = "/v1.41" + path
		e.handler().ServeHTTP(w, r)
	})
	server := httptest.NewUnstartedServer(mux)
	server.Listener = listener
	server.Start()
	return func() {
		server.CloseClientConnections()
		server.Close()
	}
}

// In the middle of a stream dockerd goes away and comes back, even as another
// version: that keeps it from a kill while it is away, and not from those after.
func TestDockerdComesBack(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	e := makeEngine(t, 5)
	in, feed := io.Pipe()
	var stdout, stderr lockedBuffer
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), nil, in, &stdout, &stderr) }()
	n := 0
	kills := func(want string) {
		t.Helper()
		n++
		io.WriteString(feed, hostLine+condemned(filtertest.ID(n), 0))
		eventually(t, "a kill line", func() bool { return len(killLines(t, stdout.String())) == n })
		kill := killLines(t, stdout.String())[n-1]
		if kill.Result+" "+kill.Error != want && !(want == "failed" && kill.Result == want) {
			t.Errorf("kill %d: %s %s, want %s", n, kill.Result, kill.Error, want)
		}
	}
	shut := e.serve(t, socket, "1.41")
	kills("killed ")
	shut()
	shut = e.serve(t, socket, "1.41")
	kills("killed ")
	shut()
	kills("failed")
	shut = e.serve(t, socket, "1.44")
	kills("killed ")
	kills("killed ")
	shut()
	feed.Close()
	if err := <-ended; err == nil || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("ended with %v, said %s", err, stderr.String())
	}
	if got := len(e.heard("stop")); got != 4 {
		t.Errorf("asked to stop %d times", got)
	}
}

// While dockerd is away each snapshot condemns the same container again. It is
// tried ever more rarely, and killed when dockerd is back.
func TestTriedAgain(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	e := makeEngine(t, 1)
	in, feed := io.Pipe()
	var stdout, stderr lockedBuffer
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), nil, in, &stdout, &stderr) }()
	begun := time.Now()
	kills := func() []record.Kill {
		io.WriteString(feed, hostLine+condemned(filtertest.ID(1), 0))
		time.Sleep(20 * time.Millisecond)
		return killLines(t, stdout.String())
	}
	eventually(t, "two tries", func() bool { return len(kills()) == 2 })
	if took := time.Since(begun); took < minPause {
		t.Errorf("tried again after %v", took)
	}
	defer e.serve(t, socket, "1.41")()
	eventually(t, "a kill", func() bool { all := kills(); return all[len(all)-1].Result == record.ResultKilled })
	feed.Close()
	<-ended
	all := killLines(t, stdout.String())
	if len(all) != 3 || all[0].Result != record.ResultFailed {
		t.Errorf("got %+v", all)
	}
}
