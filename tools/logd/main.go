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
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/logd/chart"
	"winnow/tools/logd/door"
	"winnow/tools/logd/store"
)

const summary = `
logd stores records, one JSON object a line, in a file a day: DIR/YYYY-MM-DD.jsonl,
the day (UTC) being that on which they arrived. It answers a POST when its lines
are on disk, and with them a line of type commit that vouches for them. Beside the
days, DIR/.logd can be deleted at any time.

  POST /logs              store the lines of the body; with a header Winnow-Batch: ID
                          a batch that comes again is not stored again
  GET  /logs              lines, in the order in which they came; of them those with
                          since, until, type, host, id, name, class, verdict, snapshot;
                          limit=N, order=desc, follow=1
  GET  /why/CONTAINER     the story of the container with this id or name
  GET  /charts/NAME.svg   or .png; %s;
                          since, until, host, theme=dark; /charts/ lists them
  GET  /                  all that as a page that is kept up to date
  GET  /metrics           for Prometheus
  GET  /healthz, /readyz  whether logd runs, and whether it would store

All but /healthz want the token, where there is one: as "Authorization: Bearer TOKEN",
or as the password that a browser asks for. Asked for by a name that is not its own,
logd does not answer (421): it has those of loopback, that of --listen, and those of
--allow-host. Pages of other origins are refused (403).

A time is as in since=15m, 2d, 2026-11-21 or 2026-11-21T22:55:49Z, and is compared
with the lines' own "time". Ids may be cut short.

Examples:

  logd --dir /var/log/records --listen 127.0.0.1:7070 --token-file token --retain 30d --compress
  logd --verify /var/log/records`

// memoryLimit is what the garbage collector keeps to, in bytes, unless
// GOMEMLIMIT says otherwise. It leaves room in a container of 128 MiB.
const memoryLimit = 64 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	cli.Main("logd", run)
}

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t := cli.New("logd", "[--dir DIR] [--listen ADDRESS]", fmt.Sprintf(summary, strings.Join(chart.Names(), ", ")), stderr)
	s := newServer(time.Now, t.Warn)
	o := &s.options
	t.StringVar(&o.listen, "listen", "127.0.0.1:7070", "address to serve on; beyond this machine it needs --token-file or --open")
	t.StringVar(&o.Dir, "dir", "log", "directory of the day files, which must be there")
	tokenFile := t.String("token-file", "", "serve only who knows the token in this file, which only its owner should be able to read")
	hosts := t.String("host-tokens", "", "directory with a file for each host, named like it, with the token that may post its lines alone")
	open := t.Bool("open", false, "serve anyone who reaches --listen, on purpose")
	allowed := t.StringArray("allow-host", nil, "answer also to this `name` or address; can be said again")
	cert := t.String("tls-cert", "", "file with the certificate (PEM) to serve TLS with")
	key := t.String("tls-key", "", "file with its key (PEM)")
	o.MinFree = 64 << 20
	t.Var(&o.MinFree, "min-free", "store nothing more when the disk would have less than this left")
	t.Var((*age)(&o.Retain), "retain", "remove days that ended longer ago than this, such as 30d; 0d keeps them")
	t.Var(&o.RetainSize, "retain-bytes", "remove the oldest days when all take more than this; 0 keeps them")
	t.BoolVar(&o.Compress, "compress", false, "compress days that are over, with zstd; queries find them all the same")
	verify := t.String("verify", "", "serve nothing: read the log in this directory and tell what is not as it was committed")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if *verify != "" {
		return verifyLog(t, *verify)
	}
	guard, err := door.NewGuard(o.listen, *allowed)
	if err != nil {
		return t.Misused("--allow-host: %v", err)
	}
	s.guard = guard
	if !door.Loopback(o.listen) && !*open && *tokenFile == "" {
		return t.Misused("%s can be reached from other machines: say --token-file, or --open if anyone may", o.listen)
	}
	if *tokenFile != "" {
		token, err := t.Token(*tokenFile)
		if err != nil {
			return err
		}
		guard.Token = []byte(token)
	}
	if *hosts != "" {
		if guard.Token == nil {
			return t.Misused("--host-tokens is nothing without --token-file: anyone may post any line")
		}
		guard.Host = newHostTokens(*hosts, t.Warn).host
	}
	l, err := door.Listen(o.listen, *cert, *key)
	if err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return errors.Join(err, l.Close())
	}
	t.Warn("%s holds the log in %s", l.Addr(), o.Dir)
	return s.serve(ctx, l)
}

// verifyLog names each fault; one makes it fail.
func verifyLog(t *cli.Tool, dir string) error {
	bytes, commits, faults, err := store.Verify(dir, t.Warn)
	if err != nil {
		return err
	}
	if faults > 0 {
		return fmt.Errorf("%s: %d faults in %d commits", dir, faults, commits)
	}
	t.Warn("%s: all is as it was committed: %d commits, %d bytes", dir, commits, bytes)
	return nil
}
