package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/cli"
)

// cpuTime is what this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
}

// burnFor runs burn with args and ends it after a while.
func burnFor(t *testing.T, d time.Duration, args ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := run(ctx, args, nil, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
}

func TestCPUIsUsedAndIdleIsNot(t *testing.T) {
	before := cpuTime(t)
	burnFor(t, 500*time.Millisecond, "idle")
	idle := cpuTime(t) - before
	burnFor(t, 500*time.Millisecond, "cpu")
	busy := cpuTime(t) - before - idle
	if busy < 10*idle || busy == 0 {
		t.Errorf("busy took %v of CPU, idle %v", busy, idle)
	}
}

// resident is how much memory this process has, in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

func TestMemoryIsHeldUntilTheEnd(t *testing.T) {
	const size = 64 << 20
	before := resident(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"memory", "--size", "64MiB"}, nil, io.Discard, io.Discard) }()
	for end := time.Now().Add(time.Minute); resident(t) < before+size; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes more are in use, not %d", resident(t)-before, size)
		}
	}
	runtime.GC() // takes back what nobody holds
	debug.FreeOSMemory()
	if held := resident(t) - before; held < size-8<<20 {
		t.Errorf("only %d bytes of %d are held", held, size)
	}
	select {
	case err := <-done:
		t.Errorf("ended by itself: %v", err)
	default:
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWebAnswers(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"web", "--listen", address}, nil, io.Discard, io.Discard) }()

	var body []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		answer, err := http.Get("http://" + address)
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		body, _ = io.ReadAll(answer.Body)
		answer.Body.Close()
		break
	}
	if !bytes.Contains(body, []byte("light")) {
		t.Errorf("answered %q", body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{}, {"fire"}, {"cpu", "--workers", "0"}, {"memory", "--size", "x"}} {
		err := run(t.Context(), args, nil, io.Discard, io.Discard)
		var usage *cli.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v is no usage error", strings.Join(args, " "), err)
		}
	}
}
