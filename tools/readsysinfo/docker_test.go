package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// docker runs containers of one image, built over testdata/load.
type docker struct {
	*testing.T
	api   *client.Client
	image string
}

func newDocker(t *testing.T) docker {
	t.Helper()
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	if _, err := api.Ping(t.Context()); client.IsErrConnectionFailed(err) {
		t.Skipf("skipped: no Docker engine: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	d := docker{t, api, fmt.Sprintf("wtest-readsysinfo-%d:latest", os.Getpid())}

	path := filepath.Join(t.TempDir(), "load")
	build := exec.Command("go", "build", "-o", path, "./testdata/load")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "load", Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	w.Write(program)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := api.ImageImport(t.Context(), image.ImportSource{Source: &layer, SourceName: "-"}, d.image, image.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	var said bytes.Buffer
	said.ReadFrom(answer)
	t.Cleanup(func() {
		if _, err := api.ImageRemove(context.Background(), d.image, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("%v: %s", err, said.String())
		}
	})
	return d
}

func (d docker) start(name string, args ...string) (id string) {
	d.Helper()
	config := &dockercontainer.Config{Image: d.image, Entrypoint: append([]string{"/load"}, args...)}
	made, err := d.api.ContainerCreate(d.Context(), config, &dockercontainer.HostConfig{NetworkMode: "none"}, nil, nil, fmt.Sprintf("wtest-readsysinfo-%d-%s", os.Getpid(), name))
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() {
		if err := d.api.ContainerRemove(context.Background(), made.ID, dockercontainer.RemoveOptions{Force: true}); err != nil {
			d.Error(err)
		}
	})
	if err := d.api.ContainerStart(d.Context(), made.ID, dockercontainer.StartOptions{}); err != nil {
		d.Fatal(err)
	}
	return made.ID
}

// The figures of real containers are those that docker stats shows.
func TestAgainstDockerStats(t *testing.T) {
	t.Parallel()
	d := newDocker(t)
	// Each holds enough for the kernel's steps of up to 64 pages a core, in
	// which it charges memory, to be well below 2 %.
	burning := d.start("burning", "-memory", "64", "-cpu", "40")
	ids := map[string]string{
		"burning": burning,
		"holding": d.start("holding", "-memory", "128"),
		"caching": d.start("caching", "-memory", "128", "-file", "32", "--", "\"quoted\"\n\x01", "é"),
	}
	time.Sleep(time.Second) // until they have what they shall hold
	answer, err := d.api.ContainerStats(t.Context(), burning, true)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	stats := json.NewDecoder(answer.Body)

	// Both take their rate over the same seconds, so that what else the
	// machine does weighs on both alike.
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
	s := capture(t, "--source=cgroup", "--state", state)
	if s.err != nil || s.stderr != "" {
		t.Fatalf("%v: %s", s.err, s.stderr)
	}
	for name, memory := range memoryOf(d, ids) {
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
	if c := find(s, ids["caching"]); c.Cmdline != "/load -memory 128 -file 32 -- \"quoted\"\n\x01 é" {
		t.Errorf("caching: %q", c.Cmdline)
	}
	got, want := *find(s, burning).CPUPercent, cpuPercent(before, after)
	t.Logf("burning: cpu_percent %.2f, docker stats %.2f", got, want)
	if want < 5 || math.Abs(got-want) > 5 {
		t.Errorf("cpu_percent is %.2f, docker stats says %.2f", got, want)
	}
}

// memoryOf is what docker stats shows as memory in use, in kB. The engine takes
// a second for each, so all are asked at once.
func memoryOf(d docker, ids map[string]string) map[string]*atomic.Uint64 {
	d.Helper()
	memory := make(map[string]*atomic.Uint64)
	var all errgroup.Group
	for name, id := range ids {
		kB := new(atomic.Uint64)
		memory[name] = kB
		all.Go(func() error {
			answer, err := d.api.ContainerStatsOneShot(d.Context(), id)
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
		d.Fatal(err)
	}
	return memory
}

// cpuPercent is what docker stats shows for two samples.
func cpuPercent(before, after dockercontainer.StatsResponse) float64 {
	used := float64(after.CPUStats.CPUUsage.TotalUsage - before.CPUStats.CPUUsage.TotalUsage)
	all := float64(after.CPUStats.SystemUsage - before.CPUStats.SystemUsage)
	return used / all * float64(after.CPUStats.OnlineCPUs) * 100
}
