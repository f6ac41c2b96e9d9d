package scripts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// node is a machine of a fleet: see testdata/node.
type node struct {
	f             *fleet
	name, address string
	dir           string
	running       *exec.Cmd
}

// fleet are the machines of a Swarm of the test's own.
type fleet struct {
	t     *testing.T
	dir   string
	state string
	net   space
	nodes []*node
}

// newFleet boots three machines and joins them; the first is the manager.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make test: needs three engines")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("needs dockerd")
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("needs a host with cgroup v1, whose machines these can be")
	}
	f := &fleet{t: t, net: newSwitch(t, "10.213.8.1")}
	var err error
	if f.dir, err = os.MkdirTemp("", "winnow-fleet-"); err != nil { // a socket's path must be short
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(f.dir) })
	f.state = filepath.Join(f.dir, "state")
	for i := range 3 {
		n := &node{f: f, name: fmt.Sprintf("n%d-%d", i+1, os.Getpid()), address: fmt.Sprintf("10.213.8.%d", 11+i)}
		n.dir = filepath.Join(f.dir, n.address)
		f.nodes = append(f.nodes, n)
		n.boot()
		t.Cleanup(n.halt)
	}
	m := f.nodes[0]
	m.docker("swarm", "init", "--advertise-addr", m.address)
	token := m.docker("swarm", "join-token", "--quiet", "worker")
	for _, n := range f.nodes[1:] {
		n.docker("swarm", "join", "--token", token, "--advertise-addr", n.address, m.address+":2377")
	}
	return f
}

func (n *node) boot() {
	n.f.t.Helper()
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		n.f.t.Fatal(err)
	}
	n.running = exec.Command("testdata/node", n.dir, n.name, n.address, strconv.Itoa(n.f.net.pid))
	n.running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	n.running.Stdout, n.running.Stderr = &said, &said
	if err := n.running.Start(); err != nil {
		n.f.t.Fatal(err)
	}
	if !within(patience, func() bool { return n.command("info").Run() == nil }) {
		log, _ := os.ReadFile(filepath.Join(n.dir, "log"))
		n.f.t.Fatalf("%s has no engine:\n%s\n%s", n.name, &said, log)
	}
}

// halt is as when its power fails.
func (n *node) halt() {
	n.running.Process.Kill()
	n.running.Wait()
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/node-" + n.name)
	within(10*time.Second, func() bool { // once the last of it has ended
		for _, group := range groups {
			exec.Command("find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
		}
		left, _ := filepath.Glob("/sys/fs/cgroup/*/node-" + n.name)
		return len(left) == 0
	})
}

func (n *node) command(args ...string) *exec.Cmd {
	return exec.Command("docker", append([]string{"--host", "unix://" + n.dir + "/run/docker.sock"}, args...)...)
}

func (n *node) docker(args ...string) string {
	n.f.t.Helper()
	out, err := n.command(args...).CombinedOutput()
	if err != nil {
		n.f.t.Fatalf("%s: docker %v: %v\n%s", n.name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// managed starts a container that may be killed.
func (n *node) managed(label string) (id string) {
	n.f.t.Helper()
	if n.command("image", "inspect", image).Run() != nil {
		if out, err := exec.Command("bash", "-c", `docker save "$1" | docker --host "$2" load`, "bash", image, "unix://"+n.dir+"/run/docker.sock").CombinedOutput(); err != nil {
			n.f.t.Fatalf("%v: %s", err, out)
		}
	}
	return n.docker("run", "--detach", "--network", "none", "--label", "winnow.managed=true", "--label", label, image, "idle")
}

func (n *node) lives(id string) bool {
	out, err := n.command("inspect", "--format", "{{.State.Running}}", id).Output()
	return err == nil && strings.TrimSpace(string(out)) == "true"
}

// run calls the script on the manager, as its administrator would, and gives what it said.
func (f *fleet) run(status int, settings []string, args ...string) string {
	f.t.Helper()
	cmd := f.net.command("env", append(append([]string{"DOCKER_HOST=unix://" + f.nodes[0].dir + "/run/docker.sock", "WINNOW_STATE=" + f.state,
		"WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms", "WINNOW_ENFORCE=1"}, settings...), append([]string{"./fleet"}, args...)...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		f.t.Fatalf("fleet %v: %v, not %d:\n%s", args, err, status, out)
	}
	f.t.Logf("fleet %v:\n%s", args, out)
	return string(out)
}

type hostState struct {
	Host, State, Policy, Problem string
	Age                          *int `json:"age_seconds"`
}

func (f *fleet) status() (all map[string]hostState) {
	cmd := f.net.command("env", "DOCKER_HOST=unix://"+f.nodes[0].dir+"/run/docker.sock", "WINNOW_STATE="+f.state, "./fleet", "status", "--json")
	out, _ := cmd.Output()
	all = map[string]hostState{}
	for line := range bytes.Lines(out) {
		var s hostState
		if json.Unmarshal(line, &s) == nil {
			all[s.Host] = s
		}
	}
	return all
}

// governed tells whether every host is, by a policy whose name begins so.
func (f *fleet) governed(policy string) bool {
	all := f.status()
	for _, n := range f.nodes {
		if s := all[n.name]; s.Problem != "" || s.State != "running" || s.Age == nil || !strings.HasPrefix(s.Policy, policy) {
			return false
		}
	}
	return true
}

// longestPause is how far the snapshots of a host are apart at most, by the log.
func (f *fleet) longestPause(host string) (longest time.Duration) {
	f.t.Helper()
	dir := filepath.Join(f.state, "fleet")
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		f.t.Fatal(err)
	}
	out, err := f.net.command("curl", "--silent", "--fail", "--cacert", filepath.Join(dir, "cert.pem"), "--header", "Authorization: Bearer "+string(token),
		"https://"+f.nodes[0].address+":7070/logs?type=host&host="+host).Output()
	if err != nil {
		f.t.Fatal(err)
	}
	var last time.Time
	for line := range bytes.Lines(out) {
		var in struct{ Time time.Time }
		if err := json.Unmarshal(line, &in); err != nil {
			f.t.Fatal(err)
		}
		if !last.IsZero() {
			longest = max(longest, in.Time.Sub(last))
		}
		last = in.Time
	}
	if last.IsZero() {
		f.t.Errorf("%s has no snapshot in the log", host)
	}
	return longest
}

func (f *fleet) policy(name, label string) (setting []string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	text := "version = 1\n[[rule]]\nname = \"go\"\nmatch = [\"label=" + label + "\"]\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
	return []string{"WINNOW_POLICY=" + path}
}

func (f *fleet) eventually(what string, is func() bool) {
	f.t.Helper()
	if !within(patience, is) {
		f.t.Fatalf("not within %v: %s\n%+v\n%s", patience, what, f.status(), f.nodes[0].docker("service", "ls"))
	}
}

// Three engines in a Swarm: each host governs its own containers, one log shows them all, a machine that failed is
// governed again when it is back, a policy is rolled out, one that does not check is refused, and down leaves nothing.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	if err := burnImage(); err != nil {
		t.Fatal(err)
	}
	engines := []string{"--engine", "unix://" + f.dir + "/{}/run/docker.sock"}
	f.run(3, nil, "status")
	one := f.policy("one.toml", "fleet=one")
	began := time.Now()
	f.run(0, one, append([]string{"up"}, engines...)...)
	f.eventually("each host is governed", func() bool { return f.governed("one.toml@") })
	t.Logf("governed after %v", time.Since(began).Round(100*time.Millisecond))
	f.run(0, nil, "status")

	// A host has its own token, and no other's.
	for _, n := range f.nodes {
		agent := n.docker("ps", "--quiet", "--filter", "name=winnow_agent-")
		if got := n.docker("exec", agent, "/bin/busybox", "find", "/run", "-type", "f"); strings.Count(got, "\n") != 1 || !strings.Contains(got, "/run/secrets/token") || !strings.Contains(got, "/run/secrets/cert.pem") {
			t.Errorf("%s: the agent has %q", n.name, got)
		}
		token, err := os.ReadFile(filepath.Join(f.state, "fleet", "tokens", n.name))
		if err != nil {
			t.Fatal(err)
		}
		if got := n.docker("exec", agent, "/bin/busybox", "cat", "/run/secrets/token"); got != string(token) {
			t.Errorf("%s: the agent has another's token", n.name)
		}
	}

	goes, stays := map[*node]string{}, map[*node]string{}
	for _, n := range f.nodes {
		stays[n] = n.managed("fleet=two")
		goes[n] = n.managed("fleet=one")
	}
	gone := func(ids map[*node]string) func() bool {
		return func() bool {
			for n, id := range ids {
				if n.lives(id) {
					return false
				}
			}
			return true
		}
	}
	f.eventually("what the policy condemns is ended on each host", gone(goes))
	if gone(stays)() {
		t.Error("what no rule is about was ended")
	}

	// A machine fails, and comes back.
	failed := f.nodes[2]
	failed.halt()
	f.eventually("the host that failed is told of", func() bool { return f.status()[failed.name].Problem != "" })
	f.run(1, nil, "status")
	failed.boot()
	began = time.Now()
	f.eventually("it is governed again", func() bool { return f.governed("one.toml@") })
	t.Logf("governed again after %v", time.Since(began).Round(100*time.Millisecond))
	again := failed.managed("fleet=one")
	f.eventually("and governs", func() bool { return !failed.lives(again) })
	stays[failed] = failed.managed("fleet=two") // the one before went with the machine

	// One that does not check changes nothing; another one is rolled out.
	bad := filepath.Join(f.dir, "bad.toml")
	if err := os.WriteFile(bad, []byte("version = 1\n[[rule]]\ncpu = \"many\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said := f.run(1, []string{"WINNOW_POLICY=" + bad}, "up"); !strings.Contains(said, "stays") {
		t.Errorf("it said %s", said)
	}
	if !f.governed("one.toml@") {
		t.Error("the policy before is not in force any more")
	}
	f.run(0, f.policy("two.toml", "fleet=two"), append([]string{"up"}, engines...)...)
	f.eventually("each host has the new policy", func() bool { return f.governed("two.toml@") })
	f.eventually("which ends what it condemns", gone(stays))

	// Two hosts of one name are told of, and nothing is done.
	second := f.nodes[0].docker("node", "ls", "--quiet", "--filter", "name="+f.nodes[1].name)
	f.nodes[0].docker("node", "update", "--label-add", "winnow.host="+f.nodes[0].name, second)
	if said := f.run(1, nil, "up"); !strings.Contains(said, "another's: docker node update --label-add winnow.host=NAME") {
		t.Errorf("it said %s", said)
	}
	f.nodes[0].docker("node", "update", "--label-rm", "winnow.host", second)

	// Nobody was long without a governor meanwhile, but for the machine that was away.
	for _, n := range f.nodes[:2] {
		if longest := f.longestPause(n.name); longest > 10*time.Second {
			t.Errorf("%s: no snapshot for %v", n.name, longest)
		} else {
			t.Logf("%s: the longest pause between snapshots was %v", n.name, longest)
		}
	}

	f.run(0, nil, append([]string{"down"}, engines...)...)
	if left := f.nodes[0].docker("node", "ls", "--quiet", "--filter", "node.label=winnow.log=true"); left != "" {
		t.Error("left: the label of the log's node")
	}
	for _, n := range f.nodes {
		for _, what := range [][]string{
			{"ps", "--all", "--quiet", "--filter", "label=com.docker.swarm.service.id"}, {"volume", "ls", "--quiet"},
			{"image", "ls", "--quiet", "--filter", "reference=winnow/*:[0-9a-f]*"},
		} {
			if left := n.docker(what...); left != "" {
				t.Errorf("%s: docker %v: %s", n.name, what, left)
			}
		}
	}
	for _, what := range []string{"service", "secret", "config"} {
		if left := f.nodes[0].docker(what, "ls", "--quiet"); left != "" {
			t.Errorf("left: %s %s", what, left)
		}
	}
	if left := f.nodes[0].docker("network", "ls", "--quiet", "--filter", "name=winnow"); left != "" {
		t.Errorf("left: network %s", left)
	}
}
