package main

import (
	"fmt"
	"strings"
	"testing"

	"winnow/tools/logpost/spool"
)

func newBatch(id, body string) *batch {
	b := &batch{Batch: spool.Batch{ID: id}}
	for i, text := range split(body) {
		b.add(line{number: i + 1, text: text})
	}
	return b
}

func TestBatchesAreBounded(t *testing.T) {
	store := newFakeStore(t)
	var in strings.Builder
	for n := range 20 {
		fmt.Fprintf(&in, `{"n":%d,"x":"%s"}`+"\n", n, strings.Repeat("x", 1000+(n*7919)%5*100_000))
	}
	fmt.Fprintf(&in, `{"x":"%s"}`+"\n%s", strings.Repeat("x", 2<<20), records(1, 2500))
	if _, errs, err := post(t, in.String(), "--to", store.URL); err != nil {
		t.Fatalf("%v, said %.200q", err, errs)
	}
	if strings.Join(store.bodies, "") != in.String() {
		t.Error("the bodies are not what came in")
	}
	for _, body := range store.bodies {
		if lines := strings.Count(body, "\n"); lines > maxLines || len(body) > maxBytes && lines > 1 {
			t.Errorf("a batch has %d lines and %d bytes", lines, len(body))
		}
	}
}

func TestBatchHasRoomFor(t *testing.T) {
	of := func(lines, bytes int) *batch {
		return &batch{Batch: spool.Batch{Body: make([]byte, bytes)}, numbers: make([]int, lines)}
	}
	text := func(n int) line { return line{text: strings.Repeat("x", n)} }
	for _, test := range []struct {
		b    *batch
		l    line
		want bool
	}{
		{of(0, 0), text(2 * maxBytes), true}, // else it would never go
		{of(1, maxBytes-11), text(10), true}, // with its newline it just fits
		{of(1, maxBytes-10), text(10), false},
		{of(maxLines-1, 5000), text(10), true},
		{of(maxLines, 5000), text(10), false},
	} {
		if got := test.b.hasRoomFor(test.l); got != test.want {
			t.Errorf("%d lines, %d bytes, and one of %d: %v", len(test.b.numbers), len(test.b.Body), len(test.l.text), got)
		}
	}
}
