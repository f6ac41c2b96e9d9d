package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"winnow/tools/readsysinfo/cgroup"
)

// Of several cgroups with one id the one counts that only the engine can have made; the others are named, and no other
// container is lost. So it is in both sources.
func TestDoubles(t *testing.T) {
	const user = "user.slice/user-1000.slice/user@1000.service/"
	tests := []struct {
		name  string
		paths []string // %s is the id; one that begins with ~ is not root's
		want  int      // which counts, -1 for none
	}{
		{"Docker's, and in a user's slice", []string{user + "%s", "docker/%s"}, 1},
		{"so called parents in a user's slice", []string{user + "docker/%s", user + "kubepods/%s", "docker/%s"}, 2},
		{"systemd's, and a user's", []string{"system.slice/docker-%s.scope", user + "docker-%s.scope"}, 0},
		{"Podman's, and a service's", []string{"system.slice/a.service/%s", "machine.slice/libpod-%s.scope"}, 1},
		{"Podman's without systemd", []string{"libpod_parent/libpod-%s", "other/libpod-%s"}, 0},
		{"in Kubernetes' pods, deep", []string{"kubepods/burstable/pod1/%s", "docker/deeper/%s"}, 0},
		{"a parent of its own, and a user's", []string{"lab.slice/lab-a.slice/docker-%s.scope", user + "docker-%s.scope"}, 0},
		{"a parent of its own, and a service that is a user's", []string{"lab/%s", "~system.slice/a.service/%s"}, 0},
		{"another's below Docker's", []string{"docker/%s", "~kubepods/x/%s"}, 0},
		{"three, of which two are a user's", []string{"~" + user + "a/%s", "~" + user + "b/%s", "~lab/%s"}, 2},
		{"root's in the user's slice", []string{"~" + user + "a/%s", user + "b/%s"}, 1},
		{"two of Docker's", []string{"docker/%s", "system.slice/docker-%s.scope"}, -1},
		{"two of Docker's, and a user's", []string{"docker/%s", "system.slice/docker-%s.scope", "~" + user + "%s"}, -1},
		{"two of a user's", []string{"~" + user + "a/%s", "~" + user + "b/%s"}, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.v2("/docker/"+idB, 50)
			tr.process(50, "other", "S", 1, 500, "other\x00")
			document := moduleDocument(cgroup.Boottime(), 3e9)
			document = document[:strings.Index(document, `{"id":"`+idA)]
			var paths []string
			for i, path := range test.paths {
				path, others := strings.CutPrefix(path, "~")
				path = fmt.Sprintf(path, idA)
				paths = append(paths, path)
				tr.v2("/"+path, 10+i)
				tr.process(10+i, "web", "S", 1, 500, "web\x00")
				dir := filepath.Join(tr.dir, "cg", path)
				if others {
					if err := os.Chown(dir, 65534, 65534); err != nil {
						t.Skipf("skipped: %v", err)
					}
				}
				var stat unix.Stat_t
				if err := unix.Stat(dir, &stat); err != nil {
					t.Fatal(err)
				}
				document += fmt.Sprintf(`{"id":%q,"cgroup_id":%d,"memory_kb":6000,"cpu_ns":1,"process_count":1,"processes":[{"pid":%d}]},`, idA, stat.Ino, 10+i)
			}
			tr.write("proc/sysinfo_winnow", strings.TrimSuffix(document, ",")+"]}")
			if os.Getuid() != 0 {
				t.Skip("skipped: needs root, whose directories these are")
			}
			for _, source := range []string{"cgroup", "module"} {
				s := tr.run("--source", source)
				a := find(s, idA)
				if s.err != nil || find(s, idB) == nil || (a != nil) != (test.want >= 0) {
					t.Fatalf("%s: %v: %s%s", source, s.err, s.stderr, s.stdout)
				}
				if a != nil && (a.PID != 10+test.want || a.MemoryKB != 6000) {
					t.Errorf("%s: got %+v", source, a)
				}
				if strings.Count(s.stderr, "\n") != 1 {
					t.Errorf("%s: said %s", source, s.stderr)
				}
				said := strings.TrimSpace(s.stderr)
				var others []string
				for i, path := range paths {
					if i != test.want {
						others = append(others, path)
					}
				}
				slices.Sort(others)
				if !strings.HasSuffix(said, ": "+strings.Join(others, ", ")) || a == nil && !strings.Contains(said, "left out") ||
					a != nil && !strings.Contains(said, "is the cgroup "+paths[test.want]+":") {
					t.Errorf("%s: said %s", source, said)
				}
			}
		})
	}
}

// Where a document does not tell the cgroups, or tells others than there are, nothing tells which container counts; no
// other is lost.
func TestDoublesInADocument(t *testing.T) {
	tests := []struct{ name, first, second, want string }{
		{"no ids of cgroups", ``, ``, "nothing tells which of 2 is the one"},
		{"one has none", `"cgroup_id":%d,`, ``, "nothing tells which of 2 is the one"},
		{"another's", `"cgroup_id":%d,`, `"cgroup_id":1,`, "nothing tells which of 2 is the one"},
		{"the same one", `"cgroup_id":%d,`, `"cgroup_id":%[1]d,`, "nothing tells which of 2 is the one"},
	}
	for _, test := range tests {
		for _, cgroups := range []bool{true, false} {
			t.Run(fmt.Sprint(test.name, ", cgroups ", cgroups), func(t *testing.T) {
				tr := newTree(t)
				var stat unix.Stat_t
				if cgroups {
					tr.cgroup2()
					tr.v2("/docker/"+idA, 10)
					tr.v2("/user.slice/"+idA, 11)
					if err := unix.Stat(filepath.Join(tr.dir, "cg/docker", idA), &stat); err != nil {
						t.Fatal(err)
					}
				}
				document := moduleDocument(cgroup.Boottime(), 3e9)
				at := strings.Index(document, `{"id":"`+idA)
				document = document[:at]
				for _, member := range []string{test.first, test.second} {
					if strings.Contains(member, "%") {
						member = fmt.Sprintf(member, stat.Ino)
					}
					document += `{` + member + `"id":"` + idA + `","memory_kb":1,"cpu_ns":1,"process_count":1,"processes":[{"pid":10}]},`
				}
				tr.write("document", strings.TrimSuffix(document, ",")+"]}")
				s := tr.run("--source", filepath.Join(tr.dir, "document"))
				if s.err != nil || find(s, idB) == nil || find(s, idA) != nil || !strings.Contains(s.stderr, "container "+idA+" is left out: "+test.want) {
					t.Errorf("%v: %s%s", s.err, s.stderr, s.stdout)
				}
			})
		}
	}
}

// Who makes cgroups can make thousands with one id, or of many; not all are named.
func TestManyDoubles(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	tr.process(10, "web", "S", 1, 500, "web\x00")
	for n := range 20 {
		tr.v2("/docker/"+testID(n), 10)
		tr.v2("/user.slice/x/"+testID(n), 10)
		tr.v2(fmt.Sprintf("/user.slice/%d/%s", n, testID(0)), 10)
	}
	s := tr.run()
	if s.err != nil || len(s.containers) != 20 || strings.Count(s.stderr, "\n") != maxWarned+1 ||
		!strings.Contains(s.stderr, "and 16 more\n") || !strings.Contains(s.stderr, "15 more ids are those of several cgroups\n") {
		t.Errorf("%v: %s", s.err, s.stderr)
	}
}
