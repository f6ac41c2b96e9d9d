package main

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is clients that do no good: they hold connections and say nothing,
// send their request a byte at a time, or follow the log and stop reading.
type crowd struct {
	conns []net.Conn
	stop  chan struct{}
	all   sync.WaitGroup
}

func gather(t testing.TB, addr string, idle, slow, stopped int) *crowd {
	t.Helper()
	c := &crowd{stop: make(chan struct{})}
	for range idle {
		c.dial(t, addr, "")
	}
	for range slow {
		conn := c.dial(t, addr, "POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{")
		c.all.Go(func() { drip(conn, c.stop) })
	}
	for range stopped {
		c.dial(t, addr, "GET /logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	return c
}

func (c *crowd) dial(t testing.TB, addr, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c.conns = append(c.conns, conn)
	if tcp := conn.(*net.TCPConn); strings.HasPrefix(text, "GET") {
		tcp.SetReadBuffer(16 << 10)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// drip sends a byte now and then.
func drip(conn net.Conn, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
			if _, err := conn.Write([]byte{' '}); err != nil {
				return
			}
		}
	}
}

func (c *crowd) leave() {
	close(c.stop)
	for _, conn := range c.conns {
		conn.Close()
	}
	c.all.Wait()
}

func TestACrowdStopsNobody(t *testing.T) {
	l := startLog(t, t.TempDir())
	addr := strings.TrimPrefix(l.url, "http://")
	body := bigDay(noon, 2000)
	l.mustPost(t, "", body)
	c := gather(t, addr, 300, 50, 50)
	defer c.leave()
	// Later those that read nothing may be cut off, after writeTime.
	eventually(t, "50 streams are open", func() bool { return l.streams.Load() == 50 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	posted := 1
	for range 60 { // some 30 MB, more than the followers' sockets take
		l.mustPost(t, fmt.Sprint("b", posted), body)
		posted++
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
	if got := strings.Count(l.find(t, ""), "\n"); got != posted*2000 {
		t.Errorf("%d lines of %d", got, posted*2000)
	}
}

func TestStreamsAreCounted(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.streams.Store(maxStreams)
	if status, text := l.get(t, "/logs"); status != 503 || !strings.Contains(text, "streams are open") {
		t.Errorf("status %d, %s", status, text)
	}
	l.streams.Store(0)
	for range 3 {
		l.find(t, "")
	}
	eventually(t, "all streams have ended", func() bool { return l.streams.Load() == 0 })
}

func TestBodiesAreBoundedTogether(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	addr := strings.TrimPrefix(l.url, "http://")
	c := &crowd{stop: make(chan struct{})}
	// Each sends most of a body and then waits.
	part := strings.Repeat("x", 7<<20)
	refused := make(chan bool, 8)
	for range 8 {
		conn := c.dial(t, addr, "POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n\r\n")
		c.all.Go(func() {
			io.WriteString(conn, part)
			answer := make([]byte, 12)
			if n, _ := io.ReadFull(conn, answer); string(answer[:n]) == "HTTP/1.1 503" {
				refused <- true
			}
		})
	}
	for range 3 { // at most four have room
		select {
		case <-refused:
		case <-time.After(patience):
			t.Fatal("more bodies are held than there is room for")
		}
	}
	c.leave()
	eventually(t, "the room is given back", func() bool {
		status, _ := l.post(t, "", `{"long":"`+strings.Repeat("x", 3<<20)+`"}`)
		return status == 200
	})
}
