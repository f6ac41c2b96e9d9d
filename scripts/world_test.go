package scripts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
)

// patience is how long a test waits for what must come; only a test that fails
// waits so long.
const patience = 2 * time.Minute

// world is a winnow of the test's own on real Docker: its name, its state
// directory and its settings. All of it is gone when the test is.
type world struct {
	t           *testing.T
	docker      *client.Client
	dir         string // where the scripts are
	name, state string
	settings    []string
	*watched
}

// watched is what is known of its containers.
type watched struct {
	mu      sync.Mutex
	made    map[string]bool // those that the test started itself
	stopped map[string]bool // those that Docker was asked to stop, which only killctr does
}

// in is the same world for a subtest.
func (w world) in(t *testing.T) *world {
	w.t = t
	return &w
}

// newWorld skips the test where no engine answers, and where tests shall be short.
func newWorld(t *testing.T, settings ...string) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make test: needs Docker")
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker.Close() })
	asking, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := docker.Ping(asking); err != nil {
		t.Skipf("needs a Docker engine: %v", err)
	}
	if err := burnImage(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, docker: docker, watched: &watched{made: map[string]bool{}, stopped: map[string]bool{}}}
	w.name = fmt.Sprintf("%s-%s", name, strings.ToLower(rand.Text()[:8]))
	w.state = filepath.Join(t.TempDir(), "state")
	w.settings = append([]string{"WINNOW_SOURCE=cgroup"}, settings...)
	if w.dir, err = os.Getwd(); err != nil {
		t.Fatal(err)
	}
	restore, err := keepCrontab()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(restore)
	w.settings = append(w.settings, "WINNOW_NAME="+w.name, "WINNOW_STATE="+w.state, "WINNOW_PORT="+freePort(t))
	t.Cleanup(w.clean)
	w.watch()
	return w
}

// clean takes down what a failed test left.
func (w *world) clean() {
	for _, p := range w.processes("") {
		syscall.Kill(p, syscall.SIGKILL)
	}
	down := w.command("down")
	if os.Getenv("DOCKER_HOST") == "" { // nor the one that down saved, which may be the test's
		down.Env = append(down.Env, "DOCKER_HOST="+client.DefaultDockerHost)
	}
	if out, err := down.CombinedOutput(); err != nil {
		w.t.Errorf("down: %v\n%s", err, out)
	}
	for _, id := range w.containers(context.Background()) {
		w.docker.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true})
	}
}

// watch notes the containers that Docker is asked to stop, with their stop
// signal. `docker rm --force`, which is how down removes them, sends SIGKILL alone.
func (w *world) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	come, failed := w.docker.Events(ctx, events.ListOptions{
		Since:   fmt.Sprint(time.Now().Unix()),
		Filters: filters.NewArgs(filters.Arg("type", "container"), filters.Arg("event", "kill"), filters.Arg("label", "winnow.managed")),
	})
	go func() {
		for {
			select {
			case <-failed:
				return
			case e := <-come:
				w.mu.Lock()
				if e.Actor.Attributes["signal"] != "9" && (w.made[e.Actor.ID] || e.Actor.Attributes["winnow.test"] == w.name) {
					w.stopped[e.Actor.ID] = true
				}
				w.mu.Unlock()
			}
		}
	}()
}

func (w *world) isStopped(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped[id]
}

// command is a script in this world; later settings go before earlier ones.
func (w *world) command(script string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(w.dir, script), args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WINNOW_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, w.settings...)
	return cmd
}

// process is a command under way. Its output goes to a file, since a pipe would
// be waited for until the last of its children has ended.
type process struct {
	*exec.Cmd
	t     *testing.T
	said  string
	ended chan struct{}
}

// start starts a command in a process group of its own, unless it says otherwise.
func (w *world) start(cmd *exec.Cmd) *process {
	w.t.Helper()
	p := &process{Cmd: cmd, t: w.t, ended: make(chan struct{})}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	if cmd.Stdout == nil {
		f, err := os.CreateTemp(w.t.TempDir(), "said")
		if err != nil {
			w.t.Fatal(err)
		}
		defer f.Close()
		p.said, cmd.Stdout, cmd.Stderr = f.Name(), f, f
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	return p
}

func (p *process) output() string {
	text, _ := os.ReadFile(p.said)
	return string(text)
}

func (p *process) isOver() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// wait gives the exit status, -1 after a signal, and fails where the end does not come.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%v has not ended after %v:\n%s", p.Args, patience, p.output())
	}
	return p.ProcessState.ExitCode()
}

// run runs a script to its end, which must have that exit status, and gives what it said.
func (w *world) run(status int, script string, args ...string) string {
	w.t.Helper()
	p := w.start(w.command(script, args...))
	if got := p.wait(); got != status {
		w.t.Fatalf("%s %v: exit status %d, not %d:\n%s", script, args, got, status, p.output())
	}
	return p.output()
}

// image is burn alone: the images of up are not there before it.
const image = "winnow-test/burn"

var burnImage = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "winnow-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("bash", "-c", `cp ../bin/burn "$1" && docker build --quiet --tag "$2" --file - "$1" <<<$'FROM scratch\nCOPY burn /\nENTRYPOINT ["/burn"]'`,
		"bash", dir, image)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", image, err, out)
	}
	return nil
})

// managed starts a container that rests and has opted in, with one more label
// as KEY=VALUE. A stubborn one heeds its stop signal as little as burn does this one.
func (w *world) managed(label string, stubborn bool) string {
	w.t.Helper()
	key, value, _ := strings.Cut(label, "=")
	config := &container.Config{Image: image, Cmd: []string{"idle"}, Labels: map[string]string{"winnow.managed": "true", key: value}}
	if stubborn {
		config.StopSignal = "SIGWINCH"
	}
	return w.begin(config, &container.HostConfig{NetworkMode: "none"})
}

// begin makes and starts a container, which is gone when the test is.
func (w *world) begin(config *container.Config, host *container.HostConfig) string {
	w.t.Helper()
	made, err := w.docker.ContainerCreate(w.t.Context(), config, host, nil, nil, "wtest-"+strings.ToLower(rand.Text()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.docker.ContainerRemove(context.Background(), made.ID, container.RemoveOptions{Force: true})
	})
	w.mu.Lock()
	w.made[made.ID] = true
	w.mu.Unlock()
	if err := w.docker.ContainerStart(w.t.Context(), made.ID, container.StartOptions{}); err != nil {
		w.t.Fatal(err)
	}
	return made.ID
}

// test is the label of a test container of this world.
func (w *world) test() string { return "winnow.test=" + w.name }

// lives tells whether a container runs.
func (w *world) lives(id string) bool {
	found, err := w.docker.ContainerInspect(context.Background(), id)
	return err == nil && found.State.Running
}

// has tells whether a file is in the state directory.
func (w *world) has(file string) bool {
	_, err := os.Stat(filepath.Join(w.state, file))
	return err == nil
}

// eventually waits for what must come.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	if !within(patience, is) {
		w.t.Fatalf("not within %v: %s", patience, what)
	}
}

func within(d time.Duration, is func() bool) bool {
	for end := time.Now().Add(d); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// processes are those in whose arguments or environment the state directory is
// and, unless it is "", that run this script.
func (w *world) processes(script string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		cmdline, _ := os.ReadFile(file)
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
		if !strings.Contains(string(cmdline)+string(environ), w.state) ||
			script != "" && !strings.Contains(string(cmdline), filepath.Join(w.dir, script)+"\x00") {
			continue
		}
		var pid int
		fmt.Sscanf(file, "/proc/%d/", &pid)
		pids = append(pids, pid)
	}
	return pids
}

// containers are those of this world's name, and its test containers.
func (w *world) containers(ctx context.Context) (ids []string) {
	for _, f := range []filters.KeyValuePair{filters.Arg("name", w.name), filters.Arg("label", w.test())} {
		found, err := w.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(f)})
		if err != nil {
			w.t.Error(err)
		}
		for _, c := range found {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// left lists what down must not leave. Processes are given a moment, such as
// for the last words of one that was in a pipe.
func (w *world) left() (all []string) {
	for _, id := range w.containers(context.Background()) {
		all = append(all, "container "+id)
	}
	networks, err := w.docker.NetworkList(context.Background(), network.ListOptions{Filters: filters.NewArgs(filters.Arg("name", w.name))})
	if err != nil {
		w.t.Error(err)
	}
	for _, n := range networks {
		all = append(all, "network "+n.Name)
	}
	lines, _ := exec.Command("crontab", "-l").Output()
	if strings.Contains(string(lines), w.name) || strings.Contains(string(lines), w.state) {
		all = append(all, "crontab lines")
	}
	for _, file := range []string{"up", "unfinished", "governing"} {
		if w.has(file) {
			all = append(all, "the mark "+file)
		}
	}
	within(5*time.Second, func() bool { return len(w.processes("")) == 0 })
	for _, pid := range w.processes("") {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		all = append(all, fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(string(cmdline), "\x00", " ")))
	}
	return all
}

// kills are the results of the kill lines in the log and the spool, by container.
func (w *world) kills() map[string]string {
	found := map[string]string{}
	for _, pattern := range []string{"log/*.jsonl", "spool/*.ndjson"} {
		files, _ := filepath.Glob(filepath.Join(w.state, pattern))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			for line := range strings.Lines(string(text)) {
				var kill struct{ Type, ID, Result string }
				if json.Unmarshal([]byte(line), &kill) == nil && kill.Type == "kill" {
					found[kill.ID] = kill.Result
				}
			}
		}
	}
	return found
}

// unlogged are the containers that were stopped without a kill line.
func (w *world) unlogged() (ids []string) {
	logged := w.kills()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.stopped {
		if logged[id] == "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// isDown fails unless nothing is left and every kill is logged.
func (w *world) isDown() {
	w.t.Helper()
	if left := w.left(); len(left) > 0 {
		w.t.Errorf("left:\n%s", strings.Join(left, "\n"))
	}
	if ids := w.unlogged(); len(ids) > 0 {
		w.t.Errorf("stopped, but there is no kill line: %v", ids)
	}
}

// killsNobody starts n managed containers and watches them for a while: nothing
// can be waited for, since nothing shall happen.
func (w *world) killsNobody(n int, while time.Duration) {
	w.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = w.managed("winnow.test=after-"+w.name, false)
	}
	time.Sleep(while)
	for _, id := range ids {
		if !w.lives(id) || w.isStopped(id) {
			w.t.Errorf("killed after down: %s", id)
		}
	}
}
