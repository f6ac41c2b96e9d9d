package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/dockertest"
	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// door stands before the real engine: while it is shut, what was asked waits.
type door struct {
	shut     atomic.Bool
	answered atomic.Int32
}

// newDoor puts the engine behind it into the environment.
func newDoor(t *testing.T, docker *client.Client) *door {
	t.Helper()
	d := &door{}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	to.Transport = docker.HTTPClient().Transport
	dockertest.Engine(t).HandleFunc("/v1.41/", func(w http.ResponseWriter, r *http.Request) {
		for d.shut.Load() {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
		to.ServeHTTP(w, r)
		d.answered.Add(1)
	})
	return d
}

// labelled is the line of a container that is not condemned.
func labelled(id, labels string) string {
	return strings.Replace(withLabels(condemned(id, 0), labels), `"kill"`, `"keep"`, 1)
}

func withLabels(line, labels string) string {
	return strings.Replace(line, `"id"`, `"labels":{`+labels+`},"id"`, 1)
}

const managedLine = `"winnow.managed":"true"`

// While Docker does not answer, what was met before and has no grace ends, and nothing
// else does: neither what is protected nor what was not met. The lines tell when Docker
// answers again.
func TestEndsWhatWasMet(t *testing.T) {
	docker := dockertest.Client(t)
	start := func(labels map[string]string, host container.HostConfig) string {
		return dockertest.Start(t, container.Config{Cmd: []string{"-ignore-term"}, Labels: labels}, host)
	}
	runs := func(id string) bool { return found(t, docker, id).State.Running }
	ids := map[string]string{
		"met": start(managed, container.HostConfig{}),
		// Their lines say that they are managed alone, as forged ones may.
		"protected":    start(map[string]string{record.LabelManaged: "true", record.LabelProtect: "true"}, container.HostConfig{}),
		"unmanaged":    start(nil, container.HostConfig{}),
		"restarts":     start(managed, container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}}),
		"with a grace": start(managed, container.HostConfig{}),
		"new":          start(managed, container.HostConfig{}),
	}
	door := newDoor(t, docker)
	in, feed := io.Pipe()
	var stdout, stderr lockedBuffer
	k := make(chan error, 1)
	go func() {
		k <- run(t.Context(), []string{"--ask-early", "--grace", "0", "--timeout", "2s"}, in, &stdout, &stderr)
	}()

	// Snapshot after snapshot, as a question that a busy engine did not answer in
	// time is asked again.
	process := found(t, docker, ids["met"]).State.Pid
	for end := time.Now().Add(time.Minute); !holds(t, process) || int(door.answered.Load()) < len(ids)-1; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not met in a minute")
		}
		io.WriteString(feed, hostLine)
		for name, id := range ids {
			if name != "new" {
				io.WriteString(feed, labelled(id, managedLine))
			}
		}
	}
	door.shut.Store(true)
	io.WriteString(feed, hostLine)
	for name, id := range ids {
		line := condemned(id, 0)
		if name == "with a grace" {
			line = strings.Replace(line, `"id"`, `"grace_ms":60000,"id"`, 1)
		}
		io.WriteString(feed, line)
	}
	eventually(t, "the end of what was met", func() bool { return !runs(ids["met"]) })
	time.Sleep(3 * time.Second) // for what must not end, and so that no question still waits
	for name, id := range ids {
		if name != "met" && !runs(id) {
			t.Errorf("%s has ended", name)
		}
	}
	door.shut.Store(false)
	feed.Close()
	if err := <-k; err == nil || !strings.Contains(stderr.String(), "no answer from Docker within 2s") {
		t.Errorf("ended with %v, said %s", err, stderr.String())
	}
	kills := killLines(t, stdout.String())
	at := slices.IndexFunc(kills, func(kill record.Kill) bool { return kill.ID == ids["met"] })
	if at < 0 || kills[at].Result != record.ResultKilled || kills[at].Signal != "SIGKILL" {
		t.Errorf("got %+v", kills)
	}
}

func found(t *testing.T, docker *client.Client, id string) container.InspectResponse {
	t.Helper()
	found, err := docker.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// holds tells whether this process has a pidfd of another.
func holds(t *testing.T, process int) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(path string) bool {
		text, _ := os.ReadFile(path) // it may have been closed since
		return bytes.Contains(text, fmt.Appendf(nil, "\nPid:\t%d\n", process))
	})
}

// Docker may not answer for long: that it has ended is told all the same.
func TestEndedWhateverDockerKnows(t *testing.T) {
	docker := dockertest.Client(t)
	id := victim(t, "-ignore-term")
	door := newDoor(t, docker)
	k := newKiller(t.Context(), t.Context(), settings{timeout: time.Minute, patience: 500 * time.Millisecond, maxAge: time.Minute, while: &cli.While{}}, &output{w: io.Discard})
	k.met.meet(id)
	k.met.asking.Wait()
	door.shut.Store(true)
	k.timeout = 100 * time.Millisecond
	if end := k.attempt(target{id: id, sampled: time.Now()}); end.result != record.ResultKilled || end.signal != "SIGKILL" {
		t.Errorf("got %+v", end)
	}
	if found, err := docker.ContainerInspect(t.Context(), id); err != nil || found.State.Running {
		t.Errorf("it runs on: %v", err)
	}
}

// What was met is ended by what is known of it alone where that is of the sample's
// container: not with a grace, nor in a dry run, nor another process of the same name.
func TestMetIsNotAnother(t *testing.T) {
	docker := dockertest.Client(t)
	id := victim(t, "-ignore-term")
	k := newKiller(t.Context(), t.Context(), settings{timeout: time.Minute, patience: time.Minute}, &output{w: io.Discard})
	meet := func() {
		k.met.meet(id)
		k.met.asking.Wait()
	}
	meet()
	if k.met.all[id].process == 0 {
		t.Fatal("not held")
	}
	if k.endMet(target{id: id, sampled: time.Now(), grace: time.Second}) != nil {
		t.Error("ended with a grace")
	}
	if k.endMet(target{id: id, sampled: time.Now().Add(-time.Hour)}) != nil {
		t.Error("ended by a sample of before its start")
	}
	if k.endMet(target{id: filtertest.ID(1), sampled: time.Now()}) != nil {
		t.Error("ended what was not met")
	}
	if err := docker.ContainerRestart(t.Context(), id, container.StopOptions{Timeout: new(int)}); err != nil {
		t.Fatal(err)
	}
	if k.endMet(target{id: id, sampled: time.Now()}) != nil {
		t.Error("ended another process")
	}
	meet()
	if found, err := docker.ContainerInspect(t.Context(), id); err != nil || !found.State.Running {
		t.Fatalf("it has ended: %v", err)
	}
	if a := k.endMet(target{id: id, sampled: time.Now()}); a == nil {
		t.Error("not ended")
	}
}

// Of many, and of those that are gone, no descriptor stays; about what Docker does not
// know it is asked each ten seconds.
func TestMeetsNoMoreThanThereAre(t *testing.T) {
	e := newEngine(t, 600)
	k := newKiller(t.Context(), t.Context(), settings{timeout: time.Minute, patience: time.Minute}, &output{w: io.Discard})
	for range 3 {
		k.met.turn()
		for n := range 700 {
			k.met.meet(filtertest.ID(n + 1))
		}
		k.met.asking.Wait()
	}
	if asked := len(e.heard("inspect")); asked != mostMet || len(k.met.all) != mostMet {
		t.Errorf("asked %d times, knows %d", asked, len(k.met.all))
	}
	k.met.turn()
	k.met.turn()
	if len(k.met.all) != 0 {
		t.Errorf("knows %d who are gone", len(k.met.all))
	}
	for range 3 {
		k.met.meet(filtertest.ID(700))
		k.met.asking.Wait()
	}
	if asked := len(e.heard("inspect " + strings.TrimLeft(filtertest.ID(700), "0"))); asked != 1 {
		t.Errorf("asked %d times in a row about who is not there", asked)
	}
}

// About what --only spares Docker is asked once, however often it is condemned.
func TestAsksOnceAboutTheSpared(t *testing.T) {
	e := newEngine(t, 2)
	e.box(2).labels["test"] = "x"
	in, feed := io.Pipe()
	var stdout, stderr lockedBuffer
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), []string{"--ask-early", "--only", "test"}, in, &stdout, &stderr) }()
	io.WriteString(feed, hostLine+labelled(filtertest.ID(1), managedLine)+labelled(filtertest.ID(2), managedLine))
	eventually(t, "questions about both", func() bool { return len(e.heard("inspect")) == 2 })
	for n := range 3 {
		time.Sleep(1100 * time.Millisecond) // what is not killed is not tried again at once
		io.WriteString(feed, hostLine+withLabels(strings.Replace(condemned(filtertest.ID(1), 0), `"s"`, fmt.Sprintf(`"s%d"`, n), 1), managedLine))
		eventually(t, "a line", func() bool { return len(killLines(t, stdout.String())) > 0 })
	}
	io.WriteString(feed, hostLine+condemned(filtertest.ID(2), 0))
	feed.Close()
	if err := <-ended; err != nil {
		t.Errorf("%v, %s", err, stderr.String())
	}
	kills := killLines(t, stdout.String())
	for _, kill := range kills[:len(kills)-1] {
		if kill.Result != record.ResultDryRun || kill.Error != "not labelled test, as --only wants it" {
			t.Errorf("got %+v", kill)
		}
	}
	if last := kills[len(kills)-1]; last.Result != record.ResultKilled || len(kills) < 3 || e.running() != 1 {
		t.Errorf("got %+v", kills)
	}
	if asked := e.heard("inspect 1"); len(asked) != 1 {
		t.Errorf("asked %q", asked)
	}
}
