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

// gate is a socket of its own that leads to the engine's, and can be closed and opened.
type gate struct {
	t             *testing.T
	address, real string
	mu            sync.Mutex
	listener      net.Listener
	conns         map[net.Conn]bool
}

func newEngineGate(t *testing.T) *gate {
	t.Helper()
	dir, err := os.MkdirTemp("", "winnow-test-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &gate{t: t, address: filepath.Join(dir, "s"), conns: map[net.Conn]bool{},
		real: strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), client.DefaultDockerHost), "unix://")}
	g.open()
	t.Cleanup(g.close)
	return g
}

func (g *gate) open() {
	l, err := net.Listen("unix", g.address)
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
	out, err := net.Dial("unix", g.real)
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
