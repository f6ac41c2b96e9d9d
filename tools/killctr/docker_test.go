package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"winnow/tools/internal/dockertest"
	"winnow/tools/internal/full"
	"winnow/tools/internal/record"
)

var managed = map[string]string{record.LabelManaged: "true"}

// victim starts a container that may be killed.
func victim(t *testing.T, load ...string) string {
	t.Helper()
	return dockertest.Start(t, container.Config{Cmd: load, Labels: managed}, container.HostConfig{})
}

// inspect gives a container's state; of one that is not there, nil.
func inspect(t *testing.T, docker *client.Client, id string) *container.State {
	t.Helper()
	found, err := docker.ContainerInspect(t.Context(), id)
	if err != nil {
		return nil
	}
	return found.State
}

// killOne runs killctr over one line and gives its one kill line.
func killOne(t *testing.T, line string, args ...string) record.Kill {
	t.Helper()
	kills, err := kill(t, line, args...)
	if err != nil || len(kills) != 1 {
		t.Fatalf("got %+v, %v", kills, err)
	}
	return kills[0]
}

func TestKills(t *testing.T) {
	docker := dockertest.Client(t)
	tests := []struct {
		name, signal string
		load         []string
		config       container.Config
		host         container.HostConfig
		pause        bool
		args         []string
		removed      bool
	}{
		{name: "one that ends by itself", signal: "SIGTERM"},
		{name: "one that ignores SIGTERM", load: []string{"-ignore-term"}, signal: "SIGKILL"},
		{name: "one with a stop signal", load: []string{"-ignore-term"}, config: container.Config{StopSignal: "SIGQUIT"}, signal: "SIGQUIT"},
		{name: "one that is paused", pause: true, signal: "SIGTERM"},
		{name: "one that is to be restarted always", load: []string{"-ignore-term"}, signal: "SIGKILL",
			host: container.HostConfig{RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyAlways}}},
		{name: "one that Docker removes", host: container.HostConfig{AutoRemove: true}, args: []string{"--rm"},
			signal: "SIGTERM", removed: true},
		{name: "with its record", args: []string{"--rm"}, signal: "SIGTERM", removed: true},
		{name: "without a grace", load: []string{"-ignore-term"}, args: []string{"--grace", "0"}, signal: "SIGKILL"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.config.Cmd, test.config.Labels = test.load, managed
			id := dockertest.Start(t, test.config, test.host)
			if test.pause {
				if err := docker.ContainerPause(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			got := killOne(t, condemned(id, 0), append([]string{"--grace", "1s"}, test.args...)...)
			if got.Result != record.ResultKilled || got.Signal != test.signal || got.Error != "" {
				t.Errorf("got %+v", got)
			}
			if test.removed {
				eventually(t, "it is removed", func() bool { return inspect(t, docker, id) == nil })
				return
			}
			// One that Docker is about to start again says so as soon as it ends.
			if state := inspect(t, docker, id); state == nil || state.Running || state.Restarting || state.Status != "exited" {
				t.Errorf("its state is %+v", state)
			}
		})
	}
}

func TestVolumesStay(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	id := dockertest.Start(t, container.Config{Labels: managed, Volumes: map[string]struct{}{"/data": {}}}, container.HostConfig{})
	found, err := docker.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	name := found.Mounts[0].Name
	t.Cleanup(func() { docker.VolumeRemove(context.Background(), name, true) })
	killOne(t, condemned(id, 0), "--rm")
	if _, err := docker.VolumeInspect(t.Context(), name); err != nil {
		t.Error(err)
	}
}

// A log that is replayed, and a dry run, leave everything as it was.
func TestChangesNothing(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	id := victim(t)
	before := inspect(t, docker, id)
	for want, test := range map[string]struct {
		age  time.Duration
		args []string
	}{
		record.ResultStale:  {2 * time.Hour, nil},
		record.ResultDryRun: {0, []string{"--dry-run", "--rm"}},
	} {
		if got := killOne(t, condemned(id, test.age), test.args...); got.Result != want || got.Signal != "" {
			t.Errorf("got %+v, want %s", got, want)
		}
		if after := inspect(t, docker, id); after == nil || !after.Running || after.StartedAt != before.StartedAt {
			t.Errorf("%s: its state is %+v", want, after)
		}
	}
}

// With --only, what lacks the label lives on beside what has it.
func TestOnly(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	theirs := victim(t)
	ours := dockertest.Start(t, container.Config{Labels: map[string]string{record.LabelManaged: "true", "winnow.test": "x"}}, container.HostConfig{})
	kills, err := kill(t, condemned(theirs, 0)+condemned(ours, 0), "--only", "winnow.test", "--rm")
	if err != nil || len(kills) != 2 {
		t.Fatalf("got %+v, %v", kills, err)
	}
	for _, kill := range kills {
		want := map[string]string{theirs: record.ResultDryRun, ours: record.ResultKilled}[kill.ID]
		if kill.Result != want {
			t.Errorf("got %+v, want %s", kill, want)
		}
	}
	if state := inspect(t, docker, theirs); state == nil || !state.Running {
		t.Errorf("its state is %+v", state)
	}
	if state := inspect(t, docker, ours); state != nil {
		t.Errorf("its state is %+v", state)
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	id := victim(t)
	if err := docker.ContainerStop(t.Context(), id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := killOne(t, condemned(id, 0), "--rm"); got.Result != record.ResultGone || inspect(t, docker, id) == nil {
		t.Errorf("stopped: got %+v", got)
	}
	if err := docker.ContainerRemove(t.Context(), id, container.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := killOne(t, condemned(id, 0)); got.Result != record.ResultGone {
		t.Errorf("removed: got %+v", got)
	}
}

// Twenty that ignore SIGTERM end in about one grace: each kill is under way
// while all others are.
func TestInParallel(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	var in strings.Builder
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = victim(t, "-ignore-term")
	}
	for _, id := range ids {
		in.WriteString(condemned(id, 0))
	}
	start := time.Now()
	kills, err := kill(t, in.String(), "--grace", "2s")
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("took %v", took)
	}
	if err != nil || len(kills) != len(ids) {
		t.Fatalf("%d kill lines, %v", len(kills), err)
	}
	var lastStart, firstEnd time.Time
	for _, kill := range kills {
		if kill.Result != record.ResultKilled || kill.Signal != "SIGKILL" || kill.TookMS < 2000 {
			t.Errorf("got %+v", kill)
		}
		if state := inspect(t, docker, kill.ID); state == nil || state.Running {
			t.Errorf("%s: its state is %+v", kill.ID, state)
		}
		if begun := kill.Time.Add(-time.Duration(kill.TookMS) * time.Millisecond); begun.After(lastStart) {
			lastStart = begun
		}
		if firstEnd.IsZero() || kill.Time.Before(firstEnd) {
			firstEnd = kill.Time
		}
	}
	if !lastStart.Before(firstEnd) {
		t.Errorf("the last began %v after the first had ended", lastStart.Sub(firstEnd))
	}
}

// TestPipeline sends real containers through namectr, classify and killctr, in a
// whole snapshot and in one that is cut off. Of those that could go, none may be
// kept; who must live does, with a sample that says otherwise too.
func TestPipeline(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	bin := build(t, "namectr", "classify", "killctr")
	start := func(labels map[string]string) string {
		return dockertest.Start(t, container.Config{Labels: labels}, container.HostConfig{})
	}
	doomed, restarted := start(managed), start(managed)
	protected := start(map[string]string{record.LabelManaged: "true", record.LabelProtect: "true"})
	unlabelled := start(nil)
	cutOff := start(managed)
	snapshot := func(name string, announced int, ids ...string) string {
		now := time.Now().UTC().Format(time.RFC3339Nano)
		lines := fmt.Sprintf(`{"type":"host","time":%q,"host":"h","snapshot":%q,"containers":%d,"total_memory_kb":1000000}`+"\n", now, name, announced)
		for _, id := range ids {
			lines += fmt.Sprintf(`{"type":"container","time":%q,"host":"h","snapshot":%q,"id":%q,"memory_kb":500,"cpu_percent":1,"interval_ms":10000}`+"\n", now, name, id)
		}
		return lines
	}
	in := snapshot("whole", 4, doomed, restarted, protected, unlabelled) + snapshot("cut", 2, cutOff)
	if err := docker.ContainerRestart(t.Context(), restarted, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `set -e; namectr | classify --keep-low 0 | killctr --grace 1s`)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdin, cmd.Stderr = strings.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]string{}
	for _, kill := range killLines(t, string(out)) {
		results[kill.ID] = kill.Result
	}
	if len(results) != 2 || results[doomed] != record.ResultKilled || results[restarted] != record.ResultStale {
		t.Errorf("got %v from\n%s", results, out)
	}
	for name, id := range map[string]string{"restarted": restarted, "protected": protected, "unlabelled": unlabelled, "cut off": cutOff} {
		if state := inspect(t, docker, id); state == nil || !state.Running {
			t.Errorf("the %s one: its state is %+v", name, state)
		}
	}
	if state := inspect(t, docker, doomed); state == nil || state.Running {
		t.Errorf("the one that had to go: its state is %+v", state)
	}

	// Whatever a sample says: the labels as Docker has them count.
	kills, err := kill(t, condemned(protected, 0)+condemned(unlabelled, 0)+condemned(restarted, time.Minute/2)+condemned(protected, 0))
	if err != nil || len(kills) != 3 {
		t.Errorf("got %+v, %v", kills, err)
	}
	for _, id := range []string{protected, unlabelled, restarted} {
		if state := inspect(t, docker, id); state == nil || !state.Running {
			t.Errorf("%s: its state is %+v", id, state)
		}
	}
}

// build makes tools of this module and gives their folder.
func build(t *testing.T, tools ...string) string {
	t.Helper()
	bin := t.TempDir() + "/"
	args := []string{"build", "-o", bin}
	for _, tool := range tools {
		args = append(args, "winnow/tools/"+tool)
	}
	if said, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return bin
}

// A dockerd that is restarted in the middle of a kill, and leaves the
// containers running meanwhile, finds it carried on.
func TestDockerdRestarts(t *testing.T) {
	d := newDaemon(t)
	d.start()
	id := victim(t, "-ignore-term")
	var kills []record.Kill
	var err error
	done := make(chan struct{})
	signalled := killed(t, dockertest.Client(t), id)
	go func() {
		defer close(done)
		kills, err = kill(t, condemned(id, 0), "--grace", "3s")
	}()
	within(t, func() { <-signalled })
	d.stop()
	d.start()
	within(t, func() { <-done })
	if err != nil || len(kills) != 1 {
		t.Fatalf("got %+v, %v", kills, err)
	}
	if got := kills[0]; got.Result != record.ResultKilled || got.Signal != "SIGKILL" || got.TookMS < 3000 {
		t.Errorf("got %+v", got)
	}
	if state := inspect(t, dockertest.Client(t), id); state == nil || state.Running {
		t.Errorf("its state is %+v", state)
	}
}

// killed tells when Docker sends the container a signal.
func killed(t *testing.T, docker *client.Client, id string) <-chan events.Message {
	t.Helper()
	messages, _ := docker.Events(t.Context(), events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("container", id), filters.Arg("event", "kill"))})
	return messages
}

// daemon is a dockerd of the test's own.
type daemon struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	said *os.File
}

func newDaemon(t *testing.T) *daemon {
	full.Needs(t, "root")
	if os.Getuid() != 0 {
		t.Skip("needs root, for a dockerd of its own")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skipf("needs dockerd, to run one of its own: %v", err)
	}
	dir, err := os.MkdirTemp("", "wtest-") // a short path: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, dir: dir}
	if d.said, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.clean)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "s"))
	return d
}

// start starts dockerd and waits until it answers.
func (d *daemon) start() {
	d.t.Helper()
	d.cmd = exec.Command("dockerd", "--data-root", filepath.Join(d.dir, "data"), "--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"), "-H", "unix://"+filepath.Join(d.dir, "s"),
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--live-restore")
	d.cmd.Stdout, d.cmd.Stderr = d.said, d.said
	// In the host's network namespace it would take the host's docker0 away.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		d.t.Fatal(err)
	}
	defer docker.Close()
	for range 300 {
		if _, err = docker.Ping(d.t.Context()); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.said.Seek(0, io.SeekStart)
	said, _ := io.ReadAll(d.said)
	d.t.Fatalf("%v: %v\n%s", d.cmd, err, said)
}

func (d *daemon) stop() {
	d.cmd.Process.Signal(syscall.SIGTERM)
	d.cmd.Wait()
}

func (d *daemon) clean() {
	if d.cmd != nil {
		d.stop()
	}
	d.said.Close()
	// dockerd leaves its root mounted on itself when containers may outlive it.
	syscall.Unmount(filepath.Join(d.dir, "data"), syscall.MNT_DETACH)
	if err := os.RemoveAll(d.dir); err != nil {
		d.t.Error(err)
	}
}
