// Package testkit holds what the tests of several packages need: patience, chance, a clock, a network address, what was
// said, and lines. It is beside tools/internal, not in it, so that the tests of kernel/ and scripts/ may import it, too.
package testkit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what a busy machine does late.
const Patience = time.Minute

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > Patience {
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}

// Dice is chance that can be had again: a test that fails says how.
func Dice(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("WINNOW_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WINNOW_SEED: %v", err)
		}
	}
	t.Logf("drawn with WINNOW_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// FreeAddr is an address of this machine that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Messages is what something said.
type Messages struct {
	mu   sync.Mutex
	text strings.Builder
}

// Warn takes a message.
func (m *Messages) Warn(format string, a ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(&m.text, format+"\n", a...)
}

func (m *Messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// Noon is when a Clock begins.
var Noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// Clock is one that a test sets.
type Clock struct {
	mu   sync.Mutex
	at   time.Time
	boot time.Duration
}

// NewClock begins at Noon.
func NewClock() *Clock { return &Clock{at: Noon} }

// Now is the time that it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Boot is the time since the machine's start.
func (c *Clock) Boot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// Pass lets time pass.
func (c *Clock) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.boot = c.at.Add(d), c.boot+d
}

// Jump has it show another time, while none passes.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Set is Jump to a time.
func (c *Clock) Set(at time.Time) { c.Jump(at.Sub(c.Now())) }
