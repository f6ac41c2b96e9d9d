package record

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// The scanner reads plain lines, which nearly all are, in one pass and several
// times as fast as the library. It gives up on all that it is not sure of: then
// the library decides.

// maxNesting is how deep in a value the scanner goes.
const maxNesting = 8

// plain tells whether text is printable ASCII without a backslash, so that a
// string in it ends at the next quote. It looks at eight bytes at a time: the
// high bit of a byte in the sum is set where the byte is one of those.
func plain(text []byte) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	odd := func(w uint64) uint64 {
		backslash := w ^ '\\'*each
		return (w | (w-' '*each)&^w | (backslash-each)&^backslash) & high
	}
	for ; len(text) >= 8; text = text[8:] {
		if odd(binary.LittleEndian.Uint64(text)) != 0 {
			return false
		}
	}
	rest := [8]byte{' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '}
	copy(rest[:], text)
	return odd(binary.LittleEndian.Uint64(rest[:])) == 0
}

// scan reads the members of a plain line.
func (l *Line) scan() bool {
	s := l.raw
	i := skipSpaces(s, 0)
	if at(s, i) != '{' {
		return false
	}
	i = skipSpaces(s, i+1)
	if at(s, i) == '}' {
		return skipSpaces(s, i+1) == len(s)
	}
	for {
		name, colon := scanName(s, i)
		if colon < 0 {
			return false
		}
		start := skipSpaces(s, colon+1)
		l.members = append(l.members, Member{Name: name})
		value := &l.members[len(l.members)-1].Value
		end := scanValue(s, start, value)
		if end < 0 {
			return false
		}
		value.Raw, value.Index = s[start:end], start
		switch i = skipSpaces(s, end); at(s, i) {
		case ',':
			i = skipSpaces(s, i+1)
		case '}':
			return skipSpaces(s, i+1) == len(s)
		default:
			return false
		}
	}
}

// at is the byte at i, 0 beyond the end: a plain line has none.
func at(s string, i int) byte {
	if i < len(s) {
		return s[i]
	}
	return 0
}

func skipSpaces(s string, i int) int {
	for i < len(s) && s[i] == ' ' {
		i++
	}
	return i
}

// scanName reads a name and gives the place of its colon, -1 where there is
// none. The other scan functions give the place behind what they read, or -1.
func scanName(s string, i int) (string, int) {
	end := scanString(s, i)
	if end < 0 {
		return "", -1
	}
	colon := skipSpaces(s, end)
	if at(s, colon) != ':' {
		return "", -1
	}
	return s[i+1 : end-1], colon
}

func scanString(s string, i int) int {
	if at(s, i) != '"' {
		return -1
	}
	length := strings.IndexByte(s[i+1:], '"')
	if length < 0 {
		return -1
	}
	return i + length + 2
}

// scanValue reads a value and sets what it is.
func scanValue(s string, i int, value *gjson.Result) int {
	switch c := at(s, i); c {
	case '"':
		end := scanString(s, i)
		if end > 0 {
			value.Type, value.Str = gjson.String, s[i+1:end-1]
		}
		return end
	case 'n':
		value.Type = gjson.Null
		return scanWord(s, i, "null")
	case 't':
		value.Type = gjson.True
		return scanWord(s, i, "true")
	case 'f':
		value.Type = gjson.False
		return scanWord(s, i, "false")
	case '{', '[':
		value.Type = gjson.JSON
		return skipNested(s, i, 1)
	default:
		value.Type = gjson.Number
		return scanNumber(s, i, &value.Num)
	}
}

func scanWord(s string, i int, word string) int {
	if !strings.HasPrefix(s[i:], word) {
		return -1
	}
	return i + len(word)
}

// scanNumber reads a number without an exponent.
func scanNumber(s string, i int, number *float64) int {
	start := i
	if at(s, i) == '-' {
		i++
	}
	first := i
	var digits uint64 // overflows where they are too many to be exact
	for ; at(s, i)-'0' < 10; i++ {
		digits = digits*10 + uint64(s[i]-'0')
	}
	count, decimals := i-first, 0
	if count == 0 || count > 1 && s[first] == '0' {
		return -1
	}
	if at(s, i) == '.' {
		point := i
		for i++; at(s, i)-'0' < 10; i++ {
			digits = digits*10 + uint64(s[i]-'0')
		}
		if decimals = i - point - 1; decimals == 0 {
			return -1
		}
	}
	if at(s, i)|0x20 == 'e' {
		return -1
	}
	if count+decimals > 15 { // not exact, nor is a power of ten beyond 22
		*number, _ = strconv.ParseFloat(s[start:i], 64)
		return i
	}
	*number = float64(digits) / powersOfTen[decimals]
	if first > start {
		*number = -*number
	}
	return i
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// skipNested reads an object or a list.
func skipNested(s string, i, depth int) int {
	if depth > maxNesting {
		return -1
	}
	end, isObject := byte(']'), s[i] == '{'
	if isObject {
		end = '}'
	}
	i = skipSpaces(s, i+1)
	if at(s, i) == end {
		return i + 1
	}
	for {
		if isObject {
			_, colon := scanName(s, i)
			if colon < 0 {
				return -1
			}
			i = skipSpaces(s, colon+1)
		}
		if c := at(s, i); c == '{' || c == '[' {
			i = skipNested(s, i, depth+1)
		} else {
			var unused gjson.Result
			i = scanValue(s, i, &unused)
		}
		if i < 0 {
			return -1
		}
		i = skipSpaces(s, i)
		if at(s, i) == end {
			return i + 1
		}
		if at(s, i) != ',' {
			return -1
		}
		i = skipSpaces(s, i+1)
	}
}
