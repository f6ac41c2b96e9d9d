// Command logpost delivers records to a log store and passes them on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/logpost/client"
)

const summary = `
logpost reads records, one JSON object a line, writes each to stdout as it came,
and posts them in batches to the log store at --to. It ends when all of them are
stored.

With --spool, what cannot be delivered is kept as files in DIR, on disk before
logpost ends, and the next call with the same DIR delivers them first, in order.
That is no failure: the exit status is 0 and a message says so; where the input goes
on, one says at once that the store is away, and one that it is back. The status is 1
where a line was bad, was refused by the store, or could not be kept. When DIR
is full, those lines are kept for which there is room.

A store that is away or full is asked again after 1 to 30 s, or when it says so
itself (Retry-After) within these.

--token-file is read again for each of these attempts: the token may change, and
with --spool it need not be there yet.

A batch that the store refuses as a whole, or does not account for when asked
twice, is set aside in DIR as *.refused; a message names the file.

--format is for stores that are not logd. Each line brings the key that names it for
good: host, snapshot, type, id, pid and a digest of its bytes, so that one that comes
twice, as after an answer that was lost, can be counted once. Lines that such a store
would drop without a word are set aside. One that is busy (429, 502, 503, 504), or whose
address or token is wrong, is asked again; what else it answers refuses the batch.
  jsoneachrow  clickhouse://USER@HOST/DATABASE/TABLE, with the password in --token-file
  jsonline     VictoriaLogs' /insert/jsonline, with fields of the streams host and type
  otlp         a collector's /v1/logs, in JSON; members are attributes, as winnow.NAME

SIGINT, SIGTERM, SIGHUP and SIGQUIT end the input: what was read is delivered or
kept, and then logpost ends; with --spool the store has half a second for that. Those that came before it does change nothing.
With --to-the-end they do not end the input, and only the store has less time: in a
pipe whose whole group is told to end, what a stage before has left to say comes through.
Over TLS, a certificate of one's own is trusted by SSL_CERT_FILE=FILE.

Examples:

  readsysinfo | namectr | classify | logpost --to http://127.0.0.1:7070 --spool /var/spool/records --token-file token
  logcat yesterday | logpost --to http://collector:4318 --format otlp --spool otlp >/dev/null`

type options struct {
	to       *url.URL
	format   client.Format
	spool    string
	spoolMax cli.Size
	token    string
	file     string // of the token, "" for none
	timeout  time.Duration
	beat     string
	toTheEnd bool
}

func main() { cli.Main("logpost", run) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // a reader that went away is an error of stdout, and delivery goes on
	ctx, stop := signal.NotifyContext(ctx, stopSignals()...)
	defer stop()
	t := cli.New("logpost", "--to URL [--spool DIR] < records", summary, stderr)
	o, err := parse(t, args, stdout)
	if err != nil {
		return err
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}
	d := newDeliverer(t, o)
	if d.spool != nil {
		if err := d.spool.Check(); err != nil {
			return err // before a line is taken that it could not keep
		}
	}
	d.run(ctx, newInput(stdin, stdout))
	return t.Done(nil)
}

// stopSignals are those that end the input. One that the caller has ignored, as
// nohup does, stays so.
func stopSignals() []os.Signal {
	return slices.DeleteFunc([]os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}, signal.Ignored)
}

func parse(t *cli.Tool, args []string, stdout io.Writer) (*options, error) {
	o := &options{spoolMax: 64 << 20}
	to := t.String("to", "", "URL of the log store, such as http://127.0.0.1:7070 or clickhouse://HOST/DATABASE/TABLE")
	format := t.String("format", "winnow", "what the store takes: winnow (logd), jsoneachrow (ClickHouse), jsonline (VictoriaLogs) or otlp (OpenTelemetry)")
	t.StringVar(&o.spool, "spool", "", "directory to keep in what cannot be delivered; made if it is not there")
	t.Var(&o.spoolMax, "spool-max", "keep at most this much")
	t.StringVar(&o.file, "token-file", "", "file with the store's token, which only its owner should be able to read")
	t.DurationVar(&o.timeout, "timeout", 5*time.Second, "give the store this long to answer for a batch")
	t.StringVar(&o.beat, "beat", "", "touch this file whenever the end of a snapshot is stored, or kept in --spool")
	t.BoolVar(&o.toTheEnd, "to-the-end", false, "read on to the end of the input, whatever signal comes")
	t.LockMemoryFlag()
	if err := t.Parse(args, stdout, 0); err != nil {
		return nil, err
	}
	var err error
	if client.Formats()[*format] == nil {
		return nil, t.Misused("--format: not winnow, jsoneachrow, jsonline or otlp: %q", *format)
	}
	if o.to, o.format, err = parseStore(*to, *format); err != nil {
		return nil, t.Misused("--to: %v", err)
	}
	if o.timeout <= 0 {
		return nil, t.Misused("--timeout: not a time to wait: %v", o.timeout)
	}
	if o.spoolMax == 0 {
		return nil, t.Misused("--spool-max: 0 keeps nothing: say more, or leave --spool out")
	}
	if o.file != "" {
		o.token, err = t.Token(o.file)
	}
	if o.spool != "" && errors.Is(err, fs.ErrNotExist) { // it may come
		err = nil
	}
	return o, err
}

// parseStore reads where the store is and what it wants, and refuses what can never
// lead to one: what was meant for it would be kept for ever.
func parseStore(text, format string) (*url.URL, client.Format, error) {
	as := client.Formats()[format]
	if text == "" {
		return nil, nil, errors.New("say where the log store is")
	}
	to, err := url.Parse(text)
	if err == nil && to.Scheme == "clickhouse" && format != "winnow" && format != "jsoneachrow" {
		return nil, nil, fmt.Errorf("a ClickHouse takes no %s", format)
	}
	if err == nil && to.Scheme == "clickhouse" {
		if as, to, err = client.ClickHouse(to); err != nil {
			return nil, nil, err
		}
	}
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		return nil, nil, fmt.Errorf("not a URL such as http://127.0.0.1:7070: %q", text)
	}
	if to.User != nil {
		return nil, nil, errors.New("a user or password in the URL is of no use: --token-file names the token")
	}
	if !isHost(to.Hostname()) {
		return nil, nil, fmt.Errorf("not a host: %q", to.Hostname())
	}
	if port := to.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, nil, fmt.Errorf("not a port from 1 to 65535: %s", port)
		}
	}
	to, err = as.Endpoint(to)
	return to, as, err
}

// isHost tells whether name is an address, or could be looked up. A name that
// ends with a number would be an IPv4 address, and is not a right one.
func isHost(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	label := regexp.MustCompile(`^[\pL\pN_]([\pL\pN_-]{0,61}[\pL\pN_])?$`)
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	if slices.ContainsFunc(labels, func(l string) bool { return !label.MatchString(l) }) {
		return false
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != "" && len(name) < 255
}
