package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// cgroup is a container's; path is below the hierarchies' roots.
type cgroup struct{ id, engine, path string }

const idLength = 64

// engines are those that give a container's cgroup its name: the id, with what
// each has around it.
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

// containerID takes the id of a container, and whose it is, from the name of
// its cgroup, which lies in parent, "" or a path with a slash at its end.
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

// ofContainerd tells whether a bare id in parent is containerd's: below
// Kubernetes' parent, or in that of one of its namespaces.
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

// find lists the cgroups that are named as containers', by id. What lies in
// one of them belongs to it.
func (g *cgroups) find() ([]cgroup, error) {
	var found []cgroup
	var walk func(at dir, path string) error
	walk = func(at dir, path string) error {
		names, err := at.children()
		for _, name := range names {
			if id, engine, ok := containerID(path, name); ok {
				found = append(found, cgroup{id, engine, path + name})
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
	err := walk(g.memory, "")
	slices.SortFunc(found, func(a, b cgroup) int { return cmp.Or(strings.Compare(a.id, b.id), strings.Compare(a.path, b.path)) })
	return found, err
}

// maxDoubles is how many ids that several cgroups have are named, and how many
// cgroups of each: who makes them can make thousands.
const maxDoubles = 5

// oneEach leaves one cgroup of each container, and tells of those that have
// another's id.
func (g *cgroups) oneEach(found []cgroup) (left []cgroup, doubles []string) {
	left = make([]cgroup, 0, len(found))
	for same := range sameID(found, func(cg *cgroup) string { return cg.id }) {
		if len(same) == 1 {
			left = append(left, same[0])
			continue
		}
		own, double := g.own(same)
		if own != nil {
			left = append(left, *own)
		}
		doubles = append(doubles, double)
	}
	return left, doubles
}

// own is which of several cgroups with one id is the container's: where the
// engine makes them no user can, unless root. It is nil where nothing tells, and
// then the container is left out: not known means keep.
func (g *cgroups) own(same []cgroup) (own *cgroup, double string) {
	const worst = 6
	best, places := worst, [worst]int{}
	for i := range same {
		place := g.place(&same[i])
		if places[place]++; place < best {
			best, own = place, &same[i]
		}
	}
	if places[best] > 1 {
		own = nil
	}
	var others []string
	for i := range same {
		if &same[i] != own {
			others = append(others, record.Shorten(same[i].path, 256))
		}
	}
	more := ""
	if n := len(others) - maxDoubles; n > 0 {
		others, more = others[:maxDoubles], fmt.Sprintf(" and %d more", n)
	}
	named := strings.Join(others, ", ") + more
	if own == nil {
		return nil, fmt.Sprintf("container %s is left out: nothing tells which of its cgroups is the one: %s", same[0].id, named)
	}
	return own, fmt.Sprintf("container %s is the cgroup %s: passing over what else has its id: %s", own.id, own.path, named)
}

// place is how likely a cgroup is the engine's, 0 the most.
func (g *cgroups) place(cg *cgroup) int {
	top, _, _ := strings.Cut(cg.path, "/")
	parent := cg.path[:max(0, strings.LastIndexByte(cg.path, '/'))]
	place := 2
	switch {
	case slices.Contains([]string{"docker", "system.slice", "machine.slice", "libpod_parent"}, parent), top == "kubepods", top == "kubepods.slice":
		place = 0
	case top == "user.slice":
		place = 4
	}
	if stat := g.stat(cg); stat.Ino == 0 || stat.Uid != 0 {
		place++
	}
	return place
}

// stat is of the cgroup's directory, zero where that has gone.
func (g *cgroups) stat(cg *cgroup) (stat unix.Stat_t) {
	if err := unix.Fstatat(g.memory.fd, cg.path, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return unix.Stat_t{}
	}
	return stat
}

// sameID yields what of a list that is in the order of its ids has one id.
func sameID[T any](list []T, id func(*T) string) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for from, to := 0, 0; from < len(list); from = to {
			for to = from + 1; to < len(list) && id(&list[to]) == id(&list[from]); to++ {
			}
			if !yield(list[from:to]) {
				return
			}
		}
	}
}
