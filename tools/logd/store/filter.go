package store

import (
	"bytes"
	"math"
	"strings"
	"unsafe"

	"winnow/tools/internal/jsonscan"
	"winnow/tools/internal/record"

	"github.com/tidwall/gjson"
)

// Filter is what a query asks for. AnyTime(Filter{}) takes every line.
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

// Matches tells whether a stored line is asked for.
func (f *Filter) Matches(line []byte) bool {
	if isCommit(line) {
		return false
	}
	left := len(f.Equal)
	timed := f.timed()
	if left == 0 && !timed {
		return true
	}
	m := members{jsonscan.Scanner{Text: line}}
	for m.next() && (timed || left > 0) {
		name, value := m.name(), m.value()
		if timed && string(name) == "time" {
			at, known := record.ParseTime(stringOf(value))
			if !known || at < f.Since || at >= f.Until {
				return false
			}
			timed = false
		}
		for i := range f.Equal {
			if string(name) != f.Equal[i].Name {
				continue
			}
			if !f.Equal[i].is(value) {
				return false
			}
			left--
		}
	}
	return !timed && left == 0
}

func (m *Member) is(value []byte) bool {
	got := stringOf(value)
	return len(value) > 0 && value[0] == '"' && (got == m.Value || m.Name == "id" && strings.HasPrefix(got, m.Value))
}

// stringOf is what a string means, without a copy where it has no escapes.
func stringOf(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	if bytes.IndexByte(value, '\\') >= 0 {
		return gjson.ParseBytes(value).Str
	}
	return unsafe.String(&value[1], len(value)-2)
}
