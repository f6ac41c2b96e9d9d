package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"winnow/tools/internal/bench"
	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// BenchmarkMemory names 1,000 containers, as Docker lists them.
func BenchmarkMemory(b *testing.B) {
	var list []container.Summary
	in := host("s")
	for n := range 1000 {
		in += line("s", n, `,"cmdline":"`+strings.Repeat("x", 500)+`"`)
		c := container.Summary{ID: filtertest.ID(n), Names: []string{fmt.Sprintf("/low-web-%d", n)}, Image: "winnow/low-web",
			ImageID: "sha256:" + filtertest.ID(n), Command: "/burn --memory 16MB", Created: 1700000000, State: "running", Status: "Up 2 hours",
			Labels: map[string]string{record.LabelManaged: "true", "winnow.kind": "low-web", "org.opencontainers.image.title": "low-web"}}
		c.HostConfig.NetworkMode = "default"
		list = append(list, c)
	}
	fakeEngine(b, listed(list...))
	namectr := filepath.Join(b.TempDir(), "namectr")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", namectr, ".")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	var out strings.Builder
	cmd := exec.Command(namectr)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, os.Stderr
	peak := bench.Command(b, cmd).PeakKiB
	if named := strings.Count(out.String(), `"image":"winnow/low-web"`); named != 1000 {
		b.Fatalf("named %d", named)
	}
	bench.Bound(b, "namectr peak memory at 1000 containers", peak, 32<<10, "KiB")
}
