package cgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// Cgroup is one that is named as a container's.
type Cgroup struct {
	ID, Engine string
	Path       string // below the hierarchies' roots
}

const idLength = 64

// engines are those that give a container's cgroup its name: the id, with what each has around it.
var engines = map[string]string{
	"":                      record.EngineDocker, // but see containerID
	"docker-.scope":         record.EngineDocker,
	"libpod-.scope":         record.EnginePodman,
	"libpod-":               record.EnginePodman,
	"libpod-payload-":       record.EnginePodman,
	"cri-containerd-.scope": record.EngineContainerd,
	"nerdctl-.scope":        record.EngineContainerd,
	"crio-.scope":           record.EngineCRIO,
	"crio-":                 record.EngineCRIO,
}

// containerID takes the id of a container, and whose it is, from the name of its cgroup, which lies in parent, "" or a
// path with a slash at its end.
func containerID(parent, name string) (id, engine string, ok bool) {
	base, _ := strings.CutSuffix(name, ".scope")
	from := len(base) - idLength
	if from < 0 || !record.IsID(base[from:]) {
		return "", "", false
	}
	id = base[from:]
	around := name[:from] + name[len(base):]
	engine, ok = engines[around]
	if around == "" && ofContainerd(parent) {
		engine = record.EngineContainerd
	}
	return id, engine, ok
}

// ofContainerd tells whether a bare id in parent is containerd's: below Kubernetes' parent, or in that of one of its
// namespaces.
func ofContainerd(parent string) bool {
	return parent == "default/" || parent == "k8s.io/" ||
		strings.Contains("/"+parent, "/kubepods/") || strings.Contains("/"+parent, "/kubepods.slice/")
}

// containerIn is the path of the container's cgroup that path is, or lies in.
func containerIn(path string) (container, id string) {
	for at := 0; at < len(path); {
		name, _, _ := strings.Cut(path[at:], "/")
		if id, _, ok := containerID(path[:at], name); ok {
			return path[:at+len(name)], id
		}
		at += len(name) + 1
	}
	return "", ""
}

// Find lists the cgroups that are named as containers', by id, those of each in the order of their paths. What lies in
// one of them belongs to it. On an error the map has those that were found before it.
func (f *Files) Find() (map[string][]Cgroup, error) {
	found := make(map[string][]Cgroup)
	var walk func(at dir, path string) error
	walk = func(at dir, path string) error {
		names, err := at.children()
		for _, name := range names {
			if id, engine, ok := containerID(path, name); ok {
				found[id] = append(found[id], Cgroup{id, engine, path + name})
				continue
			}
			below, err := at.open(name)
			if gone(err) {
				continue
			}
			if err != nil {
				return err
			}
			err = walk(below, path+name+"/")
			below.close()
			if err != nil && !gone(err) && !errors.Is(err, unix.ENAMETOOLONG) { // deeper than any engine goes
				return err
			}
		}
		return err
	}
	if err := f.locate(); err != nil {
		return nil, err
	}
	err := walk(f.memory, "")
	for _, same := range found {
		slices.SortFunc(same, func(a, b Cgroup) int { return strings.Compare(a.Path, b.Path) })
	}
	return found, err
}

// maxNamed is how many of the cgroups that have one id are named: who makes them can make thousands.
const maxNamed = 5

// Own is which of several cgroups with one id is the container's, and a message that says so: where the engine makes
// them no user can, unless root. It is nil where nothing tells, and then the container is left out: not known means
// keep.
func (f *Files) Own(same []Cgroup) (own *Cgroup, said string) {
	const worst = 5
	var places [worst + 1][]*Cgroup
	for i := range same {
		n := f.place(same[i])
		places[n] = append(places[n], &same[i])
	}
	for _, best := range places {
		if len(best) == 1 {
			own = best[0]
		}
		if len(best) > 0 {
			break
		}
	}
	var others []string
	for i := range same {
		if &same[i] != own {
			others = append(others, record.Shorten(same[i].Path, 256))
		}
	}
	more := ""
	if n := len(others) - maxNamed; n > 0 {
		others, more = others[:maxNamed], fmt.Sprintf(" and %d more", n)
	}
	named := strings.Join(others, ", ") + more
	if own == nil {
		return nil, fmt.Sprintf("container %s is left out: nothing tells which of its cgroups is the one: %s", same[0].ID, named)
	}
	return own, fmt.Sprintf("container %s is the cgroup %s: passing over what else has its id: %s", own.ID, own.Path, named)
}

// place is how likely a cgroup is the engine's: 0 the most, 5 the least.
func (f *Files) place(cg Cgroup) int {
	top, _, _ := strings.Cut(cg.Path, "/")
	parent := cg.Path[:max(0, strings.LastIndexByte(cg.Path, '/'))]
	place := 2
	switch {
	case slices.Contains([]string{"docker", "system.slice", "machine.slice", "libpod_parent"}, parent), top == "kubepods", top == "kubepods.slice":
		place = 0
	case top == "user.slice":
		place = 4
	}
	if stat := f.stat(cg); stat.Ino == 0 || stat.Uid != 0 {
		place++
	}
	return place
}

// Inode is that of the cgroup's directory, 0 where that has gone.
func (f *Files) Inode(cg Cgroup) uint64 { return f.stat(cg).Ino }

// stat is of the cgroup's directory, zero where that has gone.
func (f *Files) stat(cg Cgroup) (stat unix.Stat_t) {
	if err := unix.Fstatat(f.memory.fd, cg.Path, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return unix.Stat_t{}
	}
	return stat
}
