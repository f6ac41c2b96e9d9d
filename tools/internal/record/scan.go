package record

import (
	"strconv"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/jsonscan"
)

// maxNesting is how deep in a value scan goes.
const maxNesting = 8

// scan reads the members of a plain line, which nearly all are, in one pass and
// several times as fast as the library. Plain is ASCII without escapes; of any
// other line it is false, and the library decides.
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
