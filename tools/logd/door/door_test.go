package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// The address that it was told to listen on is one that it is known by.
func TestTheAddressOfItsOwn(t *testing.T) {
	t.Parallel()
	for listen, known := range map[string]string{"192.0.2.7:7070": "192.0.2.7", "[2001:db8::7]:80": "[2001:DB8::7]:80", "log.example:80": "log.example"} {
		g, err := NewGuard(listen, nil)
		if err != nil || !g.knows(known) || g.knows("evil.example") || g.knows("192.0.2.8") {
			t.Errorf("%s: %v, %v", listen, g, err)
		}
	}
	for _, listen := range []string{":7070", "0.0.0.0:7070", "[::]:7070"} {
		g, err := NewGuard(listen, nil)
		if err != nil || len(g.names) > 0 || g.knows("") || g.knows("0.0.0.0") || g.knows("[::]:7070") {
			t.Errorf("%s: %v, %v", listen, g, err)
		}
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
	l := Bounded(&failing{Listener: plain}, writeTime)
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

func TestStreamsOfAClient(t *testing.T) {
	t.Parallel()
	s := NewStreams()
	fill := func(ip string, long bool, want int) (end func()) {
		t.Helper()
		n := 0
		for {
			last, err := s.Open(netip.MustParseAddr(ip).AsSlice(), long)
			if err != nil {
				break
			}
			end = last
			n++
		}
		if n != want {
			t.Errorf("%s has %d", ip, n)
		}
		return end
	}
	end := fill("10.0.0.1", true, maxLongOfClient)
	fill("10.0.0.1", false, maxOfClient-maxLongOfClient)
	for i := range 2 {
		fill(fmt.Sprintf("10.0.1.%d", i), false, maxOfClient)
	}
	fill("2001:db8::1", false, maxOfClient)
	fill("2001:db8::2", false, 0) // of the same network
	fill("10.0.0.9", false, 0)
	end()
	fill("::ffff:10.0.0.9", true, 1)
	if n := s.Count(); n != maxStreams {
		t.Errorf("counts %d", n)
	}
}

func TestAJobIsGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	s := NewShare()
	j, err := s.Job(t.Context(), &s.Jobs, conn{Conn: accepted})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Next(); err != nil {
		t.Errorf("while the client is there: %v", err)
	}
	client.Close()
	testkit.Eventually(t, "it is given up when the client is gone", func() bool { return errors.Is(j.Next(), ErrHungUp) })
	j.Close()

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if j, err = s.Job(t.Context(), &s.Jobs, nil); err != nil {
		t.Fatal(err)
	}
	j.Context = ctx
	testkit.Eventually(t, "it is given up when it takes too long", func() bool { return errors.Is(j.Next(), ErrTooLong) })
	j.Close()
	if !s.Jobs.slots.TryAcquire(maxJobs) || !s.processors.TryAcquire(1) || s.Jobs.waiting.Load() != 0 {
		t.Error("what the jobs had is not given back")
	}
}

// An answer that is not fetched counts until its time is over.
func TestAnAnswerIsHeldUntilItIsFetched(t *testing.T) {
	t.Parallel()
	s := NewShare()
	j, err := s.Job(t.Context(), &s.Jobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := j.Answer([]byte("an answer")).(*answer)
	if !s.processors.TryAcquire(1) {
		t.Error("what is made holds a processor")
	}
	a.until = time.Now().Add(-time.Second)
	if _, err := a.Read(make([]byte, 4)); !errors.Is(err, ErrTooLong) || s.Jobs.slots.TryAcquire(maxJobs) {
		t.Errorf("read too late: %v", err)
	}
	a.until = time.Now().Add(time.Minute)
	if text, err := io.ReadAll(a); string(text) != "an answer" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	a.Close()
	if !s.Jobs.slots.TryAcquire(maxJobs) {
		t.Error("is still held")
	}
}
