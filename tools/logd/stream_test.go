package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"winnow/tools/logd/door"
	"winnow/tools/testkit"

	"github.com/valyala/fasthttp"
)

func TestFollow(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", `{"type":"kill","n":1}`)
	l.mustPost(t, "", `{"type":"host","n":2}`)
	next, _ := follow(t, l.url+"/logs?follow=1&type=kill")
	if got := next(); got != `{"type":"kill","n":1}` {
		t.Errorf("began with %q", got)
	}
	for i := range 5 {
		l.mustPost(t, "", fmt.Sprintf(`{"type":"host","n":%d}`, i)+"\n"+fmt.Sprintf(`{"type":"kill","n":%d}`, 10+i))
		if got, want := next(), fmt.Sprintf(`{"type":"kill","n":%d}`, 10+i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	l.clock.Pass(24 * time.Hour) // on to the next file
	l.mustPost(t, "", `{"type":"kill","n":99}`)
	if got := next(); got != `{"type":"kill","n":99}` {
		t.Errorf("over midnight: %q", got)
	}
	limited, _ := follow(t, l.url+"/logs?follow=1&type=kill&limit=8")
	for range 7 {
		limited()
	}
	l.mustPost(t, "", `{"type":"kill","n":100}`+"\n"+`{"type":"kill","n":101}`)
	if got := limited(); got != `{"type":"kill","n":100}` {
		t.Errorf("the eighth is %q", got)
	}
	if got := limited(); got != "end: <nil>" {
		t.Errorf("after the limit: %q", got)
	}
	go l.stop()
	if got := next(); got != `{"type":"kill","n":100}` {
		t.Errorf("got %q", got)
	}
	if got := next(); got != `{"type":"kill","n":101}` {
		t.Errorf("got %q", got)
	}
	if got := next(); got != "end: <nil>" {
		t.Errorf("at the stop: %q", got)
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}

// A client of HTTP/1.0 knows no chunks.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	body := bigDay(testkit.Noon, 2000) // over many chunks
	l.mustPost(t, "", body)
	for _, test := range []struct{ request, want string }{
		{"GET /logs HTTP/1.0", body}, {"GET /logs?follow=1&limit=2000 HTTP/1.0", body}, {"GET /logs HTTP/1.0\r\nConnection: keep-alive", body},
		{"HEAD /logs HTTP/1.0", ""}, {"GET /healthz HTTP/1.0", "{\"status\":\"ok\"}\n"},
	} {
		conn, err := net.Dial("tcp", l.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, test.request+"\r\nHost: localhost\r\n\r\n")
		answer, err := io.ReadAll(conn)
		head, got, _ := strings.Cut(string(answer), "\r\n\r\n")
		if err != nil || got != test.want || !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.Contains(head, "\r\nConnection: close") || strings.Contains(head, "chunked") {
			t.Errorf("%s: %v, %s, a body of %d bytes, want %d", test.request, err, head, len(got), len(test.want))
		}
	}
	testkit.Eventually(t, "all streams have ended", func() bool { return l.streams.Count() == 0 })
	testkit.Eventually(t, "all connections have ended", func() bool { return l.conns.Count() <= 1 })
}

// A body that breaks off is not taken for whole: there is no last chunk, or,
// for a client of HTTP/1.0, there is a reset.
func TestABodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	said := new(testkit.Messages)
	s := newServer(time.Now, said.Warn)
	l, err := door.Listen("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	broken := &fasthttp.Server{Logger: quiet{}, Handler: func(ctx *fasthttp.RequestCtx) {
		s.serveStream(ctx, "text/plain", false, func(w *bufio.Writer) error {
			w.WriteString("half of it")
			if string(ctx.Path()) == "/panic" {
				panic("broke")
			}
			return errors.Join(w.Flush(), errors.New("broke"))
		})
	}}
	go broken.Serve(l)
	defer broken.Shutdown()
	for _, version := range []string{"1.0", "1.1"} {
		for _, path := range []string{"/", "/panic"} {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(conn, "GET "+path+" HTTP/"+version+"\r\nHost: localhost\r\n\r\n")
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				_, err = io.ReadAll(response.Body)
			}
			if err == nil {
				t.Errorf("HTTP/%s, %s: taken for whole", version, path)
			}
		}
	}
	testkit.Eventually(t, "all streams have ended", func() bool { return s.streams.Count() == 0 })
	if got := strings.Count(said.String(), "broke"); got != 4 {
		t.Errorf("said %s", said)
	}
}

// TestAClientThatLeaves is none of logd's errors, whatever it asked for.
func TestAClientThatLeaves(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for range 5 {
		l.mustPost(t, "", bigDay(testkit.Noon, 20_000)) // more than the sockets take
	}
	for _, query := range []string{"", "?type=container", "?order=desc"} {
		response, err := http.Get(l.url + "/logs" + query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil {
			t.Errorf("%q: %v", query, err)
		}
		response.Body.Close()
	}
	testkit.Eventually(t, "all streams have ended", func() bool { return l.streams.Count() == 0 })
	if said := l.said.String(); said != "" {
		t.Errorf("said %s", said)
	}
}

// maxStreams and ofClient are how many streams logd and one address have.
const maxStreams, ofClient = 128, 32

func TestStreamsAreCounted(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	var ends []func()
	for i := 0; ; i++ { // until a client that has none gets none
		end, err := l.streams.Open(net.IPv4(10, 0, byte(i/24), 1), true)
		if err != nil {
			break
		}
		ends = append(ends, end)
	}
	if len(ends) != maxStreams {
		t.Errorf("%d streams were opened", len(ends))
	}
	if status, text := l.get(t, "/logs"); status != 503 || !strings.Contains(text, "streams are open") {
		t.Errorf("status %d, %s", status, text)
	}
	for _, end := range ends {
		end()
	}
	for range 3 {
		l.find(t, "")
	}
	testkit.Eventually(t, "all streams have ended", func() bool { return l.streams.Count() == 0 })
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
	testkit.Eventually(t, "it has its share", func() bool { return l.streams.Count() >= longOfClient })
	for range 3 {
		l.find(t, "") // from 127.0.0.1, too
	}
	other := c.dialFrom(t, "127.0.0.2", l.addr(), "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if status := statusOf(t, other); status != 200 {
		t.Errorf("another client: status %d", status)
	}
	if got := l.streams.Count(); got > ofClient+1 {
		t.Errorf("%d streams are open", got)
	}
}
