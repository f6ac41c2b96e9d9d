package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/internal/bench"
)

// BenchmarkMemory delivers the lines of 1,000 containers, then keeps them in a
// spool because nobody answers.
func BenchmarkMemory(b *testing.B) {
	var in strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&in, `{"type":"container","id":"%064x","cmdline":"%s"}`+"\n", n, strings.Repeat("x", 600))
	}
	stored := 0
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Error(err)
		}
		lines := bytes.Count(body, []byte{'\n'})
		stored += lines
		fmt.Fprintf(w, `{"stored":%d}`, lines)
	}))
	defer store.Close()
	logpost := filepath.Join(b.TempDir(), "logpost")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", logpost, ".")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	spool := b.TempDir()
	peak := func(to string) float64 {
		cmd := exec.Command(logpost, "--to", to, "--spool", spool)
		cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
		return bench.Command(b, cmd).PeakKiB
	}
	delivering := peak(store.URL)
	if stored != 1000 {
		b.Fatalf("stored %d", stored)
	}
	keeping := peak("http://127.0.0.1:9")
	if kept, _ := filepath.Glob(filepath.Join(spool, "*.ndjson")); len(kept) == 0 {
		b.Fatal("kept nothing")
	}
	bench.Bound(b, "logpost peak memory at 1000 containers", max(delivering, keeping), 32<<10, "KiB")
}
