package store

import (
	"bytes"
	"math"
	"strings"
	"unsafe"

	"winnow/tools/internal/record"

	"github.com/tidwall/gjson"
)

// Filter is what a query asks for. The zero one has a span of no time and so takes no line: begin with
// AnyTime(Filter{}), which takes every line.
type Filter struct {
	Since, Until int64 // of a line's `time`, ns since 1970; Since <= time < Until
	Equal        []Member
	Limit        int // 0: all
	NewestFirst  bool
}

// Member is a string member that a line must have. An id may be cut short, as
// Docker prints it.
type Member struct{ Name, Value string }

// AnyTime is f without bounds in time.
func AnyTime(f Filter) Filter {
	f.Since, f.Until = math.MinInt64, math.MaxInt64
	return f
}

func (f *Filter) timed() bool { return f.Since != math.MinInt64 || f.Until != math.MaxInt64 }

// wants tells whether some line of b may match, by its times.
func (f *Filter) wants(b *block) bool {
	return !f.timed() || b.Max >= f.Since && b.Min < f.Until
}

// within is f for the lines of b: where all of them are within its span, their
// times need not be looked at.
func (f *Filter) within(b *block) *Filter {
	if !f.timed() || b.Untimed || b.Min < f.Since || b.Max >= f.Until {
		return f
	}
	g := AnyTime(*f)
	return &g
}

// All tells whether every line matches, and any number of them is asked for.
func (f *Filter) All() bool { return len(f.Equal) == 0 && !f.timed() && f.Limit == 0 }

// needle is a text that a matching line has, unless it is written with escapes.
func (f *Filter) needle() []byte {
	if len(f.Equal) == 0 || f.Equal[0].Value == "" {
		return nil
	}
	m := f.Equal[0]
	if m.Name == "id" {
		return []byte(`"` + m.Value)
	}
	return []byte(`"` + m.Value + `"`)
}

// nextCandidate is where the first line of text that may match begins, or -1.
// text begins with a line.
func nextCandidate(text, needle []byte) int {
	if needle == nil {
		return 0
	}
	at := bytes.Index(text, needle)
	within := text
	if at >= 0 {
		within = text[:at]
	}
	if escape := bytes.IndexByte(within, '\\'); escape >= 0 {
		at = escape
	}
	if at < 0 {
		return -1
	}
	return bytes.LastIndexByte(text[:at], '\n') + 1
}

// Matches tells whether a stored line is asked for. Of a line that was damaged since it may say anything.
func (f *Filter) Matches(line []byte) bool {
	if isCommit(line) {
		return false
	}
	text := unsafe.String(unsafe.SliceData(line), len(line)) // gjson would copy it
	for i := range f.Equal {
		if !f.Equal[i].isIn(text) {
			return false
		}
	}
	if !f.timed() {
		return true
	}
	at, known := record.ParseTime(gjson.Get(text, "time").Str)
	return known && at >= f.Since && at < f.Until
}

func (m *Member) isIn(line string) bool {
	got := gjson.Get(line, gjson.Escape(m.Name))
	return got.Type == gjson.String && (got.Str == m.Value || m.Name == "id" && strings.HasPrefix(got.Str, m.Value))
}
