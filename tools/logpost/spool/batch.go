package spool

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

// Batch is lines that are delivered together, once: the store knows the ID.
type Batch struct {
	ID   string
	Body []byte
}

// Lines is how many lines the store counts in b: it passes over empty ones, as
// only a file that was edited has them.
func (b *Batch) Lines() int {
	n := 0
	for line := range bytes.Lines(b.Body) {
		if len(bytes.TrimSpace(line)) > 0 {
			n++
		}
	}
	return n
}

// IDs names the batches of one run: host, run and number.
type IDs struct {
	run  string
	last int
}

// NewIDs begins a run.
func NewIDs() *IDs {
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, host)
	return &IDs{run: host[:min(len(host), 64)] + "-" + rand.Text()[:16]}
}

// Next is an ID that no batch had.
func (i *IDs) Next() string {
	i.last++
	return fmt.Sprintf("%s-%d", i.run, i.last)
}

// Own tells whether id names a batch of this run.
func (i *IDs) Own(id string) bool { return strings.HasPrefix(id, i.run+"-") }
