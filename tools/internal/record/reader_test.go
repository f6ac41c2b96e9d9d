package record

import (
	"bufio"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLines(t *testing.T) {
	long := `{"long":"` + strings.Repeat("y", 2<<20) + `"}`
	in := strings.Join([]string{
		`{"n":1}`, "", "  ", "{\"n\":2}\r", "garbage", long, strings.Repeat("x", MaxLine*2), `{"n":3}`,
	}, "\n")
	var texts []string
	var bad []int
	for line, err := range Lines(strings.NewReader(in)) {
		var lineError *LineError
		if errors.As(err, &lineError) {
			bad = append(bad, lineError.Number)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, line.Text())
	}
	if want := []string{`{"n":1}`, `{"n":2}`, long, `{"n":3}`}; !reflect.DeepEqual(texts, want) {
		t.Errorf("got %d lines, want %d: %.100q", len(texts), len(want), texts)
	}
	if want := []int{5, 7}; !reflect.DeepEqual(bad, want) {
		t.Errorf("bad lines %v, want %v", bad, want)
	}
}

func TestLinesYieldsTheReadersError(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("{\"n\":1}\n"), iotest.ErrReader(io.ErrClosedPipe))
	var last error
	lines := 0
	for _, err := range Lines(broken) {
		lines++
		last = err
	}
	if lines != 2 || !errors.Is(last, io.ErrClosedPipe) {
		t.Errorf("got %d items, the last error %v", lines, last)
	}
}

func TestRecords(t *testing.T) {
	in := "{\"type\":\"host\"}\n{\"type\":\"container\"}\n{\"type\":\"weather\"}\n"
	var got []string
	for line, err := range Records(strings.NewReader(in)) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, line.Text())
	}
	want := []string{`{"type":"host"}`, "line 2: a container without an id of 64 hex digits", `{"type":"weather"}`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A filter's output must be out before it waits for input.
func TestFlushBefore(t *testing.T) {
	var out strings.Builder
	w := bufio.NewWriter(&out)
	r := FlushBefore(strings.NewReader("next"), w)
	w.WriteString("answer")
	if _, err := r.Read(make([]byte, 4)); err != nil || out.String() != "answer" {
		t.Errorf("wrote %q, %v", out.String(), err)
	}

	broken := bufio.NewWriter(brokenWriter{})
	broken.WriteString("answer")
	if _, err := FlushBefore(strings.NewReader("next"), broken).Read(make([]byte, 4)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
