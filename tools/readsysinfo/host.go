package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"winnow/tools/readsysinfo/cgroup"
)

// procfs is where the host's procfs is mounted.
type procfs string

func (p procfs) path(name string) string { return filepath.Join(string(p), name) }

// bootID names the host's boot.
func (p procfs) bootID() (string, error) {
	text, err := os.ReadFile(p.path("sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(text)), err
}

// memory is the host's.
type memory struct{ totalKB, freeKB, availableKB uint64 }

func (p procfs) memory() (memory, error) {
	path := p.path("meminfo")
	text, err := os.ReadFile(path)
	if err != nil {
		return memory{}, err
	}
	return parseMeminfo(path, text)
}

func parseMeminfo(path string, text []byte) (memory, error) {
	numbers := make(map[string]uint64)
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if words := strings.Fields(rest); len(words) > 0 {
			if n, err := strconv.ParseUint(words[0], 10, 64); err == nil {
				numbers[name] = n
			}
		}
	}
	total := numbers["MemTotal"]
	if total == 0 {
		return memory{}, fmt.Errorf("%s: no MemTotal", path)
	}
	free, ok := numbers["MemFree"]
	if !ok || free > total {
		return memory{}, fmt.Errorf("%s: no MemFree", path)
	}
	available, ok := numbers["MemAvailable"]
	if !ok {
		available = free // kernels before 3.14
	}
	return memory{total, free, available}, nil
}

// pressures are the PSI of the host at one time.
type pressures struct {
	avg10 [3]*float64 // the "some avg10" of each of resources; nil without PSI
	stalls
}

// resources are what a task can wait for.
var resources = [3]string{"cpu", "memory", "io"}

// stalls are for how long some task has waited for each of resources since the host's boot, in µs. Without PSI they are
// zero.
type stalls struct {
	atNS  int64 // when that was, since the host's boot
	total [3]uint64
}

func (p procfs) pressures() (all pressures) {
	all.atNS = cgroup.Boottime()
	whole := true
	for i, resource := range resources {
		text, err := os.ReadFile(p.path("pressure/" + resource))
		var avg10, avg60, avg300 float64
		if err == nil {
			_, err = fmt.Sscanf(string(text), "some avg10=%g avg60=%g avg300=%g total=%d", &avg10, &avg60, &avg300, &all.total[i])
		}
		if err != nil {
			whole = false
			continue
		}
		all.avg10[i] = &avg10
	}
	if !whole {
		all.stalls = stalls{}
	}
	return all
}

// percent is the share of the time since before in which some task waited for each of resources; nil where either is
// not known.
func (now stalls) percent(before stalls) (shares [3]*float64) {
	span := now.atNS - before.atNS
	for i := range shares {
		if before.atNS > 0 && span > 0 && now.total[i] >= before.total[i] {
			share := float64(now.total[i]-before.total[i]) * 1000 / float64(span) * 100
			shares[i] = new(round(min(share, 100)))
		}
	}
	return shares
}

// cpus counts the cores that are online.
func (p procfs) cpus() (int, error) {
	text, err := os.ReadFile(p.path("stat"))
	return bytes.Count(text, []byte("\ncpu")), err // the first line, "cpu", is their sum
}
