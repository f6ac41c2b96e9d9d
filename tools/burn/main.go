// Command burn is the load that the test images run: a busy core, held
// memory, nothing much, or a small web server.
package main

import (
	"context"
	"errors"
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
	t := cli.New("burn", "cpu|memory|idle|web [--workers N] [--size SIZE] [--listen ADDRESS]",
		"burn uses up what its argument says until TERM or INT ends it.", stderr)
	workers := t.Int("workers", 1, "cpu: how many cores to keep busy")
	size := cli.Size(96 << 20)
	t.Var(&size, "size", "memory: how much to hold")
	listen := t.String("listen", "127.0.0.1:8080", "web: the address to serve on")
	if err := t.Parse(args, stdout, 1); err != nil {
		return err
	}
	if *workers < 1 {
		return t.Misused("--workers is %d, and must be at least 1", *workers)
	}

	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch t.Arg(0) {
	case "cpu":
		spin(ctx, *workers)
	case "memory":
		hold(ctx, int(size))
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

// hold touches every page once a second, so that the memory is really there
// and stays there.
func hold(ctx context.Context, size int) {
	memory := make([]byte, size)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i]++
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
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
