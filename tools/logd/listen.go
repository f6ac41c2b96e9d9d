package main

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sys/unix"
)

// writeTime is how long a client may take for each piece that it is sent.
const writeTime = 20 * time.Second

// sendBuffer is how many bytes the kernel holds for a client that does not
// read. Left alone it would grow to megabytes.
const sendBuffer = 256 << 10

// listener bounds each write by patience, whereas a time limit for whole
// answers would end the streams.
type listener struct {
	net.Listener
	patience time.Duration
}

// Accept goes on where one connection fails, or where there are too many files
// for a moment: any error that it returned would end logd.
func (l listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if tcp, ok := c.(*net.TCPConn); ok && l.bound(tcp) != nil {
			c.Close()
			continue
		}
		return conn{c, l.patience}, nil
	}
}

// bound has the kernel end a connection whose client takes nothing, also where
// what waits for it still fits into the buffer: no write would fail then.
func (l listener) bound(tcp *net.TCPConn) error {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(l.patience.Milliseconds()))
	})
	return errors.Join(err, failed, tcp.SetWriteBuffer(sendBuffer))
}

type conn struct {
	net.Conn
	patience time.Duration
}

func (c conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// reset has c closed in such a way that its client does not take what came for
// the whole.
func reset(c net.Conn) {
	if tcp, ok := bare(c).(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// bare is c without TLS and without conn.
func bare(c net.Conn) net.Conn {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	if of, ok := c.(conn); ok {
		c = of.Conn
	}
	return c
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
		return tls.NewListener(listener{l, writeTime}, config), nil
	}
	return listener{l, writeTime}, nil
}

// loopback tells whether addr can be reached from this machine alone.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && localName(hostName(host))
}

func localName(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// hostName is the name or address of a Host, as it is compared.
func hostName(host string) string {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(name)
}

// knownBy notes the names by which logd may be asked for, beyond those of
// loopback: that of its own address, where that is one, and those allowed.
func (o *options) knownBy(listen string, allowed []string) error {
	for _, name := range allowed {
		if _, _, err := net.SplitHostPort(name); err == nil || name == "" || strings.ContainsAny(name, "/@* ") {
			return fmt.Errorf("not a name or an address, without a port: %q", name)
		}
		o.names = append(o.names, hostName(name))
	}
	own := hostName(listen)
	if ip, err := netip.ParseAddr(own); own != "" && (err != nil || !ip.IsUnspecified()) {
		o.names = append(o.names, own)
	}
	return nil
}

// knows tells whether logd may be asked for by that Host. Any other may be a
// page elsewhere that had its own name point to this machine.
func (o *options) knows(host string) bool {
	name := hostName(host)
	return localName(name) || slices.Contains(o.names, name)
}

// admit answers what may not be asked, and is false then.
func (s *server) admit(ctx *fasthttp.RequestCtx) bool {
	header := &ctx.Request.Header
	for _, host := range [][]byte{header.Host(), ctx.Host()} { // the latter may be in the request's first line
		if !s.options.knows(string(host)) {
			fail(ctx, fasthttp.StatusMisdirectedRequest, "not known by the name %q here; --allow-host would allow it", host)
			return false
		}
	}
	for _, origin := range header.PeekAll(fasthttp.HeaderOrigin) {
		if _, host, _ := strings.Cut(string(origin), "://"); host != string(ctx.Host()) {
			fail(ctx, fasthttp.StatusForbidden, "a page of %q has no business here", origin)
			return false
		}
	}
	// What asks for nothing but whether logd lives is seldom given secrets.
	if s.options.token == nil || string(ctx.Path()) == "/healthz" || s.authorized(header.Peek(fasthttp.HeaderAuthorization)) {
		return true
	}
	ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, `Basic realm="winnow", charset="UTF-8"`)
	fail(ctx, fasthttp.StatusUnauthorized, "a token is needed: as `Authorization: Bearer TOKEN`, or as the password in a browser")
	return false
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
