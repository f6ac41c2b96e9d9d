package main

import (
	"fmt"

	"winnow/tools/logpost/spool"
)

const (
	maxLines = 1000    // in a batch
	maxBytes = 1 << 20 // in a batch, but for a single line that is longer
)

// batch is one that came in, or with no numbers one of the spool.
type batch struct {
	spool.Batch
	numbers []int // of its lines in the input
	end     bool  // it has the end of a snapshot
}

func (b *batch) add(l line) {
	b.Body = append(append(b.Body, l.text...), '\n')
	b.numbers = append(b.numbers, l.number)
	b.end = b.end || l.end
}

func (b *batch) hasRoomFor(l line) bool {
	return len(b.numbers) < maxLines && len(b.Body)+len(l.text) < maxBytes || len(b.numbers) == 0
}

// line names a line of b, counted from 1.
func (b *batch) line(n int) string {
	if n >= 1 && n <= len(b.numbers) {
		return fmt.Sprintf("line %d", b.numbers[n-1])
	}
	return fmt.Sprintf("line %d of batch %s", n, b.ID)
}

// counted is n lines, in words, and what is said of one line or of more.
func counted(n int, ofOne, ofMore string) string {
	if n == 1 {
		return "1 line" + ofOne
	}
	return fmt.Sprintf("%d lines%s", n, ofMore)
}
