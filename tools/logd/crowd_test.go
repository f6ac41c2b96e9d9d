package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
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
	for i := range stopped { // one client would not get as many
		c.dialFrom(t, fmt.Sprintf("127.0.0.%d", 1+i/maxLongOfClient), addr, "GET /logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	return c
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
	addr := l.addr()
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
	l.streams.all = maxStreams
	if status, text := l.get(t, "/logs"); status != 503 || !strings.Contains(text, "streams are open") {
		t.Errorf("status %d, %s", status, text)
	}
	l.streams.all = 0
	for range 3 {
		l.find(t, "")
	}
	eventually(t, "all streams have ended", func() bool { return l.streams.Load() == 0 })
	if len(l.streams.of) > 0 {
		t.Errorf("still has %v", l.streams.of)
	}
}

func TestStreamsOfAClient(t *testing.T) {
	t.Parallel()
	s := newStreams()
	client := func(text string) netip.Prefix { return netip.MustParsePrefix(text) }
	fill := func(k streamKind, want int) {
		t.Helper()
		n := 0
		for s.add(k) == nil {
			n++
		}
		if n != want {
			t.Errorf("%v has %d", k, n)
		}
	}
	fill(streamKind{client("10.0.0.1/32"), true}, maxLongOfClient)
	fill(streamKind{client("10.0.0.1/32"), false}, maxOfClient-maxLongOfClient)
	for i := range 3 {
		fill(streamKind{client(fmt.Sprintf("10.0.1.%d/32", i)), false}, maxOfClient)
	}
	fill(streamKind{client("10.0.0.9/32"), false}, 0)
	s.remove(streamKind{client("10.0.0.1/32"), true})
	fill(streamKind{client("10.0.0.9/32"), true}, 1)
}

// One client that holds all that it can leaves others theirs, and where all
// have one address, as behind Docker's proxy, it leaves them their queries.
func TestOneClientHasAShareOfTheStreams(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	c := &crowd{stop: make(chan struct{})}
	defer c.leave()
	for _, path := range []string{"/logs?follow=1", "/events"} {
		for range maxStreams / 2 {
			c.dialFrom(t, "127.0.0.1", l.addr(), "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
	}
	eventually(t, "it has its share", func() bool { return l.streams.Load() >= maxLongOfClient })
	for range 3 {
		l.find(t, "") // from 127.0.0.1, too
	}
	other := c.dialFrom(t, "127.0.0.2", l.addr(), "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if status := statusOf(t, other); status != 200 {
		t.Errorf("another client: status %d", status)
	}
	if got := l.streams.Load(); got > maxOfClient+1 {
		t.Errorf("%d streams are open", got)
	}
}

// A page that is not read is cut long before what it is sent fills the
// buffers: when its window has been shut for as long as a write may take.
func TestAPageThatIsNotReadIsCut(t *testing.T) {
	t.Parallel()
	s := newServer(newClock().now, new(messages).warn)
	s.options.Dir = t.TempDir()
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.serve(ctx, listener{plain, time.Second}) }()
	c := &crowd{stop: make(chan struct{})}
	for _, path := range []string{"/events", "/logs?follow=1"} {
		c.dialFrom(t, "127.0.0.1", plain.Addr().String(), "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	eventually(t, "the streams are open", func() bool { return s.streams.Load() == 2 })
	// More than the clients' windows, and less than the buffer, a little at a time.
	for n := range 6 {
		at := noon.Add(time.Duration(n) * time.Second).Format(time.RFC3339)
		lines := hostLine(fmt.Sprint("s", n), at, 300)
		for i := range 300 {
			lines += container(fmt.Sprint("s", n), at, fmt.Sprintf("aaaa11112%03d", i), "web", "low", "keep", 1)
		}
		if err := s.store.Append(newBatch(lines)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
	}
	eventually(t, "they are cut", func() bool { return s.streams.Load() == 0 })
	c.leave()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAPageAsksAnewAfterAWhile(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir(), func(s *server) { s.pageTime = time.Second })
	next, _ := follow(t, l.url+"/events")
	var said []string
	for line := next(); line != "end: <nil>"; line = next() {
		said = append(said, line)
	}
	if len(said) < 3 || said[len(said)-3] != "event: again" {
		t.Errorf("ended with %q", said)
	}
}

// needsFiles skips a test where too few files can be open for its connections.
func needsFiles(t *testing.T) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*maxConns {
		t.Skipf("only %d files can be open: %v", limit.Cur, err)
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
	for i := range maxConns + maxConns/2 {
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
	eventually(t, "there are not too many", func() bool { return l.conns.Load() <= maxConns+1 })
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
			for range maxConns + leaving + 44 {
				conn := c.dial(t, l.addr(), "")
				c.all.Go(func() { io.WriteString(conn, text) })
			}
			eventually(t, "all have the connections that there are", func() bool { return l.conns.Load() >= maxConns })
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

// failing is a listener that has no file for a connection at first, and then
// gives one of which nothing can be set.
type failing struct {
	net.Listener
	calls int
}

func (f *failing) Accept() (net.Conn, error) {
	f.calls++
	if f.calls == 1 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	c, err := f.Listener.Accept()
	if f.calls == 2 && err == nil {
		c.Close()
	}
	return c, err
}

func TestAConnectionThatFailsEndsNothing(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	l := listener{&failing{Listener: plain}, writeTime}
	for range 2 {
		c, err := net.Dial("tcp", plain.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	plain.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed, and accepts: %v", err)
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
	eventually(t, "the room is taken", func() bool {
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
