// Logd keeps the records of winnow: it stores what logpost delivers, and shows
// it to scripts and to people.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"winnow/tools/internal/cli"

	"golang.org/x/sys/unix"
)

const summary = `
logd stores records, one JSON object a line, in a file a day: DIR/YYYY-MM-DD.jsonl,
the day (UTC) being that on which they arrived. It answers a POST when its lines
are on disk.

  POST /logs              store the lines of the body; with a header Winnow-Batch: ID
                          a batch that comes again is not stored again
  GET  /logs              lines, in the order in which they came; of them those with
                          since, until, type, host, id, name, class, verdict, snapshot;
                          limit=N, order=desc, follow=1
  GET  /why/CONTAINER     the story of the container with this id or name
  GET  /charts/NAME.svg   or .png; memory, cpu, classes, kills, top-memory, top-cpu;
                          since, until, host, theme=dark
  GET  /                  all that as a page that is kept up to date
  GET  /metrics           for Prometheus
  GET  /healthz, /readyz  whether logd runs, and whether it would store

A time is as in since=15m, 2d, 2026-11-21 or 2026-11-21T22:55:49Z, and is compared
with the lines' own "time". Ids may be cut short.`

// memoryLimit is what the garbage collector keeps to, in bytes, unless
// GOMEMLIMIT says otherwise. It leaves room in a container of 128 MiB.
const memoryLimit = 64 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	// The writer's thread is in the kernel most of the time, and Go is slow to
	// give its processor to others.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	if err := scheduleAsBatch(); err != nil {
		fmt.Fprintf(os.Stderr, "logd: %v\n", err) // slower, no more
	}
	cli.Main("logd", run)
}

// scheduleAsBatch tells the kernel that logd's threads need not run the moment
// that they can: a request does not interrupt who sent it, and when logd gets
// to it there are more of them to be stored at once.
func scheduleAsBatch() error {
	threads, err := os.ReadDir("/proc/self/task") // later ones do as the one that starts them
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil {
			return fmt.Errorf("sched_getattr: %w", err)
		}
		if attr.Policy != unix.SCHED_NORMAL {
			continue // somebody chose it
		}
		attr.Policy = unix.SCHED_BATCH
		if err := unix.SchedSetAttr(tid, attr, 0); err != nil {
			return fmt.Errorf("sched_setattr: %w", err)
		}
	}
	return nil
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t := cli.New("logd", "[--dir DIR] [--listen ADDRESS]", summary, stderr)
	s := newServer(time.Now, t.Warn)
	o := &s.options
	t.StringVar(&o.listen, "listen", "127.0.0.1:7070", "address to serve on; beyond this machine it needs --token-file or --open")
	t.StringVar(&o.dir, "dir", "log", "directory of the day files, which must be there")
	tokenFile := t.String("token-file", "", "serve only who knows the token in this file")
	open := t.Bool("open", false, "serve anyone who reaches --listen, on purpose")
	cert := t.String("tls-cert", "", "file with the certificate (PEM) to serve TLS with")
	key := t.String("tls-key", "", "file with its key (PEM)")
	o.minFree = 64 << 20
	t.Var(&o.minFree, "min-free", "store nothing more when the disk would have less than this left")
	t.Var(&o.retain, "retain", "remove days that ended longer ago than this, such as 30d; 0d keeps them")
	t.Var(&o.retainBytes, "retain-bytes", "remove the oldest days when all take more than this; 0 keeps them")
	t.BoolVar(&o.compress, "compress", false, "compress days that are over, with zstd; queries find them all the same")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	o.local = loopback(o.listen)
	if !o.local && !*open && *tokenFile == "" {
		return t.Misused("%s can be reached from other machines: say --token-file, or --open if anyone may", o.listen)
	}
	if *tokenFile != "" {
		var err error
		if o.token, err = readToken(*tokenFile); err != nil {
			return err
		}
	}
	l, err := listen(o.listen, *cert, *key)
	if err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return errors.Join(err, l.Close())
	}
	t.Warn("%s holds the log in %s", l.Addr(), o.dir)
	return s.serve(ctx, l)
}
