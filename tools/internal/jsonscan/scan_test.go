package jsonscan

import (
	"encoding/json"
	"testing"
)

// FuzzValue holds the scanner to the standard library's idea of JSON.
func FuzzValue(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-0.5e+3,"\u00e9\"é",{}],"b":null, "c" : [ true , false ] }`, "[]", `"\ud800"`, "-0", "1E5",
		"", " ", "01", "1.", "-", "1e", "[1,]", "{1:2}", `{"a" 1}`, `{"a":1`, `"\x"`, `"\u12"`, "\"\x01\"", "nul", "[}", "1 2",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := Scanner{Text: text}
		s.Space()
		got := s.Value(10_000)
		s.Space()
		if want := json.Valid(text); (got && s.At == len(text)) != want {
			t.Errorf("%q: walked over %d bytes, %v; valid: %v", text, s.At, got, want)
		}
	})
}

func TestLevels(t *testing.T) {
	for text, levels := range map[string]int{"1": 0, "[1]": 1, `{"a":[1]}`: 2} {
		for given := range 4 {
			s := Scanner{Text: []byte(text)}
			if got := s.Value(given); got != (given >= levels) {
				t.Errorf("%s with %d levels: %v", text, given, got)
			}
		}
	}
}
