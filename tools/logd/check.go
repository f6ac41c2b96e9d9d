package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/record"
)

// checker decides which lines are records, just as record.Line.Parse does. Of
// most lines it is sure in one pass, without keeping anything; those that it
// is not sure of it leaves to Parse, which then also says what is wrong.
type checker struct {
	line record.Line
	// keys are the names of the last line's members, each as `"name":`. They
	// differ from one another, and lines of one kind have the same ones.
	keys [][]byte
	want []int // for each of keys the field that it is, or -1

	minute   [16]byte // 2026-11-21T12:00 of the last time
	minuteAt int64    // in ns since 1970
}

// fields are what the store needs to know of a line.
type fields struct {
	at                  int64 // its time, ns since 1970
	timed               bool
	kind, class, result []byte
}

var fieldNames = []string{"time", "type", "class", "result"}

// check reads a line without its newline.
func (c *checker) check(text []byte) (fields, error) {
	if f, sure := c.fast(text); sure {
		return f, nil
	}
	if err := c.line.Parse(text); err != nil {
		return fields{}, err
	}
	var f fields
	f.at, f.timed = parseTime(c.line.Get("time").Str)
	f.kind = []byte(c.line.Type())
	f.class, f.result = []byte(c.line.Get("class").Str), []byte(c.line.Get("result").Str)
	return f, nil
}

// fast is check where it is sure that the line is a record.
func (c *checker) fast(text []byte) (f fields, sure bool) {
	if len(text) > record.MaxLine {
		return f, false
	}
	s := scanner{text: text}
	s.space()
	if !s.take('{') {
		return f, false
	}
	s.space()
	known := true // the names so far are those of the last line
	n := 0
	for !s.take('}') {
		if n > 0 {
			if !s.take(',') {
				return f, false
			}
			s.space()
		}
		if known = known && n < len(c.keys) && bytes.HasPrefix(text[s.at:], c.keys[n]); known {
			s.at += len(c.keys[n])
		} else if !c.learn(n, &s) {
			return f, false
		}
		s.space()
		from := s.at
		if !s.value(0) {
			return f, false
		}
		if field := c.want[n]; field >= 0 && !c.set(&f, field, text[from:s.at]) {
			return f, false
		}
		s.space()
		n++
	}
	s.space()
	return f, s.at == len(text) && (!s.wide || utf8.Valid(text))
}

// learn reads the n-th name and its colon, and tells whether it differs from
// those before it.
func (c *checker) learn(n int, s *scanner) bool {
	key, plain := s.str()
	s.space()
	wide := func(c byte) bool { return c >= utf8.RuneSelf }
	if !plain || !s.take(':') || n >= 64 || slices.ContainsFunc(key, wide) {
		return false // rare, and Parse knows
	}
	c.keys, c.want = c.keys[:n], c.want[:n]
	quoted := fmt.Appendf(nil, `"%s":`, key)
	for _, before := range c.keys {
		if bytes.Equal(before, quoted) {
			return false
		}
	}
	c.keys = append(c.keys, quoted)
	c.want = append(c.want, slices.Index(fieldNames, string(key)))
	return true
}

// set takes a field's value, which must be a string without escapes.
func (c *checker) set(f *fields, field int, value []byte) bool {
	if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
		return false
	}
	value = value[1 : len(value)-1]
	switch field {
	case 0:
		f.at, f.timed = c.time(value)
	case 1:
		f.kind = value
	case 2:
		f.class = value
	case 3:
		f.result = value
	}
	return true
}

// time is parseTime for the times that winnow writes, of which the next is
// mostly of the same minute as the last.
func (c *checker) time(text []byte) (int64, bool) {
	const whole = len("2026-11-21T12:00:00Z")
	if len(text) < whole || len(text) > whole+10 || text[len(text)-1] != 'Z' || text[16] != ':' {
		return parseTime(string(text))
	}
	if [16]byte(text) != c.minute {
		at, err := time.Parse("2006-01-02T15:04", string(text[:16]))
		if err != nil || at.Year() < 1970 || at.Year() > 2261 {
			return parseTime(string(text))
		}
		c.minute, c.minuteAt = [16]byte(text), at.UnixNano()
	}
	seconds := int64(text[17]-'0')*10 + int64(text[18]-'0')
	if text[17] < '0' || text[17] > '5' || text[18] < '0' || text[18] > '9' {
		return parseTime(string(text))
	}
	ns, digits := int64(0), text[19:len(text)-1]
	if len(digits) == 1 || len(digits) > 0 && digits[0] != '.' {
		return parseTime(string(text))
	}
	for i := 1; i < 10; i++ {
		ns *= 10
		if i < len(digits) {
			if digits[i] < '0' || digits[i] > '9' {
				return parseTime(string(text))
			}
			ns += int64(digits[i] - '0')
		}
	}
	return c.minuteAt + seconds*1e9 + ns, true
}

// scanner walks over JSON.
type scanner struct {
	text []byte
	at   int
	wide bool // some byte is not ASCII
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.text) && s.text[s.at] <= ' ' {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// maxNested is how deep fast goes.
const maxNested = 100

// value walks over one value, and is false where it is none.
func (s *scanner) value(depth int) bool {
	if s.at >= len(s.text) || depth > maxNested {
		return false
	}
	switch c := s.text[s.at]; c {
	case '"':
		return s.skipString()
	case '{', '[':
		return s.nested(c, depth)
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

func (s *scanner) word(w string) bool {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// nested walks over an object or an array.
func (s *scanner) nested(open byte, depth int) bool {
	end := open + 2 // in ASCII, for both kinds of brackets
	s.at++
	s.space()
	for n := 0; !s.take(end); n++ {
		if n > 0 {
			if !s.take(',') {
				return false
			}
			s.space()
		}
		if open == '{' {
			if s.at >= len(s.text) || s.text[s.at] != '"' || !s.skipString() {
				return false
			}
			s.space()
			if !s.take(':') {
				return false
			}
			s.space()
		}
		if !s.value(depth + 1) {
			return false
		}
		s.space()
	}
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits walks over digits, of which there must be one.
func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.text) && s.text[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at > from
}

// str walks over a string and returns what is within its quotes, and whether
// that is all there is to it: no escapes.
func (s *scanner) str() (text []byte, plain bool) {
	from := s.at + 1
	if s.at >= len(s.text) || s.text[s.at] != '"' || !s.skipString() {
		return nil, false
	}
	text = s.text[from : s.at-1]
	return text, bytes.IndexByte(text, '\\') < 0
}

// skipString walks over a string, eight bytes at a time.
func (s *scanner) skipString() bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i, text := s.at+1, s.text
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
			s.at = i + 1
			return true
		case c < ' ':
			return false
		case c == '\\':
			n := escapeLength(text[i:])
			if n == 0 {
				return false
			}
			i += n
		default:
			s.wide = s.wide || c >= utf8.RuneSelf
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
