package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/bench"
	"winnow/tools/internal/filtertest"
)

// BenchmarkMemory kills 1,000 containers of an engine that takes its time.
func BenchmarkMemory(b *testing.B) {
	e := newEngine(b, 1000)
	e.onStop = func(*box, *http.Request) *answer { time.Sleep(100 * time.Millisecond); return nil }
	killctr := filepath.Join(b.TempDir(), "killctr")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", killctr, ".")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	var in strings.Builder
	for n := 1; n <= 1000; n++ {
		in.WriteString(condemned(filtertest.ID(n), 0))
	}
	var out strings.Builder
	cmd := exec.Command(killctr)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in.String()), &out, os.Stderr
	peak := bench.Command(b, cmd).PeakKiB
	if killed := strings.Count(out.String(), `"result":"killed"`); killed != 1000 {
		b.Fatalf("killed %d", killed)
	}
	bench.Bound(b, "killctr peak memory at 1000 kills", peak, 32<<10, "KiB")
}
