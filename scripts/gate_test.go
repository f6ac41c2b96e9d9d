package scripts

import (
	"cmp"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/client"
)

// gate is a server at an address of its own, which can be closed and opened.
type gate struct {
	t             *testing.T
	network       string // unix or tcp, on both sides
	address, real string
	mu            sync.Mutex
	listener      net.Listener
	conns         map[net.Conn]bool
}

func newGate(t *testing.T, network, address, real string) *gate {
	t.Helper()
	g := &gate{t: t, network: network, address: address, real: real, conns: map[net.Conn]bool{}}
	g.open()
	g.address = g.listener.Addr().String()
	t.Cleanup(g.close)
	return g
}

// newEngineGate is one to the engine.
func newEngineGate(t *testing.T) *gate {
	t.Helper()
	dir, err := os.MkdirTemp("", "winnow-test-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return newGate(t, "unix", filepath.Join(dir, "s"), strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), client.DefaultDockerHost), "unix://"))
}

func (g *gate) open() {
	l, err := net.Listen(g.network, g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go g.join(in)
		}
	}()
}

// join passes on what a client and the engine say, until either ends.
func (g *gate) join(in net.Conn) {
	out, err := net.Dial(g.network, g.real)
	if err != nil {
		in.Close()
		return
	}
	g.mu.Lock()
	g.conns[in], g.conns[out] = true, true
	g.mu.Unlock()
	end := sync.OnceFunc(func() {
		in.Close()
		out.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, in)
		delete(g.conns, out)
	})
	go func() { io.Copy(out, in); end() }()
	io.Copy(in, out)
	end()
}

// close refuses all that comes, and cuts what there is.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener.Close()
	for c := range g.conns {
		c.Close()
	}
}
