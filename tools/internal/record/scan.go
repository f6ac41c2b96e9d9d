package record

import (
	"strconv"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/jsonscan"
)

// maxNesting is how deep in a value scan goes.
const maxNesting = 8

// scan reads the members of a plain line in one pass, where the library takes two,
// one to validate and one to read, and one more to look for UTF-8. Nearly all lines
// are plain: ASCII without escapes. Of any other it is false, and the library
// decides. It makes the library's results itself, and so stands against the rule
// that there is one way to read JSON: that is the price of classify's speed, which
// is 10 times jq's without it. FuzzScan holds the two equal.
func (l *Line) scan(text []byte) bool {
	s := jsonscan.Scanner{Text: text}
	s.Space()
	if !s.Take('{') {
		return false
	}
	s.Space()
	for !s.Take('}') {
		if len(l.members) > 0 {
			if !s.Take(',') {
				return false
			}
			s.Space()
		}
		from := s.At + 1
		if s.At == len(text) || text[s.At] != '"' || !s.SkipString() {
			return false
		}
		name := l.raw[from : s.At-1]
		s.Space()
		if !s.Take(':') {
			return false
		}
		s.Space()
		from = s.At
		if !s.Value(maxNesting) {
			return false
		}
		l.members = append(l.members, Member{name, result(l.raw[from:s.At], from)})
		s.Space()
	}
	s.Space()
	return s.At == len(text) && !s.Wide && !s.Escaped
}

// result is a value that is known to be JSON without escapes.
func result(raw string, index int) gjson.Result {
	value := gjson.Result{Raw: raw, Index: index}
	switch raw[0] {
	case '"':
		value.Type, value.Str = gjson.String, raw[1:len(raw)-1]
	case 'n':
		value.Type = gjson.Null
	case 't':
		value.Type = gjson.True
	case 'f':
		value.Type = gjson.False
	case '{', '[':
		value.Type = gjson.JSON
	default:
		value.Type = gjson.Number
		value.Num, _ = strconv.ParseFloat(raw, 64)
	}
	return value
}
