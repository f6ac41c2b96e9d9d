// Package jsonscan walks over JSON in one pass and keeps nothing of it: what is
// needed is cut out of the text. It takes what RFC 8259 takes, but does not
// look whether the text is UTF-8.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Scanner walks over Text from At on. A method that returns false met what is
// not JSON, or not the JSON that it walks over, near At.
type Scanner struct {
	Text    []byte
	At      int
	Wide    bool // some byte in a string so far is not ASCII
	Escaped bool // there was an escape in one
}

// Take walks over one byte, if it is c.
func (s *Scanner) Take(c byte) bool {
	if s.At < len(s.Text) && s.Text[s.At] == c {
		s.At++
		return true
	}
	return false
}

// Space walks over what may stand between values.
func (s *Scanner) Space() {
	for s.At < len(s.Text) && s.Text[s.At] <= ' ' {
		switch s.Text[s.At] {
		case ' ', '\t', '\r', '\n':
			s.At++
		default:
			return
		}
	}
}

// Value walks over one value, which nests at most so many levels deep.
func (s *Scanner) Value(levels int) bool {
	if s.At >= len(s.Text) || levels < 0 {
		return false
	}
	switch c := s.Text[s.At]; c {
	case '"':
		return s.SkipString()
	case '{', '[':
		return s.nested(c, levels-1)
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *Scanner) word(w string) bool {
	if len(s.Text)-s.At < len(w) || string(s.Text[s.At:s.At+len(w)]) != w {
		return false
	}
	s.At += len(w)
	return true
}

// nested walks over an object or an array.
func (s *Scanner) nested(open byte, levels int) bool {
	end := open + 2 // in ASCII, for both kinds of brackets
	s.At++
	s.Space()
	for n := 0; !s.Take(end); n++ {
		if n > 0 {
			if !s.Take(',') {
				return false
			}
			s.Space()
		}
		if open == '{' {
			if s.At >= len(s.Text) || s.Text[s.At] != '"' || !s.SkipString() {
				return false
			}
			s.Space()
			if !s.Take(':') {
				return false
			}
			s.Space()
		}
		if !s.Value(levels) {
			return false
		}
		s.Space()
	}
	return true
}

func (s *Scanner) number() bool {
	s.Take('-')
	if !s.Take('0') && !s.digits() {
		return false
	}
	if s.Take('.') && !s.digits() {
		return false
	}
	if s.Take('e') || s.Take('E') {
		if !s.Take('+') {
			s.Take('-')
		}
		return s.digits()
	}
	return true
}

// digits walks over digits, of which there must be one.
func (s *Scanner) digits() bool {
	from := s.At
	for s.At < len(s.Text) && s.Text[s.At]-'0' <= 9 {
		s.At++
	}
	return s.At > from
}

// Quoted walks over a string and returns what is within its quotes, and
// whether that is all there is to it: no escapes. It is UTF-8 if Text is.
func (s *Scanner) Quoted() (text []byte, plain bool) {
	from := s.At + 1
	if s.At >= len(s.Text) || s.Text[s.At] != '"' || !s.SkipString() {
		return nil, false
	}
	text = s.Text[from : s.At-1]
	return text, bytes.IndexByte(text, '\\') < 0
}

// SkipString walks over a string, eight bytes at a time.
func (s *Scanner) SkipString() bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i, text := s.At+1, s.Text
	for {
		for len(text)-i >= 8 {
			v := binary.LittleEndian.Uint64(text[i:])
			quote, escape := v^('"'*ones), v^('\\'*ones)
			// The lowest bit set is that of the first byte that is a quote, a
			// backslash, a control character or not ASCII.
			special := ((quote-ones)&^quote | (escape-ones)&^escape | (v-' '*ones)&^v | v) & highs
			if special != 0 {
				i += bits.TrailingZeros64(special) / 8
				break
			}
			i += 8
		}
		if i >= len(text) {
			return false
		}
		switch c := text[i]; {
		case c == '"':
			s.At = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			n := escapeLength(text[i:])
			if n == 0 {
				return false
			}
			s.Escaped = true
			i += n
		default:
			s.Wide = s.Wide || c >= utf8.RuneSelf
			i++
		}
	}
}

// escapeLength is how long the escape is that text begins with, 0 where it is
// none.
func escapeLength(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) < 6 {
			return 0
		}
		for _, c := range text[2:6] {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}
