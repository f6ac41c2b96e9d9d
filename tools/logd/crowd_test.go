package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"winnow/tools/logd/door"
	"winnow/tools/testkit"
)

// crowd is clients that do no good: they hold connections and say nothing,
// send their request a byte at a time, or follow the log and stop reading.
type crowd struct {
	conns []net.Conn
	stop  chan struct{}
	all   sync.WaitGroup
}

func (c *crowd) dial(t testing.TB, addr, text string) net.Conn {
	t.Helper()
	return c.dialFrom(t, "127.0.0.1", addr, text)
}

func (c *crowd) dialFrom(t testing.TB, from, addr, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", addr)
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

func (c *crowd) leave() {
	close(c.stop)
	for _, conn := range c.conns {
		conn.Close()
	}
	c.all.Wait()
}

// longOfClient is how many followers and pages one address may have.
const longOfClient = 24

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
	for i := range stopped { // one address would not get as many
		c.dialFrom(t, fmt.Sprintf("127.0.0.%d", 1+i/longOfClient), addr, "GET /logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	return c
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

// statusOf is that of the answer that comes on conn.
func statusOf(t *testing.T, conn net.Conn) int {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// maxConns is how many connections logd has.
const maxConns = 1024

// needsFiles skips a test where too few files can be open for its connections.
func needsFiles(t *testing.T) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*door.MaxConns {
		t.Skipf("only %d files can be open: %v", limit.Cur, err)
	}
}

func TestACrowdStopsNobody(t *testing.T) {
	l := startLog(t, t.TempDir())
	addr := l.addr()
	body := bigDay(testkit.Noon, 2000)
	l.mustPost(t, "", body)
	c := gather(t, addr, 300, 50, 50)
	defer c.leave()
	// Later those that read nothing may be cut off, after writeTime.
	testkit.Eventually(t, "50 streams are open", func() bool { return l.streams.Count() == 50 })
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

// A client that holds connections and asks nothing does not keep others out,
// whether or not it begins a request.
func TestIdleConnectionsGiveWay(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	needsFiles(t)
	c := &crowd{stop: make(chan struct{})}
	defer c.leave()
	for i := range door.MaxConns + 256 {
		c.dial(t, l.addr(), strings.Repeat("P", i%2))
		if i%1000 == 0 {
			l.mustPost(t, "", "{}")
		}
	}
	for range 20 { // each on a connection of its own
		if status := statusOf(t, c.dial(t, l.addr(), "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	testkit.Eventually(t, "there are not too many", func() bool { return l.conns.Count() <= maxConns+1 })
}

// More clients than there can be connections, each slow at something else than
// saying nothing, keep nobody out either.
func TestSlowConnectionsGiveWay(t *testing.T) {
	needsFiles(t)
	for what, text := range map[string]string{
		"uploads that do not end":   "POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat(" ", 9000),
		"answers that nobody reads": strings.Repeat("GET /page/live.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
	} {
		t.Run(what, func(t *testing.T) {
			l := startLog(t, t.TempDir())
			c := &crowd{stop: make(chan struct{})}
			defer c.leave()
			for range door.MaxConns + 44 {
				conn := c.dial(t, l.addr(), "")
				c.all.Go(func() { io.WriteString(conn, text) })
			}
			testkit.Eventually(t, "all have the connections that there are", func() bool { return l.conns.Count() >= maxConns })
			for range 3 { // each on a connection of its own
				begun := time.Now()
				conn := c.dial(t, l.addr(), "POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
				if status := statusOf(t, conn); status != 200 || time.Since(begun) > 12*time.Second {
					t.Errorf("status %d after %v", status, time.Since(begun))
				}
			}
		})
	}
}
