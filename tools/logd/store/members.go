package store

import (
	"bytes"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/jsonscan"
)

// members walks over the members of a stored line: one that was checked when
// it came in. Of a line that was damaged since it may yield anything, but ends.
type members struct{ jsonscan.Scanner }

// next goes to the next member, and is false at the end.
func (m *members) next() bool {
	for m.At < len(m.Text) && m.Text[m.At] != '"' && m.Text[m.At] != '}' {
		m.At++ // what is before the first and between any two
	}
	return m.At < len(m.Text) && m.Text[m.At] == '"'
}

// name is the member's name. It is called once after next, and value after it.
func (m *members) name() []byte {
	from := m.At
	if !m.SkipString() {
		m.At = len(m.Text)
		return nil
	}
	name := m.Text[from+1 : m.At-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		return []byte(gjson.ParseBytes(m.Text[from:m.At]).Str)
	}
	return name
}

// value is the member's value as JSON.
func (m *members) value() []byte {
	for m.At < len(m.Text) && (m.Text[m.At] == ':' || m.Text[m.At] <= ' ') {
		m.At++
	}
	from := m.At
	if !m.Value(10_000) {
		m.At = len(m.Text)
		return nil
	}
	return m.Text[from:m.At]
}
