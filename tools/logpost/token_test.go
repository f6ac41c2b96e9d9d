package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	store := newFakeStore(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret-of-the-store\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := post(t, records(1, 1), "--to", store.URL, "--token-file", file); err != nil {
		t.Fatal(err)
	}
	if got := store.headers.Get("Authorization"); got != "Bearer s3cret-of-the-store" {
		t.Errorf("sent %q", got)
	}
}

func TestTokenThatNoRequestCanCarry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for _, text := range []string{"", "\n", "two words", "two\nlines", "t\x00ken", "tök", "too-short"} {
		writeFile(t, file, text)
		out, _, err := post(t, records(1, 1), "--to", "http://127.0.0.1:1", "--token-file", file, "--spool", t.TempDir())
		if err == nil || !strings.Contains(err.Error(), file+": not a token") || out != "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	os.Remove(file)
	if _, _, err := post(t, records(1, 1), "--to", "http://127.0.0.1:1", "--token-file", file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("none: %v", err)
	}
}

func TestNoTokenIsNoHeader(t *testing.T) {
	store := newFakeStore(t)
	post(t, records(1, 1), "--to", store.URL)
	if got, there := store.headers["Authorization"]; there {
		t.Errorf("sent %q", got)
	}
	if got := store.headers.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("sent as %q", got)
	}
}

func TestWrongTokenIsMended(t *testing.T) {
	store := newFakeStore(t)
	args := []string{"--to", store.URL, "--spool", t.TempDir()}
	store.set(http.StatusUnauthorized)
	if _, _, err := post(t, records(1, 1), args...); err != nil {
		t.Error(err)
	}
	store.set(0)
	post(t, records(2, 1), args...)
	if want := split(records(1, 2)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %v", store.got())
	}
}

// A pipe that goes on takes on a token that changes, or that comes only after its start.
func TestTokenThatChanges(t *testing.T) {
	store := newFakeStore(t)
	file := filepath.Join(t.TempDir(), "token")
	in, lines := io.Pipe()
	c := begin(t, t.Context(), in, "--to", store.URL, "--token-file", file, "--spool", t.TempDir())
	sent := func() string {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.headers.Get("Authorization")
	}
	for i, token := range []string{"", "the-first-of-the-store", "the-second-of-the-store"} {
		if token != "" {
			writeFile(t, file, token)
		}
		store.set(http.StatusUnauthorized) // to the token before
		before := store.came()
		go io.WriteString(lines, records(i+1, 1)) // which one that has ended never reads
		until(t, "the store has refused it", func() bool { return store.came() > before })
		store.set(0)
		until(t, "it is stored", func() bool { return len(store.got()) == i+1 })
		if got := sent(); token != "" && got != "Bearer "+token {
			t.Errorf("sent %q", got)
		}
	}
	lines.Close()
	if _, _, err := c.end(t); err != nil {
		t.Error(err)
	}
}
