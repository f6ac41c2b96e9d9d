package door

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
)

const (
	// maxStreams is how many queries, followers and pages there are at once.
	// One whose reader stops fills the buffers of all that lies between, which
	// for Docker's proxy is some 12 MB of the host's memory for TCP.
	maxStreams = 128
	// Of these one address has a quarter at most, and followers and pages leave
	// some of that to queries, which end: behind Docker's proxy all of the host's
	// clients have one address.
	maxOfClient     = maxStreams / 4
	maxLongOfClient = maxOfClient * 3 / 4
)

// Streams are the answers that are open: queries, followers and pages.
type Streams struct {
	mu  sync.Mutex
	all int
	of  map[streamKind]int
}

// streamKind is streams that are counted together.
type streamKind struct {
	client netip.Prefix
	long   bool // it ends when its client or logd ends it
}

// NewStreams has none open.
func NewStreams() *Streams { return &Streams{of: map[streamKind]int{}} }

// Open opens one to a client, where there is room for it; long is one that ends when its client or logd ends it. close is
// to be called once.
func (s *Streams) Open(ip net.IP, long bool) (close func(), err error) {
	addr, _ := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	client, _ := addr.Prefix(min(addr.BitLen(), 64)) // a network of IPv6 is one client: it has as many addresses as it likes
	k := streamKind{client, long}
	if err := s.add(k); err != nil {
		return nil, err
	}
	return func() { s.remove(k) }, nil
}

func (s *Streams) add(k streamKind) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.all == maxStreams:
		return fmt.Errorf("%d streams are open, which is as many as there can be", maxStreams)
	case s.of[k]+s.of[streamKind{k.client, !k.long}] == maxOfClient:
		return fmt.Errorf("%d streams are open to this address, which is as many as one can have", maxOfClient)
	case k.long && s.of[k] == maxLongOfClient:
		return fmt.Errorf("%d followers and pages are open to this address, which is as many as one can have", maxLongOfClient)
	}
	s.all++
	s.of[k]++
	return nil
}

func (s *Streams) remove(k streamKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.of[k]--; s.of[k] == 0 {
		delete(s.of, k)
	}
}

// Count is how many are open.
func (s *Streams) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}
