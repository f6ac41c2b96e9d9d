package main

import (
	"encoding/json"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"winnow/tools/internal/dockertest"
)

// The figures of real containers are those that docker stats shows.
func TestAgainstDockerStats(t *testing.T) {
	t.Parallel()
	docker := dockertest.Client(t)
	start := func(load ...string) string {
		return dockertest.Start(t, dockercontainer.Config{Cmd: load}, dockercontainer.HostConfig{})
	}
	// Each holds enough for the kernel's steps of up to 64 pages a core, in which it charges memory, to be well below 2
	// %.
	burning := start("-memory", "64", "-cpu", "40")
	ids := map[string]string{
		"burning": burning,
		"holding": start("-memory", "128"),
		"caching": start("-memory", "128", "-file", "32", "--", "\"quoted\"\n\x01", "é"),
	}
	awaitMemory(t, map[string]uint64{ids["burning"]: 64 << 10, ids["holding"]: 128 << 10, ids["caching"]: 128 << 10})
	answer, err := docker.ContainerStats(t.Context(), burning, true)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	stats := json.NewDecoder(answer.Body)

	// Both take their rate over the same seconds, so that what else the machine does weighs on both alike.
	var before, after dockercontainer.StatsResponse
	if err := stats.Decode(&before); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	capture(t, "--source=cgroup", "--state", state)
	for after.Read.Sub(before.Read) < 2*time.Second {
		if err := stats.Decode(&after); err != nil {
			t.Fatal(err)
		}
	}
	s := capture(t, "--source=cgroup", "--state", state, "--span=1s")
	for name, memory := range memoryOf(t, docker, ids) {
		c := find(s, ids[name])
		if c == nil {
			t.Fatalf("%s is not in %s", name, s.stdout)
		}
		want := memory.Load()
		t.Logf("%s: memory_kb %d, docker stats %d; cpu_percent %.2f", name, c.MemoryKB, want, *c.CPUPercent)
		if math.Abs(float64(c.MemoryKB)-float64(want)) > 0.02*float64(want) {
			t.Errorf("%s: memory_kb is %d, docker stats says %d", name, c.MemoryKB, want)
		}
		if c.Process != "load" || c.Processes != 1 || c.RSSKB == 0 {
			t.Errorf("%s: %+v", name, c)
		}
	}
	if c := find(s, ids["holding"]); c.MemoryKB < 128<<10 || c.RSSKB < 128<<10 {
		t.Errorf("holding: %+v", c)
	}
	if c := find(s, ids["caching"]); text(c.Cmdline) != "/load -memory 128 -file 32 -- \"quoted\"\n\x01 é" {
		t.Errorf("caching: %q", text(c.Cmdline))
	}
	got, want := *find(s, burning).CPUPercent, cpuPercent(before, after)
	t.Logf("burning: cpu_percent %.2f, docker stats %.2f", got, want)
	if want < 5 || math.Abs(got-want) > 5 {
		t.Errorf("cpu_percent is %.2f, docker stats says %.2f", got, want)
	}
}

// awaitMemory waits until the containers hold what they shall.
func awaitMemory(t *testing.T, least map[string]uint64) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); len(least) > 0; {
		s := capture(t, "--source=cgroup")
		for _, c := range s.containers {
			if want, ok := least[c.ID]; ok && c.RSSKB >= want {
				delete(least, c.ID)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v kB are not there in %s%s", least, s.stdout, s.stderr)
		}
	}
}

// memoryOf is what docker stats shows as memory in use, in kB. The engine takes a second for each, so all are asked at
// once.
func memoryOf(t *testing.T, docker *client.Client, ids map[string]string) map[string]*atomic.Uint64 {
	t.Helper()
	memory := make(map[string]*atomic.Uint64)
	var all errgroup.Group
	for name, id := range ids {
		kB := new(atomic.Uint64)
		memory[name] = kB
		all.Go(func() error {
			answer, err := docker.ContainerStatsOneShot(t.Context(), id)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			var stats dockercontainer.StatsResponse
			err = json.NewDecoder(answer.Body).Decode(&stats)
			m := stats.MemoryStats
			inactive, v1 := m.Stats["total_inactive_file"]
			if !v1 {
				inactive = m.Stats["inactive_file"]
			}
			kB.Store((m.Usage - inactive) / 1024)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	return memory
}

// cpuPercent is what docker stats shows for two samples.
func cpuPercent(before, after dockercontainer.StatsResponse) float64 {
	used := float64(after.CPUStats.CPUUsage.TotalUsage - before.CPUStats.CPUUsage.TotalUsage)
	all := float64(after.CPUStats.SystemUsage - before.CPUStats.SystemUsage)
	return used / all * float64(after.CPUStats.OnlineCPUs) * 100
}
