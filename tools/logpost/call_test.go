package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// records are n lines that begin with their number from first on.
func records(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"n":%d,"type":"container"}`+"\n", first+i)
	}
	return b.String()
}

func split(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

func post(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return begin(t, t.Context(), strings.NewReader(stdin), args...).end(t)
}

// call is a logpost under way.
type call struct {
	out, errs bytes.Buffer
	done      chan error
}

func begin(t *testing.T, ctx context.Context, stdin io.Reader, args ...string) *call {
	c := &call{done: make(chan error, 1)}
	go func() { c.done <- run(ctx, args, stdin, &c.out, &c.errs) }()
	return c
}

// tooLong is when a test gives up.
const tooLong = 30 * time.Second

var errHangs = errors.New("does not end")

func (c *call) end(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	select {
	case err := <-c.done:
		return c.out.String(), c.errs.String(), err
	case <-time.After(tooLong):
		t.Error(errHangs)
		return "", "", errHangs
	}
}

// until waits for what is to come true.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	for begun := time.Now(); !true(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > tooLong {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// files are those of a spool with this extension.
func files(t *testing.T, dir, ext string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// textOf is what those files hold.
func textOf(t *testing.T, dir, ext string) string {
	t.Helper()
	var all strings.Builder
	for _, file := range files(t, dir, ext) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
