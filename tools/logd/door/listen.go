// Package door is where clients of logd come in, and keeps any number of them from being at each other's expense: who may
// ask (Guard), which connections give way where clients are slow (Conns, Queue), how many streams a client
// has (Streams), and the share of the processors and of memory that readers have (Share), of which no writer waits for any.
// It knows nothing of what logd stores or answers.
package door

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

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

// Bounded has the clients of l take each piece that they are sent within patience.
func Bounded(l net.Listener, patience time.Duration) net.Listener { return listener{l, patience} }

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

// Reset has c closed in such a way that its client does not take what came for
// the whole.
func Reset(c net.Conn) {
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

// Listen opens addr, with TLS where there is a certificate.
func Listen(addr, cert, key string) (net.Listener, error) {
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
	l = Bounded(l, writeTime)
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return l, nil
}
