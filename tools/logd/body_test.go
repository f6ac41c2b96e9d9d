package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// A body takes the memory that it has room for, and no more.
func TestABodyTakesWhatItHasRoomFor(t *testing.T) {
	t.Parallel()
	for _, length := range []int{1, 100_000, 3 << 20, maxBody} {
		b := &bodyBuffer{uploads: newUploads()}
		if err := b.read(strings.NewReader(strings.Repeat("x", length)), length); err != nil || len(b.bytes) != length || cap(b.bytes) > int(b.taken) {
			t.Errorf("%d bytes: %v, has %d of %d, took %d", length, err, len(b.bytes), cap(b.bytes), b.taken)
		}
	}
}

// An upload that has not arrived gives way to others.
func TestSlowUploadsHoldUpNobody(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	c := &crowd{stop: make(chan struct{})}
	defer c.leave()
	for range 4 {
		conn := c.dial(t, l.addr(), "POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388000\r\n\r\n"+strings.Repeat("x", 7<<20))
		c.all.Go(func() { drip(conn, c.stop) })
	}
	testkit.Eventually(t, "the room is taken", func() bool {
		const least = 16 << 10
		if l.uploads.room.TryAcquire(least) {
			l.uploads.room.Release(least)
			return false
		}
		return true
	})
	time.Sleep(slow)
	for range 5 {
		begun := time.Now()
		if status, _ := l.post(t, "", `{"long":"`+strings.Repeat("x", 1<<20)+`"}`); status != 200 || time.Since(begun) > 10*time.Second {
			t.Errorf("status %d after %v", status, time.Since(begun))
		}
	}
	if status := statusOf(t, c.conns[0]); status != 408 {
		t.Errorf("the first of the slow ones got %d", status)
	}
}

func TestBodiesAreBoundedTogether(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	addr := l.addr()
	c := &crowd{stop: make(chan struct{})}
	// Each sends most of a body and then waits.
	part := strings.Repeat("x", 7<<20)
	refused := make(chan bool, 8)
	for range 8 {
		conn := c.dial(t, addr, "POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
		c.all.Go(func() {
			io.WriteString(conn, part)
			answer := make([]byte, 12)
			n, _ := io.ReadFull(conn, answer)
			if got := string(answer[:n]); got == "HTTP/1.1 503" || got == "HTTP/1.1 408" { // none came first, or gave way
				refused <- true
			}
		})
	}
	for range 3 { // at most four have room
		select {
		case <-refused:
		case <-time.After(testkit.Patience):
			t.Fatal("more bodies are held than there is room for")
		}
	}
	c.leave()
	testkit.Eventually(t, "the room is given back", func() bool {
		status, _ := l.post(t, "", `{"long":"`+strings.Repeat("x", 3<<20)+`"}`)
		return status == 200
	})
}
