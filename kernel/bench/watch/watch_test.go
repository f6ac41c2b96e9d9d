package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

func TestAvailable(t *testing.T) {
	for text, want := range map[string]float64{
		"MemTotal:        2000 kB\nMemFree:  1 kB\nMemAvailable:    500 kB\n": 25,
		"MemTotal:        2000 kB\nMemAvailable:    0 kB\n":                   0,
	} {
		if got, err := available([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	if got, err := available([]byte("MemTotal: 2000 kB\n")); err == nil {
		t.Errorf("found %v where it is not said", got)
	}
}

// The alarm is the first sample below the bound.
func TestSample(t *testing.T) {
	for bound, want := range map[float64]bool{0: false, 101: true} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		s := sample(ctx, bound)
		cancel()
		if s.err != nil || (s.alarm != nil) != want || s.least <= 0 || s.least > 100 {
			t.Errorf("below %v %%: %+v", bound, s)
		}
	}
}

// Lost is what fails and what takes longer than anybody waits.
func TestAsk(t *testing.T) {
	var asked atomic.Int32
	slow := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 2 {
			<-slow
		}
	}))
	defer server.Close()
	defer close(slow)
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if c := ask(ctx, server.URL); c.lost != 1 || c.all < 3 || c.slowest < patience {
		t.Errorf("%d lost of %d, at most %v", c.lost, c.all, c.slowest)
	}
	server.CloseClientConnections()
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if c := ask(ctx, "http://127.0.0.1:1/"); c.lost == 0 || c.lost != c.all {
		t.Errorf("%d lost of %d, where nobody answers", c.lost, c.all)
	}
}

func TestAwait(t *testing.T) {
	cmd := exec.Command("sleep", "0.2")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if ended, err := await(cmd.Process.Pid, 10*time.Millisecond); err != nil || ended != nil {
		t.Errorf("ended at %v, %v, before its end", ended, err)
	}
	if ended, err := await(cmd.Process.Pid, time.Minute); err != nil || ended == nil {
		t.Errorf("did not end: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
