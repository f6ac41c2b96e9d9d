package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"winnow/tools/logpost/spool"
)

// In a long pipe it is said at once, and once, that the store is away, and that it is
// back; for each outage.
func TestOutagesAreSaidAtOnce(t *testing.T) {
	t.Parallel()
	store, dir := newFakeStore(t), t.TempDir()
	r, w := io.Pipe()
	p := &lockedBuffer{}
	done := make(chan error, 1)
	go func() { done <- run(t.Context(), []string{"--to", store.URL, "--spool", dir}, r, io.Discard, p) }()
	for outage := range 2 {
		store.set(http.StatusServiceUnavailable)
		io.WriteString(w, records(1, 3))
		until(t, "said that the store is away", func() bool { return strings.Count(p.String(), "so it was told; lines wait in "+dir+"\n") == outage+1 })
		io.WriteString(w, records(1, 1))
		store.set(0)
		until(t, "said that it is back", func() bool { return strings.Count(p.String(), "4 lines kept in "+dir+": delivered\n") == outage+1 })
	}
	w.Close()
	if err := <-done; err != nil || strings.Count(p.String(), "\n") != 4 {
		t.Errorf("%v, said %s", err, p.String())
	}
}

// The beat shows that the end of a snapshot is stored or kept, and nothing else.
func TestBeat(t *testing.T) {
	t.Parallel()
	store, dir := newFakeStore(t), t.TempDir()
	kept, beat := filepath.Join(dir, "spool"), filepath.Join(dir, "beat")
	const end = `{"type":"end","snapshot":"s","lines":1}` + "\n"
	for _, step := range []struct {
		name   string
		status int
		in     string
		spool  bool
		beats  bool
	}{
		{"no end", 0, records(1, 3), true, false},
		{"stored", 0, records(1, 3) + end, true, true},
		{"refused", http.StatusBadRequest, end, true, false},
		{"kept", http.StatusServiceUnavailable, end, true, true},
		{"lost", http.StatusServiceUnavailable, end, false, false},
		{"stored without a spool", 0, end, false, true},
	} {
		long := time.Now().Add(-time.Hour)
		os.Chtimes(beat, long, long)
		store.set(step.status)
		args := []string{"--to", store.URL, "--beat", beat}
		if step.spool {
			args = append(args, "--spool", kept)
		}
		post(t, step.in, args...)
		info, err := os.Stat(beat)
		if beats := err == nil && time.Since(info.ModTime()) < time.Minute; beats != step.beats {
			t.Errorf("%s: beats: %t", step.name, beats)
		}
	}
	store.set(0)
	if _, errs, err := post(t, end+end, "--to", store.URL, "--beat", filepath.Join(beat, "no")); err != nil || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "logpost: --beat: ") {
		t.Errorf("%v, said %q", err, errs)
	}
}

// lockedBuffer takes writes of one goroutine while another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A signal does not wait long for a silent store: what it does not take is kept.
func TestSignalWithASilentStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to, _ := raw(t, func(net.Conn) {})
	p := start(t, exec.Command("logpost", "--to", to, "--spool", dir))
	p.sends(t, records(1, 3))
	time.Sleep(2 * maxWait)
	begun := time.Now()
	p.Process.Signal(syscall.SIGTERM)
	if err := p.end(t); err != nil || time.Since(begun) > 2*time.Second || textOf(t, dir, spool.Waiting) != records(1, 3) {
		t.Errorf("%v after %v, said %s", err, time.Since(begun), p.said.String())
	}
}
