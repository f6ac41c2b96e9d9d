package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// A stderr that nobody reads, and that is full, costs a tool its messages and no time.
func TestNobodyTakesMessages(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	stderr := &patient{name: "sift", w: write}
	line := strings.Repeat("x", 1023)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range 1000 { // 1 MB, into 64 KiB
			fmt.Fprintln(stderr, line)
		}
	}()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Fatal("messages wait for a reader")
	}
	in := bufio.NewScanner(read)
	for in.Scan() && in.Text() == line && stderr.isStuck() { // it is read again
	}
	fmt.Fprintln(stderr, "the last")
	write.Close()
	var last []string
	for in.Scan() {
		last = append(last, in.Text())
	}
	if n := len(last); n < 2 || last[n-1] != "the last" || !strings.HasPrefix(last[n-2], "sift: messages before that nobody took: 9") {
		t.Errorf("ends with %q", last[max(0, len(last)-3):])
	}
}

func (p *patient) isStuck() bool {
	select {
	case <-p.stuck:
		return false
	default:
		return true
	}
}
