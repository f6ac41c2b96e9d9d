package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGuestNames: whose container a cgroup is by its name, and which only look like one.
func TestGuestNames(t *testing.T) { names(t) }

func TestV1GuestNames(t *testing.T) {
	if !onV1() {
		t.Skip("this kernel has no memory controller for cgroup v1")
	}
	names(t)
}

func names(t *testing.T) {
	load(t, "")
	const pod = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b0c.slice"
	var ids []string
	want := map[string]string{}
	for _, test := range []struct{ path, engine string }{ // ID stands for the test's id, OTHER for that of another container around it or in it
		{"docker/ID", "docker"},
		{"system.slice/docker-ID.scope", "docker"},
		{"tenant/batch/ID", "docker"},
		{"docker/ID/docker/OTHER", "docker"},
		{"docker/ID/kubelet/kubepods/besteffort/pod7/OTHER", "docker"},
		{"machine.slice/libpod-ID.scope", "podman"},
		{"machine.slice/libpod-ID.scope/container", "podman"},
		{"libpod_parent/libpod-ID", "podman"},
		{"user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", "podman"},
		{"system.slice/web.service/libpod-payload-ID", "podman"},
		{"machine.slice/libpod_pod_OTHER.slice/libpod-ID.scope", "podman"},
		{pod + "/cri-containerd-ID.scope", "containerd"},
		{"system.slice/nerdctl-ID.scope", "containerd"},
		{"kubepods/burstable/pod7/ID", "containerd"},
		{"kubepods.slice/kubepods-pod8.slice/ID", "containerd"},
		{"sub/kubepods/pod7/ID", "containerd"},
		{"default/ID", "containerd"},
		{"k8s.io/ID", "containerd"},
		{"sub/default/ID", "docker"},
		{"default/sub/ID", "docker"},
		{"k8s.io/sub/ID", "docker"},
		{"mykubepods/ID", "docker"},
		{pod + "/crio-ID.scope", "crio"},
		{"kubepods/burstable/pod7/crio-ID", "crio"},

		{"machine.slice/libpod-conmon-ID.scope", ""},
		{"libpod_parent/libpod-conmon-ID", ""},
		{"system.slice/crio-conmon-ID.scope", ""},
		{"machine.slice/libpod-payload-ID.scope", ""},
		{"machine.slice/libpod_pod_ID.slice", ""},
		{"machine.slice/libpod-ID.service", ""},
		{"machine.slice/podman-ID.scope", ""},
		{"system.slice/docker-ID", ""},
		{"system.slice/docker-ID.scop", ""},
		{"system.slice/docker-ID.scopes", ""},
		{"system.slice/docker-0ID.scope", ""},
		{"system.slice/xdocker-ID.scope", ""},
		{"system.slice/docker--ID.scope", ""},
		{"system.slice/DOCKER-ID.scope", ""},
		{"docker/ID.scope", ""},
		{"docker/-ID", ""},
		{"docker/IDa", ""},
		{pod + "/cri-containerd-ID", ""},
		{pod + "/containerd-ID.scope", ""},
		{"system.slice/nerdctl-ID", ""},
		{pod + "/crio-ID.service", ""},
		{"other/" + strings.Repeat("a", 200), ""},
		{"other/" + strings.Repeat("a", 63), ""},
		{"other/" + strings.Repeat("A", 64), ""},
		{"other/" + strings.Repeat("g", 64), ""},
		{"other/libpod-" + strings.Repeat("a", 63) + ".scope", ""},
	} {
		n := len(ids)
		path := strings.NewReplacer("OTHER", id(1000+n), "ID", id(n)).Replace(test.path)
		newCgroup(t, path).start(t, "/bin/sleep", "sleep", "100000")
		ids = append(ids, id(n))
		if test.engine != "" {
			want[id(n)] = test.engine
		}
	}
	doc := read(t)
	for _, c := range doc.Containers {
		if c.Engine == "" || want[c.ID] != c.Engine || c.Count != 1 {
			t.Errorf("%s: %q with %d processes, not %q", c.ID, c.Engine, c.Count, want[c.ID])
		}
		delete(want, c.ID)
	}
	for id, engine := range want {
		t.Errorf("%s of %s is missing", id, engine)
	}
}

// twin makes a cgroup with a container's id as a user may who has been given a part of the tree, and has a process of
// his in it.
func twin(t *testing.T, id string) cgroup {
	t.Helper()
	const user = 1000
	session := newCgroup(t, "user.slice/user-1000.slice/user@1000.service/init")
	given := cgroup(filepath.Dir(string(session)))
	for _, path := range []string{given.path(""), given.path("cgroup.procs"), given.path("cgroup.subtree_control"), session.path(""), session.path("cgroup.procs")} {
		if err := os.Chown(path, user, user); err != nil {
			t.Fatal(err)
		}
	}
	made := given + cgroup("/docker-"+id+".scope")
	t.Cleanup(func() { made.remove(t) })
	script := fmt.Sprintf("mkdir %s && echo $$ >%[1]s/cgroup.procs && exec sleep 100000", made.path(""))
	pid := session.startAs(t, user, "/bin/sh", "sh", "-c", script)
	eventually(t, "moved", func() bool { pids := made.pids(); return len(pids) == 1 && pids[0] == pid })
	return made
}

// TestGuestTwins: a cgroup that has a container's id too, which takes no root, is shown for itself.
func TestGuestTwins(t *testing.T) {
	load(t, "")
	real, other := bothOfOneID(t)
	real.freeze(t)
	doc := read(t)
	if len(doc.Containers) != 2 {
		t.Fatalf("%d containers", len(doc.Containers))
	}
	for _, box := range []cgroup{real, other} {
		found := false
		for _, c := range doc.Containers {
			if c.CgroupID != box.inode(t) {
				continue
			}
			found = true
			used, cpu := number(t, box.read(t, "memory.current"))/1024, box.field(t, "cpu.stat", "usage_usec")
			if c.ID != id(0) || c.MemoryKB == nil || *c.MemoryKB > used+chargeBatchKB() || *c.MemoryKB+chargeBatchKB() < used {
				t.Errorf("%s: %s with %s kB of memory, not %d", box, c.ID, orNull(c.MemoryKB), used)
			}
			if c.CPUNS == nil || *c.CPUNS/1000 != cpu {
				t.Errorf("%s: %s ns of CPU, not %d us", box, orNull(c.CPUNS), cpu)
			}
			if pids := box.pids(); c.Count != len(pids) {
				t.Errorf("%s: %d processes of %d", box, c.Count, len(pids))
			}
		}
		if !found {
			t.Errorf("%s is not there as cgroup %d", box, box.inode(t))
		}
	}
}

// bothOfOneID makes a container of more than 8 MB at rest, and a twin of it.
func bothOfOneID(t *testing.T) (real, other cgroup) {
	t.Helper()
	real = newCgroup(t, "docker/"+id(0))
	cmd := real.job(t, "hold", "8000", "1")
	go cmd.Wait()
	return real, twin(t, id(0))
}

// TestGuestTwinsTold: readsysinfo has the container that lies where the engine puts them, and names the other.
func TestGuestTwinsTold(t *testing.T) {
	load(t, "")
	_, other := bothOfOneID(t)
	for _, source := range []string{"module", "cgroup"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "./readsysinfo", "--source", source, "--span", "100ms")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		text, _ := cmd.Output() // whether it ends with 1 is its own affair
		lines := 0
		for line := range strings.Lines(string(text)) {
			var record struct {
				Type, ID string
				Memory   uint64 `json:"memory_kb"`
			}
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Fatalf("%s: %v in %q", source, err, line)
			}
			if record.Type != "container" {
				continue
			}
			lines++
			if record.ID != id(0) || record.Memory < 8000 {
				t.Errorf("%s: not the container: %s", source, line)
			}
		}
		if lines != 1 {
			t.Errorf("%s: %d lines of the container\n%s", source, lines, text)
		}
		if !strings.Contains(complaints.String(), filepath.Base(string(other))) {
			t.Errorf("%s: %q does not name %s", source, complaints.String(), other)
		}
	}
}

// TestGuestInside: nobody in a container may read the file, though it has the host's processes and root before it.
func TestGuestInside(t *testing.T) {
	load(t, "")
	for _, test := range []struct {
		path string
		may  bool
	}{
		{"docker/" + id(0), false},
		{"docker/" + id(1) + "/child/deeper", false},
		{"machine.slice/libpod-" + id(2) + ".scope/container", false},
		{"", true},
		{"system.slice/ssh.service", true},
		{"user.slice/docker-" + id(3) + ".slice", true},
	} {
		box := cgroup("")
		if test.path != "" {
			box = newCgroup(t, test.path)
		}
		if said := box.cat(t); strings.Contains(said, "ermission denied") == test.may || test.may && said != "" {
			t.Errorf("in %q: %q", test.path, said)
		}
	}
}
