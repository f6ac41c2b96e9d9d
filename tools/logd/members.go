package main

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// members walks over the members of a stored line: one that was checked when
// it came in. Of a line that was damaged since it may yield anything, but ends.
type members struct{ scanner }

// next goes to the next member, and is false at the end.
func (m *members) next() bool {
	for m.at < len(m.text) && m.text[m.at] != '"' && m.text[m.at] != '}' {
		m.at++ // what is before the first and between any two
	}
	return m.at < len(m.text) && m.text[m.at] == '"'
}

// name is the member's name. It is called once after next, and value after it.
func (m *members) name() []byte {
	from := m.at
	if !m.skipString() {
		m.at = len(m.text)
		return nil
	}
	name := m.text[from+1 : m.at-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		return []byte(gjson.ParseBytes(m.text[from:m.at]).Str)
	}
	return name
}

// value is the member's value as JSON.
func (m *members) value() []byte {
	for m.at < len(m.text) && (m.text[m.at] == ':' || m.text[m.at] <= ' ') {
		m.at++
	}
	from := m.at
	if !m.scanner.value(maxNested - 10_000) {
		m.at = len(m.text)
		return nil
	}
	return m.text[from:m.at]
}
