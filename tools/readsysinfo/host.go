package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// pressure is the PSI "some avg10" of cpu, memory or io; nil without PSI.
func (p procfs) pressure(resource string) *float64 {
	text, err := os.ReadFile(p.path("pressure/" + resource))
	if err != nil {
		return nil
	}
	var percent float64
	if _, err := fmt.Sscanf(string(text), "some avg10=%g", &percent); err != nil {
		return nil
	}
	return &percent
}

// cpus counts the cores that are online.
func (p procfs) cpus() (int, error) {
	text, err := os.ReadFile(p.path("stat"))
	return bytes.Count(text, []byte("\ncpu")), err // the first line, "cpu", is their sum
}
