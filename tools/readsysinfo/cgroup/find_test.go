package cgroup

import (
	"strings"
	"testing"

	"winnow/tools/internal/record"
)

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1"
	idB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb2"
)

func TestContainerID(t *testing.T) {
	tests := []struct{ parent, name, engine string }{
		{"docker/", idA, "docker"},
		{"", idA, "docker"},
		{"actions_job/", idA, "docker"},
		{"system.slice/", "docker-" + idA + ".scope", "docker"},
		{"kubepods.slice/kubepods-pod1.slice/", "docker-" + idA + ".scope", "docker"},
		{"machine.slice/", "libpod-" + idA + ".scope", "podman"},
		{"user.slice/user-1000.slice/user@1000.service/user.slice/", "libpod-" + idA + ".scope", "podman"},
		{"libpod_parent/", "libpod-" + idA, "podman"},
		{"system.slice/web.service/", "libpod-payload-" + idA, "podman"},
		{"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/", "cri-containerd-" + idA + ".scope", "containerd"},
		{"system.slice/", "nerdctl-" + idA + ".scope", "containerd"},
		{"kubepods/besteffort/pod1/", idA, "containerd"},
		{"kubepods.slice/", idA, "containerd"},
		{"a/kubepods/b/", idA, "containerd"},
		{"default/", idA, "containerd"},
		{"k8s.io/", idA, "containerd"},
		{"a/default/", idA, "docker"},
		{"default/a/", idA, "docker"},
		{"mykubepods/", idA, "docker"},
		{"kubepods-more/", idA, "docker"},
		{"kubepods.slice/kubepods-pod1.slice/", "crio-" + idA + ".scope", "crio"},
		{"kubepods/pod1/", "crio-" + idA, "crio"},

		{"machine.slice/", "libpod-conmon-" + idA + ".scope", ""},
		{"kubepods.slice/", "crio-conmon-" + idA + ".scope", ""},
		{"system.slice/", "docker-" + idA, ""},
		{"system.slice/", idA + ".scope", ""},
		{"system.slice/", "cri-containerd-" + idA, ""},
		{"system.slice/", "nerdctl-" + idA, ""},
		{"system.slice/", "libpod-payload-" + idA + ".scope", ""},
		{"docker/", idA[1:], ""},
		{"docker/", idA + "0", ""},
		{"docker/", strings.ToUpper(idA), ""},
		{"system.slice/", "docker-" + idA + ".service", ""},
		{"system.slice/", "docker-" + idA + ".scope.scope", ""},
		{"", "", ""},
		{"", ".scope", ""},
	}
	for _, test := range tests {
		id, engine, ok := containerID(test.parent, test.name)
		if ok != (test.engine != "") || ok && (id != idA || engine != test.engine) {
			t.Errorf("%s%s: %s of %q, %v", test.parent, test.name, id, engine, ok)
		}
		if path, found := containerIn(test.parent + test.name + "/in/it"); ok && (path != test.parent+test.name || found != idA) {
			t.Errorf("in %s%s: %s, %s", test.parent, test.name, path, found)
		}
	}
}

func FuzzContainerID(f *testing.F) {
	f.Add("docker/", "docker-"+idA+".scope")
	f.Add("kubepods/", idA)
	f.Add("", "libpod-payload-"+idA+"/x")
	f.Fuzz(func(t *testing.T, parent, name string) {
		id, engine, ok := containerID(parent, name)
		if ok && (!record.IsID(id) || !strings.Contains(name, id) || engine == "" || len(name) > len(id)+len("cri-containerd-.scope")) {
			t.Errorf("%q in %q: %q of %q", name, parent, id, engine)
		}
		if path, id := containerIn(parent + name); path != "" && (!strings.HasPrefix(parent+name, path) || !record.IsID(id)) {
			t.Errorf("in %q: %q, %q", parent+name, path, id)
		}
	})
}

func TestContainerIn(t *testing.T) {
	for path, want := range map[string]string{
		"docker/" + idA:                    "docker/" + idA,
		"docker/" + idA + "/docker/" + idB: "docker/" + idA, // the outermost
		"docker":                           "",
		"":                                 "",
		"//":                               "",
		"../docker/" + idA + "/":           "../docker/" + idA,
	} {
		if got, _ := containerIn(path); got != want {
			t.Errorf("%q: got %q", path, got)
		}
	}
}
