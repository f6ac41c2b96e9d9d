package main

import (
	"errors"
	"io"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// item is a line and what the verdicts need to know of it.
type item struct {
	line           record.Kept
	kind           string      // host, container, process, end or any other
	host, snapshot string
	count          int     // containers that a host line announces, or lines that an end line tells of; -1 where that is not known
	totalKB        float64 // memory of a host, 0 where it is not known
	spanMS         float64 // of a host's rates
	container      container
	err            error // what is wrong instead
}

// maxBatch bounds how many items are handed over at a time.
const maxBatch = 512

// reader reads items on a goroutine of its own, and hands them over before it
// waits for more input.
type reader struct {
	input   io.Reader
	batch   []item
	batches chan []item
	used    chan []item // to be filled again
	stop    chan struct{}
}

// readItems begins to read; the channel is closed behind the last item. After
// one with an error that is not a *record.LineError nothing comes. Close stop
// when no more is wanted.
func readItems(input io.Reader, byTime bool) *reader {
	r := &reader{input: input, batches: make(chan []item, 2), used: make(chan []item, 4), stop: make(chan struct{})}
	go func() {
		defer close(r.batches)
		for line, err := range record.Records(r) {
			if err != nil {
				r.batch = append(r.batch, item{err: err})
			} else {
				r.batch = append(r.batch, readItem(line, byTime))
			}
			if len(r.batch) == maxBatch && !r.handOver() {
				return
			}
		}
		r.handOver()
	}()
	return r
}

// Read is for record.Records.
func (r *reader) Read(p []byte) (int, error) {
	if !r.handOver() {
		return 0, errors.New("stopped")
	}
	return r.input.Read(p)
}

func (r *reader) handOver() bool {
	if len(r.batch) == 0 {
		return true
	}
	select {
	case r.batches <- r.batch:
	case <-r.stop:
		return false
	}
	select {
	case r.batch = <-r.used:
		r.batch = r.batch[:0]
	default:
		r.batch = nil
	}
	return true
}

func readItem(line *record.Line, byTime bool) item {
	it := item{line: line.Keep(), kind: line.Type()}
	switch it.kind {
	case record.TypeHost:
		it.totalKB = line.Get("total_memory_kb").Num
		it.spanMS = number(line.Get("interval_ms"))
		it.count = wholeNumber(line.Get("containers"))
	case record.TypeEnd:
		it.count = wholeNumber(line.Get("lines"))
	case record.TypeProcess:
	case record.TypeContainer:
		it.container = readContainer(line, byTime)
	default:
		return it
	}
	it.host, it.snapshot = line.Get("host").Str, line.Get("snapshot").Str
	return it
}

// wholeNumber is -1 where the value is not a whole number.
func wholeNumber(value gjson.Result) int {
	n := int(min(value.Num, 1e9))
	if value.Type != gjson.Number || float64(n) != value.Num {
		return -1
	}
	return n
}
