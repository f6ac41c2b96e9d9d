// Command burn is the load that the test images run: a busy core, held
// memory, nothing much, or a small web server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
)

func main() { cli.Main("burn", run) }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("burn", "cpu|memory|idle|web [--workers N] [--size SIZE] [--rate SIZE] [--wait TIME] [--listen ADDRESS]",
		"burn uses up what its argument says until TERM or INT ends it.", stderr)
	workers := t.Int("workers", 1, "cpu: how many cores to keep busy")
	size := cli.Size(96 << 20)
	t.Var(&size, "size", "memory: how much to hold")
	rate := cli.Size(0)
	t.Var(&rate, "rate", "memory: how much of it to take a second; 0 is as fast as it can")
	wait := t.Duration("wait", 0, "memory: how long to hold nothing before that")
	listen := t.String("listen", "127.0.0.1:8080", "web: the address to serve on")
	if err := t.Parse(args, stdout, 1); err != nil {
		return err
	}
	if *workers < 1 {
		return t.Misused("--workers is %d, and must be at least 1", *workers)
	}
	if *wait < 0 {
		return t.Misused("--wait is %v, and must not be negative", *wait)
	}

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch t.Arg(0) {
	case "cpu":
		spin(ctx, *workers)
	case "memory":
		return hold(ctx, memory{int(size), int(rate), *wait}, stdout)
	case "idle":
		idle(ctx)
	case "web":
		return serve(ctx, *listen)
	default:
		return t.Misused("not a kind of load: %q", t.Arg(0))
	}
	return nil
}

func spin(ctx context.Context, workers int) {
	for range workers {
		go func() {
			for x := uint64(1); ctx.Err() == nil; {
				for range 1 << 16 {
					x ^= x << 13
					x ^= x >> 7
					x ^= x << 17
				}
			}
		}()
	}
	<-ctx.Done()
}

// memory is what to hold: how much, how much of it to take a second, and after what wait.
type memory struct {
	size, rate int
	wait       time.Duration
}

// step is how much is taken at a time: between two steps it can be ended.
const step = 1 << 20

// hold says when it begins to take its memory. Once it has all, it touches
// every page once a second, so that the memory is really there and stays there.
func hold(ctx context.Context, m memory, stdout io.Writer) error {
	if !pause(ctx, m.wait) {
		return nil
	}
	begin := time.Now()
	if _, err := fmt.Fprintf(stdout, "{\"begins\":%q}\n", begin.UTC().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	held := m.take(ctx, begin)
	for pause(ctx, time.Second) {
		for _, part := range held {
			touch(part)
		}
	}
	return nil
}

// take takes and touches it. What comes late, because there was no memory, is made up for.
func (m memory) take(ctx context.Context, begin time.Time) (held [][]byte) {
	for taken := 0; taken < m.size && ctx.Err() == nil; taken += step {
		if m.rate > 0 {
			due := time.Duration(float64(taken) / float64(m.rate) * float64(time.Second))
			pause(ctx, time.Until(begin.Add(due)))
		}
		part := make([]byte, min(step, m.size-taken))
		touch(part)
		held = append(held, part)
	}
	return held
}

func touch(part []byte) {
	for i := 0; i < len(part); i += os.Getpagesize() {
		part[i]++
	}
}

// pause is false where the end comes first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

func idle(ctx context.Context) { <-ctx.Done() }

func serve(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "a light container\n")
		}),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
