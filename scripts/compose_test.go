package scripts

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
)

// Every setting of the table reaches the agent, but for those of what compose.yaml or scripts see to.
func TestComposeHasAllSettings(t *testing.T) {
	table, err := os.ReadFile("table.sh")
	if err != nil {
		t.Fatal(err)
	}
	compose, err := os.ReadFile("../images/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^  (WINNOW_[A-Z_]+) `).FindAllStringSubmatch(string(table), -1) {
		name := found[1]
		scripts := name == "WINNOW_NAME" || strings.HasPrefix(name, "WINNOW_SPAWN")
		if named := strings.Contains(string(compose), name); named == scripts {
			t.Errorf("%s: in compose.yaml %v", name, named)
		}
	}
}

const composePolicy = `version = 1
[[rule]]
name = "go"
match = ["label=compose=go"]
`

// compose is docker-compose on images/compose.yaml, as a project of this world's name.
type compose struct {
	*world
	program []string
	files   []string
}

func newCompose(t *testing.T) *compose {
	w := newWorld(t, "WINNOW_ENFORCE=1", "WINNOW_INTERVAL=1", "WINNOW_SPAN=500ms", "WINNOW_GRACE=3s", "WINNOW_HOST=compose-host", "WINNOW_POLICY=/policies/go.toml")
	c := &compose{world: w, program: []string{"docker-compose"}}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		if err := exec.Command("docker", "compose", "version").Run(); err != nil {
			t.Skip("needs docker-compose, or docker compose")
		}
		c.program = []string{"docker", "compose"}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.toml"), []byte(composePolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	override := "services:\n  agent:\n    volumes: [\"" + dir + ":/policies:ro\"]\n"
	// The runtime cannot give what it may not do itself.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0); err != nil {
		override += "    oom_score_adj: 0\n"
	} else if err := os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "override.yaml")
	if err := os.WriteFile(file, []byte(override), 0o644); err != nil {
		t.Fatal(err)
	}
	c.files = []string{"-f", filepath.Join(filepath.Dir(w.dir), "images", "compose.yaml"), "-f", file}
	w.run(0, "images")
	t.Cleanup(func() { c.command("down", "--volumes").Run() })
	return c
}

func (c *compose) command(args ...string) *exec.Cmd {
	all := append(slices.Clone(c.program[1:]), append(append(c.files, "-p", c.name), args...)...)
	cmd := exec.Command(c.program[0], all...)
	cmd.Env = append(os.Environ(), c.settings...)
	return cmd
}

func (c *compose) do(args ...string) {
	c.t.Helper()
	if out, err := c.command(args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// id is that of a service's container.
func (c *compose) id(service string) string {
	c.t.Helper()
	out, err := c.command("ps", "--quiet", service).Output()
	if err != nil || len(out) == 0 {
		c.t.Fatalf("no container %s: %v", service, err)
	}
	return strings.TrimSpace(string(out))
}

// hosts are those of which there is a host line in the log.
func (c *compose) hosts() (names []string) {
	c.lines(func(line []byte) {
		var in struct{ Type, Host string }
		if json.Unmarshal(line, &in) == nil && in.Type == "host" && !slices.Contains(names, in.Host) {
			names = append(names, in.Host)
		}
	})
	return names
}

// An engine that has the two images needs nothing else: the agent governs, under the host's own name, and what it holds
// is little; a kill that had begun is told though it is stopped; and down leaves nothing.
func TestCompose(t *testing.T) {
	c := newCompose(t)
	began := time.Now()
	c.do("up", "--detach")
	named, err := c.docker.VolumeInspect(t.Context(), c.name+"_state")
	if err != nil {
		t.Fatal(err)
	}
	c.state = named.Mountpoint // the volume is a state directory like any other
	if os.Geteuid() != 0 {
		t.Skip("needs root, to look into the volume")
	}
	c.eventually("a snapshot is in the log", func() bool { return len(c.hosts()) > 0 })
	t.Logf("governed after %v", time.Since(began).Round(100*time.Millisecond))
	if hosts := c.hosts(); !slices.Equal(hosts, []string{"compose-host"}) {
		t.Errorf("hosts: %q", hosts)
	}

	agent := c.id("agent")
	found, err := c.docker.ContainerInspect(t.Context(), agent)
	if err != nil {
		t.Fatal(err)
	}
	if h := found.HostConfig; h.Privileged || !h.ReadonlyRootfs || !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.PortBindings) > 0 {
		t.Errorf("the agent may too much: %+v", h)
	}

	stays, goes := c.managed("compose=stay", false), c.managed("compose=go", false)
	c.eventually("the kill is in the log", func() bool { return c.kills()[goes] == "killed" })
	if !c.lives(stays) || c.kills()[stays] != "" {
		t.Error("one that no rule is about was killed")
	}

	stubborn := c.managed("compose=go", true)
	c.eventually("a kill that has begun", func() bool { return c.isStopped(stubborn) })
	c.do("stop", "agent")
	if c.lives(stubborn) || c.kills()[stubborn] != "killed" {
		t.Errorf("lives %v, logged %q", c.lives(stubborn), c.kills()[stubborn])
	}
	for _, state := range []string{"agent", "logd"} {
		if out, _ := c.command("logs", state).CombinedOutput(); strings.Contains(string(out), "rror") {
			t.Errorf("%s said:\n%s", state, out)
		}
	}

	c.do("down", "--volumes")
	ours := filters.NewArgs(filters.Arg("label", "com.docker.compose.project="+c.name))
	containers, err1 := c.docker.ContainerList(t.Context(), container.ListOptions{All: true, Filters: ours})
	networks, err2 := c.docker.NetworkList(t.Context(), network.ListOptions{Filters: ours})
	volumes, err3 := c.docker.VolumeList(t.Context(), volume.ListOptions{Filters: ours})
	if err1 != nil || err2 != nil || err3 != nil || len(containers)+len(networks)+len(volumes.Volumes) > 0 {
		t.Errorf("left: %v %v %v, %v %v %v", containers, networks, volumes.Volumes, err1, err2, err3)
	}
}
