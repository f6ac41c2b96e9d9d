package scripts

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"
)

// silentEngine is a socket that accepts and never answers, as DOCKER_HOST.
func silentEngine(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "winnow-test-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return "DOCKER_HOST=unix://" + l.Addr().String()
}

// heldEngine is the engine as DOCKER_HOST, but holds back what it says about a
// container until answer is closed; asked tells that it was asked.
func heldEngine(t *testing.T, id string) (environment string, asked <-chan struct{}, answer chan struct{}) {
	t.Helper()
	host := cmp.Or(os.Getenv("DOCKER_HOST"), client.DefaultDockerHost)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	proxy.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
	}}
	questions, answer := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/containers/"+id+"/json") {
			questions <- struct{}{}
			select {
			case <-answer:
			case <-t.Context().Done():
			}
		}
		proxy.ServeHTTP(out, r)
	}))
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return "DOCKER_HOST=unix://" + l.Addr().String(), questions, answer
}

// Of an engine that never answers every script says so, in a bounded time.
func TestSilentEngine(t *testing.T) {
	engine := silentEngine(t)
	var all []*process
	for _, script := range []string{"up", "down", "spawn", "demo", "status", "cycle", "run"} {
		w := newWorld(t)
		if script == "spawn" || script == "status" { // they ask only where winnow is up
			if err := os.MkdirAll(w.state, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(w.state, "up"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if script == "cycle" { // which asks about what there is
			w.managed(w.test(), false)
		}
		cmd := w.command(script)
		cmd.Env = append(cmd.Env, engine)
		all = append(all, w.start(cmd))
	}
	deadline := time.After(90 * time.Second)
	for _, p := range all {
		name := filepath.Base(p.Path)
		select {
		case <-p.ended:
		case <-deadline:
			t.Fatalf("%s has not ended:\n%s", name, p.output())
		}
		said := p.output()
		if p.ProcessState.ExitCode() != 1 && name != "cycle" || !strings.Contains(said, "no answer from Docker") || noise.MatchString(said) {
			t.Errorf("%s: exit status %d:\n%s", name, p.ProcessState.ExitCode(), said)
		}
	}
}

// Spawns that hang hold down up no longer than their questions may take, and
// start nothing after it.
func TestDownAfterHungSpawns(t *testing.T) {
	w := newWorld(t, "WINNOW_SPAWN=4")
	w.run(0, "up")
	engine := silentEngine(t)
	spawns := []*process{}
	for range 2 {
		cmd := w.command("spawn")
		cmd.Env = append(cmd.Env, engine)
		spawns = append(spawns, w.start(cmd))
	}
	w.eventually("a spawn that asks Docker", func() bool { return w.has("spawn.lock") })
	w.run(0, "down") // within the patience of a test
	for _, p := range spawns {
		if !p.isOver() {
			t.Errorf("a spawn outlives down:\n%s", p.output())
		}
		if status := p.wait(); status != 1 || !strings.Contains(p.output(), "no answer from Docker") {
			t.Errorf("spawn: exit status %d:\n%s", status, p.output())
		}
	}
	w.isDown()
}
