package store

import (
	"bytes"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"winnow/tools/internal/jsonscan"
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
	host                []byte
}

var fieldNames = []string{"time", "type", "class", "result", "host"}

// check reads a line without its newline.
func (c *checker) check(text []byte) (fields, error) {
	if f, sure := c.fast(text); sure {
		return f, nil
	}
	if err := c.line.Parse(text); err != nil {
		return fields{}, err
	}
	var f fields
	f.at, f.timed = record.ParseTime(c.line.Get("time").Str)
	f.kind = []byte(c.line.Type())
	f.host = []byte(c.line.Get("host").Str)
	f.class, f.result = []byte(c.line.Get("class").Str), []byte(c.line.Get("result").Str)
	return f, nil
}

// maxNested is how deep fast goes.
const maxNested = 100

// fast is check where it is sure that the line is a record.
func (c *checker) fast(text []byte) (f fields, sure bool) {
	if len(text) > record.MaxLine {
		return f, false
	}
	s := jsonscan.Scanner{Text: text}
	s.Space()
	if !s.Take('{') {
		return f, false
	}
	s.Space()
	known := true // the names so far are those of the last line
	n := 0
	for !s.Take('}') {
		if n > 0 {
			if !s.Take(',') {
				return f, false
			}
			s.Space()
		}
		if known = known && n < len(c.keys) && bytes.HasPrefix(text[s.At:], c.keys[n]); known {
			s.At += len(c.keys[n])
		} else if !c.learn(n, &s) {
			return f, false
		}
		s.Space()
		from := s.At
		if !s.Value(maxNested) {
			return f, false
		}
		if field := c.want[n]; field >= 0 && !c.set(&f, field, text[from:s.At]) {
			return f, false
		}
		s.Space()
		n++
	}
	s.Space()
	return f, s.At == len(text) && (!s.Wide || utf8.Valid(text))
}

// learn reads the n-th name and its colon, and tells whether it differs from
// those before it.
func (c *checker) learn(n int, s *jsonscan.Scanner) bool {
	key, plain := s.Quoted()
	s.Space()
	wide := func(c byte) bool { return c >= utf8.RuneSelf }
	if !plain || !s.Take(':') || n >= 64 || slices.ContainsFunc(key, wide) {
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
	case 4:
		f.host = value
	}
	return true
}

// time is ParseTime for the times that winnow writes, of which the next is
// mostly of the same minute as the last.
func (c *checker) time(text []byte) (int64, bool) {
	const whole = len("2026-11-21T12:00:00Z")
	if len(text) < whole || len(text) > whole+10 || text[len(text)-1] != 'Z' || text[16] != ':' {
		return record.ParseTime(string(text))
	}
	if [16]byte(text) != c.minute {
		at, err := time.Parse("2006-01-02T15:04", string(text[:16]))
		if err != nil || at.Year() < 1970 || at.Year() > 2261 {
			return record.ParseTime(string(text))
		}
		c.minute, c.minuteAt = [16]byte(text), at.UnixNano()
	}
	seconds := int64(text[17]-'0')*10 + int64(text[18]-'0')
	if text[17] < '0' || text[17] > '5' || text[18] < '0' || text[18] > '9' {
		return record.ParseTime(string(text))
	}
	ns, digits := int64(0), text[19:len(text)-1]
	if len(digits) == 1 || len(digits) > 0 && digits[0] != '.' {
		return record.ParseTime(string(text))
	}
	for i := 1; i < 10; i++ {
		ns *= 10
		if i < len(digits) {
			if digits[i] < '0' || digits[i] > '9' {
				return record.ParseTime(string(text))
			}
			ns += int64(digits[i] - '0')
		}
	}
	return c.minuteAt + seconds*1e9 + ns, true
}
