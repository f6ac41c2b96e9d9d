package main

import (
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
