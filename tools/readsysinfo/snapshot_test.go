package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/internal/record"
)

// brokenAfter is a writer with room for so many bytes.
type brokenAfter struct {
	room int
	got  strings.Builder
}

var errBroken = errors.New("broken")

func (w *brokenAfter) Write(text []byte) (int, error) {
	n := min(len(text), w.room-w.got.Len())
	w.got.Write(text[:n])
	if n < len(text) {
		return n, errBroken
	}
	return n, nil
}

// A snapshot that could not be written whole has no end, and leaves no state: nobody has seen it.
func TestWritingFails(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	var text strings.Builder
	text.WriteString(`{"format":1,"boottime_ns":5,"total_memory_kb":5,"containers":[`)
	for i := range 900 { // more than is written at once
		if i > 0 {
			text.WriteString(",")
		}
		text.WriteString(`{"id":"` + testID(i) + `","memory_kb":1,"cpu_ns":1,"processes":[{"pid":1},{"pid":2}]}`)
	}
	tr.write("document", text.String()+"]}")
	args := []string{"--proc-root", filepath.Join(tr.dir, "proc"), "--source", filepath.Join(tr.dir, "document"), "--processes"}
	whole := tr.run(args[2:]...)
	if whole.err != nil || len(whole.processes) != 1800 {
		t.Fatalf("%v: %s", whole.err, whole.stderr)
	}
	kept := filepath.Join(tr.dir, "kept")
	for _, room := range []int{0, 1, 1000, 64 << 10, 65 << 10, 200_000, len(whole.stdout) * 9 / 10} {
		out := &brokenAfter{room: room}
		var stderr strings.Builder
		if err := run(t.Context(), append(args, "--state", kept), nil, out, &stderr); !errors.Is(err, errBroken) {
			t.Errorf("room for %d: %v", room, err)
		}
		got := out.got.String()
		for line, err := range record.Lines(strings.NewReader(got[:strings.LastIndex(got, "\n")+1])) {
			if err != nil || line.Type() == record.TypeEnd {
				t.Errorf("room for %d: %v: %s", room, err, line.Text())
			}
		}
		if left, err := readState(kept); err != nil || left.Samples != nil {
			t.Errorf("room for %d: kept %+v, %v", room, left, err)
		}
	}
}
