package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

func TestBadInputIsReportedAndPassedOver(t *testing.T) {
	store := newFakeStore(t)
	long := `{"long":"` + strings.Repeat("x", 2<<20) + `"}`
	in := "{\"n\":1}\ngarbage\n\n{\"n\":2}\r\n{\"a\":1,\"a\":2}\n{\"x\":\"\xff\"}\n" + long + "\n{\"n\":3"
	out, errs, err := post(t, in, "--to", store.URL)
	if err == nil {
		t.Error("exit status 0")
	}
	want := []string{`{"n":1}`, `{"n":2}`, long}
	if !reflect.DeepEqual(store.got(), want) || !reflect.DeepEqual(split(out), want) {
		t.Errorf("stored %.80q, passed on %.80q", store.got(), out)
	}
	for _, n := range []int{2, 5, 6, 8} {
		if !strings.Contains(errs, fmt.Sprintf("line %d: ", n)) {
			t.Errorf("line %d is not reported: %s", n, errs)
		}
	}
}

func TestStopDeliversWhatWasRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
	}{{"delivered", 0}, {"spooled", http.StatusServiceUnavailable}} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeStore(t)
			store.set(test.status)
			ctx, stop := context.WithCancel(t.Context())
			r, w := io.Pipe()
			defer w.Close()
			dir := t.TempDir()
			c := begin(t, ctx, r, "--to", store.URL, "--spool", dir)
			io.WriteString(w, records(1, 700))
			io.WriteString(w, records(701, 700))
			stop()
			out, _, err := c.end(t)
			if err != nil {
				t.Error(err)
			}
			passed := split(out)
			store.set(0)
			post(t, "", "--to", store.URL, "--spool", dir)
			if !reflect.DeepEqual(store.got(), passed) || len(passed) < 700 {
				t.Errorf("passed on %d lines, stored %d", len(passed), len(store.got()))
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestReaderOfStdoutGone(t *testing.T) {
	store := newFakeStore(t)
	var errs bytes.Buffer
	err := run(t.Context(), []string{"--to", store.URL}, strings.NewReader(records(1, 5000)), brokenPipe{}, &errs)
	if err == nil || errs.String() != "logpost: stdout: broken pipe\n" {
		t.Errorf("%v, said %q", err, errs.String())
	}
	if len(store.got()) != 5000 {
		t.Errorf("stored %d", len(store.got()))
	}
}
