package main

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// writeTime is how long a client may take for each piece that it is sent.
const writeTime = 20 * time.Second

// sendBuffer is how many bytes the kernel holds for a client that does not
// read. Left alone it would grow to megabytes.
const sendBuffer = 256 << 10

// listener bounds each write, whereas a time limit for whole answers would
// end the streams.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if err := tcp.SetWriteBuffer(sendBuffer); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return conn{c}, nil
}

type conn struct{ net.Conn }

func (c conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// listen opens addr, with TLS where there is a certificate.
func listen(addr, cert, key string) (net.Listener, error) {
	if (cert == "") != (key == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	var config *tls.Config
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if config != nil {
		return tls.NewListener(listener{l}, config), nil
	}
	return listener{l}, nil
}

// loopback tells whether addr can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	return localName(host)
}

func localName(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// minToken is the shortest token that is taken for one.
const minToken = 16

func readToken(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minToken {
		return nil, fmt.Errorf("%s: a token has at least %d characters", path, minToken)
	}
	return []byte(token), nil
}

// admit answers what may not be asked, and is false then.
func (s *server) admit(ctx *fasthttp.RequestCtx) bool {
	if s.options.local && !localName(hostOf(ctx.Host())) {
		// A page elsewhere that had its own name point to this machine.
		fail(ctx, fasthttp.StatusMisdirectedRequest, "not known by the name %q here", ctx.Host())
		return false
	}
	origin := ctx.Request.Header.Peek(fasthttp.HeaderOrigin)
	if _, host, _ := strings.Cut(string(origin), "://"); len(origin) > 0 && host != string(ctx.Host()) {
		fail(ctx, fasthttp.StatusForbidden, "a page of %q has no business here", origin)
		return false
	}
	if s.options.token == nil || s.authorized(ctx.Request.Header.Peek(fasthttp.HeaderAuthorization)) {
		return true
	}
	ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, `Basic realm="winnow", charset="UTF-8"`)
	fail(ctx, fasthttp.StatusUnauthorized, "a token is needed: as `Authorization: Bearer TOKEN`, or as the password in a browser")
	return false
}

func hostOf(host []byte) string {
	if name, _, err := net.SplitHostPort(string(host)); err == nil {
		return name
	}
	return string(host)
}

// authorized takes the token as a bearer's, or as the password of any user,
// which is what a browser can be asked for.
func (s *server) authorized(header []byte) bool {
	scheme, given, _ := strings.Cut(string(header), " ")
	if strings.EqualFold(scheme, "Basic") {
		text, err := base64.StdEncoding.DecodeString(given)
		if err != nil {
			return false
		}
		_, given, _ = strings.Cut(string(text), ":")
	} else if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(given), s.options.token) == 1
}
