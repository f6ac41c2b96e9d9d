package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/logpost/spool"
)

func TestDelivers(t *testing.T) {
	store := newFakeStore(t)
	in := records(1, 2500)
	out, errs, err := post(t, in, "--to", store.URL)
	if err != nil || errs != "" {
		t.Fatalf("%v, said %q", err, errs)
	}
	if out != in {
		t.Error("stdout is not what came in")
	}
	if !reflect.DeepEqual(store.got(), split(in)) {
		t.Errorf("the store got %d lines", len(store.got()))
	}
	if store.posts < 3 || store.posts > 25 { // on a slow host a batch goes before it is full
		t.Errorf("%d posts for 2500 lines", store.posts)
	}
	if id := store.headers.Get("Winnow-Batch"); !strings.HasSuffix(id, fmt.Sprintf("-%d", store.posts)) {
		t.Errorf("batch %d is called %q", store.posts, id)
	}
}

func TestWithoutSpoolAStoreThatIsDownFails(t *testing.T) {
	in := records(1, 3)
	out, errs, err := post(t, in, "--to", "http://127.0.0.1:1")
	if err == nil || out != in || !strings.Contains(errs, "3 lines were not delivered") {
		t.Errorf("%v, passed on %q, said %q", err, out, errs)
	}
}

func TestLiveStreamIsDeliveredWithinASecond(t *testing.T) {
	store := newFakeStore(t)
	r, w := io.Pipe()
	c := begin(t, t.Context(), r, "--to", store.URL)
	io.WriteString(w, records(1, 1))
	until(t, "delivered while the stream is open", func() bool { return len(store.got()) == 1 })
	w.Close()
	if _, errs, err := c.end(t); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
}

// A line waits for others only so long, however often one more comes.
func TestSteadyStreamIsDelivered(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	r, w := io.Pipe()
	c := begin(t, t.Context(), r, "--to", store.URL)
	n := 1
	for ; n < maxLines && len(store.got()) == 0; n++ {
		io.WriteString(w, records(n, 1))
		time.Sleep(10 * time.Millisecond) // far less than a line waits
	}
	if n == maxLines {
		t.Error("nothing was delivered before a batch was full")
	}
	w.Close()
	if _, errs, err := c.end(t); err != nil || errs != "" || len(store.got()) != n-1 {
		t.Errorf("%v, said %q, stored %d of %d", err, errs, len(store.got()), n-1)
	}
}

func TestStoreThatComesBackWithinTheRun(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	store.set(http.StatusServiceUnavailable)
	r, w := io.Pipe()
	dir := t.TempDir()
	c := begin(t, t.Context(), r, "--to", store.URL, "--spool", dir)
	io.WriteString(w, records(1, 1001))
	until(t, "both batches are kept", func() bool { return len(files(t, dir, spool.Waiting)) == 2 })
	store.set(0)
	until(t, "they are delivered while the stream is open", func() bool { return len(store.got()) == 1001 })
	io.WriteString(w, records(1002, 1))
	w.Close()
	if _, errs, err := c.end(t); err != nil || errs != "logpost: 1001 lines kept in "+dir+": delivered\n" {
		t.Errorf("%v, said %q", err, errs)
	}
	if !reflect.DeepEqual(store.got(), split(records(1, 1002))) {
		t.Errorf("got %d lines, or out of order", len(store.got()))
	}
}

// What is said to wait is what still does, when only some could be sent.
func TestStoreThatGoesAgain(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	store.set(http.StatusServiceUnavailable)
	var away atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(store.got()) > 0 {
			store.set(http.StatusServiceUnavailable)
			away.Store(true)
		}
		store.ServeHTTP(w, r)
	}))
	defer front.Close()
	r, w := io.Pipe()
	dir := t.TempDir()
	c := begin(t, t.Context(), r, "--to", front.URL, "--spool", dir)
	io.WriteString(w, records(1, 2500))
	until(t, "all are kept", func() bool { return len(files(t, dir, spool.Waiting)) == 3 })
	store.set(0)
	until(t, "one is sent, and one more is not", away.Load)
	w.Close()
	_, errs, err := c.end(t)
	if err != nil || !strings.Contains(errs, "so it was told; 1500 lines of this call wait in ") || strings.Contains(errs, "delivered") {
		t.Errorf("%v, said %q", err, errs)
	}
	store.set(0)
	post(t, "", "--to", store.URL, "--spool", dir)
	if want := split(records(1, 2500)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %d lines", len(store.got()))
	}
}

func TestBackoff(t *testing.T) {
	store := newFakeStore(t)
	to, _, _ := parseStore(store.URL, "winnow")
	d := newDeliverer(nil, &options{to: to, spool: t.TempDir(), spoolMax: 1 << 20})
	d.t = cli.New("logpost", "", "", new(bytes.Buffer))
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		before := time.Now()
		d.failed(spool.ErrBusy)
		after := time.Now()
		if at := d.retryAt.Add(-want * time.Second); at.Before(before) || at.After(after) || !d.behind || d.why != spool.ErrBusy {
			t.Errorf("tries again in %v, want %v s; %+v", d.retryAt.Sub(after), want, d)
		}
	}
	d.kept = 3 // which another run sent
	d.sendSpool(glance)
	if d.behind || d.backoff != 0 || d.kept != 0 {
		t.Errorf("after a success: %+v", d)
	}
}

// A store that says when to come again is asked then, within the bounds of the
// own backoff.
func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": minRetry, "3600": maxRetry, "18446744073709551615": maxRetry,
		time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat): 20 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       minRetry,
		time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat):   maxRetry,
		"": 4 * time.Second, "soon": 4 * time.Second, "-1": 4 * time.Second, "1.5": 4 * time.Second, "99999999999999999999": 4 * time.Second,
	} {
		store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		to, _, err := parseStore(store.URL, "winnow")
		if err != nil {
			t.Fatal(err)
		}
		d := newDeliverer(cli.New("logpost", "", "", new(bytes.Buffer)), &options{to: to, spool: t.TempDir(), spoolMax: 1 << 20, timeout: tooLong})
		d.backoff = 2 * time.Second // it failed twice before
		before := time.Now()
		d.deliver(newBatch("", "{}"))
		least := want
		if want == 20*time.Second {
			least -= 2 * time.Second // a date has whole seconds
		}
		if got := d.retryAt.Sub(before); got < least || got > want+5*time.Second || d.kept != 1 {
			t.Errorf("%q: comes again in %v, want %v; kept %d", header, got, want, d.kept)
		}
		store.Close()
	}
}

func TestRefusedBatchWithoutASpool(t *testing.T) {
	_, errs, err := post(t, records(1, 1), "--to", answering(t, 400, `{"error":"no good"}`))
	if err == nil || !strings.Contains(errs, "logpost: 1 line was not delivered: ") || !strings.Contains(errs, "no good") {
		t.Errorf("%v, said %q", err, errs)
	}
}
