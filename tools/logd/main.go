// Logd keeps the records of winnow: it stores what logpost delivers, and shows
// it to scripts and to people.
package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os/signal"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
)

const summary = `
logd stores records, one JSON object a line, in a file a day: DIR/YYYY-MM-DD.jsonl,
the day (UTC) being that on which they arrived. It answers a POST when its lines
are on disk.

  POST /logs      store the lines of the body; Winnow-Batch: ID stores a batch once
  GET  /logs      lines: ?since=15m&until=&type=&host=&id=&name=&class=&verdict=&limit=&order=desc
  GET  /healthz   whether logd runs`

func main() { cli.Main("logd", run) }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t := cli.New("logd", "[--dir DIR] [--listen ADDRESS]", summary, stderr)
	s := newServer(time.Now, t.Warn)
	listen := t.String("listen", "127.0.0.1:7070", "address to serve on; beyond this machine it needs --open")
	t.StringVar(&s.options.dir, "dir", "log", "directory of the day files, which must be there")
	open := t.Bool("open", false, "serve anyone who reaches --listen, on purpose")
	s.options.minFree = 64 << 20
	t.Var(&s.options.minFree, "min-free", "refuse to store when the disk would have less than this left")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if !*open && !loopback(*listen) {
		return t.Misused("%s can be reached from other machines: say --open if anyone may", *listen)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return errors.Join(err, l.Close())
	}
	t.Warn("http://%s holds the log in %s", l.Addr(), s.options.dir)
	return s.serve(ctx, l)
}

// loopback tells whether addr can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
