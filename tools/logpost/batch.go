package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
)

const (
	maxLines = 1000    // in a batch
	maxBytes = 1 << 20 // in a batch, but for a single line that is longer
)

// batch is lines that are delivered together, once: the store knows the id.
type batch struct {
	id      string
	body    []byte
	numbers []int // of its lines in the input; nil when it comes from the spool
}

func (b *batch) add(l line) {
	b.body = append(append(b.body, l.text...), '\n')
	b.numbers = append(b.numbers, l.number)
}

func (b *batch) holds(l line) bool {
	return len(b.numbers) < maxLines && len(b.body)+len(l.text) < maxBytes || len(b.numbers) == 0
}

// lines is how many lines the store counts in b: it passes over empty ones, as
// only a file that was edited has them.
func (b *batch) lines() int {
	n := 0
	for line := range bytes.Lines(b.body) {
		if len(bytes.TrimSpace(line)) > 0 {
			n++
		}
	}
	return n
}

// counted is n lines, in words.
func counted(n int) string {
	if n == 1 {
		return "1 line"
	}
	return fmt.Sprintf("%d lines", n)
}

// ids names the batches of one run: host, run and number.
type ids struct {
	run  string
	next int
}

func newIDs() *ids {
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-') {
			return r
		}
		return '-'
	}, host)
	return &ids{run: host[:min(len(host), 64)] + "-" + rand.Text()[:16]}
}

// own tells whether id names a batch of this run.
func (i *ids) own(id string) bool { return strings.HasPrefix(id, i.run+"-") }

func (i *ids) new() string {
	i.next++
	return fmt.Sprintf("%s-%d", i.run, i.next)
}
