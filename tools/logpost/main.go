// Logpost delivers records to a log store and passes them on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"winnow/tools/internal/cli"
)

const summary = `
logpost reads records, one JSON object a line, writes each to stdout as it came,
and posts them in batches to the log store at --to. It ends when all of them are
stored.

With --spool, what cannot be delivered is kept as files in DIR, on disk before
logpost ends, and the next call with the same DIR delivers them first, in order.
That is no failure: the exit status is 0 and a message says so. The status is 1
where a line was bad, was refused by the store, or could not be kept.

A batch that the store refuses as a whole is set aside in DIR as *.refused.
Over TLS, a certificate of one's own is trusted by SSL_CERT_FILE=FILE.`

type options struct {
	to       *url.URL
	spool    string
	spoolMax cli.Size
	token    string
	timeout  time.Duration
}

func main() { cli.Main("logpost", run) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // a reader that went away is an error of stdout, and delivery goes on
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
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
	d.run(ctx, newInput(stdin, stdout))
	return t.Done(nil)
}

func parse(t *cli.Tool, args []string, stdout io.Writer) (*options, error) {
	o := &options{spoolMax: 64 << 20}
	to := t.String("to", "", "URL of the log store, such as http://127.0.0.1:7070")
	t.StringVar(&o.spool, "spool", "", "directory to keep in what cannot be delivered; made if it is not there")
	t.Var(&o.spoolMax, "spool-max", "keep at most this much")
	tokenFile := t.String("token-file", "", "file with the store's token")
	t.DurationVar(&o.timeout, "timeout", 5*time.Second, "give the store this long to answer for a batch")
	if err := t.Parse(args, stdout, 0); err != nil {
		return nil, err
	}
	var err error
	if o.to, err = parseURL(*to); err != nil {
		return nil, t.Misused("--to: %v", err)
	}
	if o.timeout <= 0 {
		return nil, t.Misused("--timeout: not a time to wait: %v", o.timeout)
	}
	if *tokenFile != "" {
		text, err := os.ReadFile(*tokenFile)
		if err != nil {
			return nil, err
		}
		o.token = strings.TrimSpace(string(text))
	}
	return o, nil
}

func parseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("say where the log store is")
	}
	to, err := url.Parse(text)
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, fmt.Errorf("not a URL such as http://127.0.0.1:7070: %q", text)
	}
	return to.JoinPath("logs"), nil
}
