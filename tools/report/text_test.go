package main

import (
	"bufio"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestPassText(t *testing.T) {
	long := strings.Repeat("界", maxPiece)
	tests := map[string]string{
		"":                                      "",
		"plain\n\nlines\n":                      "plain\n\nlines\n",
		"no end":                                "no end",
		"Error: \x1b[31mno\x1b[0m such image\n": "Error: ?[31mno?[0m such image\n",
		"a\r\nb\tc":                             "a?\nb?c",
		"\u202eevil\u2069\n\xff\xe4\xb8\n":      "?evil?\n???\n",
		long + "\x07\n" + long:                  long + "?\n" + long,
	}
	for in, want := range tests {
		var out strings.Builder
		if err := passText(strings.NewReader(in), bufio.NewWriter(&out)); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%.100q: got %.100q, want %.100q", in, out.String(), want)
		}
	}
}

// A line without an end is passed on in pieces, and not kept until there is one.
func TestPassTextKeepsNoLongLine(t *testing.T) {
	const most = 10 << 20
	var out strings.Builder
	read := 0
	in := readerFunc(func(p []byte) (int, error) {
		if out.Len() > 0 {
			return 0, io.EOF
		}
		if read += len(p); read > most {
			return 0, errors.New("too much is kept")
		}
		return copy(p, strings.Repeat("x", len(p))), nil
	})
	if err := passText(in, bufio.NewWriter(&out)); err != nil {
		t.Error(err)
	}
}

func TestColumns(t *testing.T) {
	tests := map[string]int{
		"": 0, "abc": 3, "世界": 4, "é": 1, "e\u0301": 1, "한국": 4, "ｆ": 2, "ｱ": 1, "🐳": 2, "❤\ufe0f": 2, "…": 1, "a\u20dd": 1,
	}
	for text, want := range tests {
		if got := columns(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
	}
}

func TestShorten(t *testing.T) {
	tests := []struct {
		text          string
		limit         int
		cut, squeezed string
	}{
		{"winnow-web-48ca", 15, "winnow-web-48ca", "winnow-web-48ca"},
		{"winnow-web-48ca", 8, "winnow-…", "winn…8ca"},
		{"winnow-web-48ca", 7, "winnow…", "win…8ca"},
		{"winnow", 2, "w…", "w…"},
		{"winnow", 1, "…", "…"},
		{"winnow", 0, "", ""},
		{"winnow", -1, "", ""},
		{"世界世界", 6, "世界…", "世…界"},
		{"世界世界", 7, "世界世…", "世…界"},
		{"e\u0301e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301…", "e\u0301…e\u0301"},
	}
	for _, test := range tests {
		if got := cut(test.text, test.limit); got != test.cut {
			t.Errorf("cut %q to %d: %q, want %q", test.text, test.limit, got, test.cut)
		}
		if got := squeeze(test.text, test.limit); got != test.squeezed {
			t.Errorf("squeeze %q to %d: %q, want %q", test.text, test.limit, got, test.squeezed)
		}
	}
}

// Never rounded up, and one decimal that is exact stays.
func TestFigures(t *testing.T) {
	tests := []struct{ got, want string }{
		{size(818), "0.7 MiB"}, {size(1024), "1.0 MiB"}, {size(1<<20 - 1), "1023.9 MiB"}, {size(1 << 20), "1.0 GiB"}, {size(math.NaN()), "-"},
		{size(0), "0.0 MiB"}, {size(1e300), "over 1e15 GiB"},
		{percent(49.99), "49.9 %"}, {percent(100), "100.0 %"}, {percent(math.NaN()), "-"}, {percent(1.7e308), "over 1e15 %"},
		{count(2.9), "2"}, {count(0), "0"}, {count(1e15 - 1), "999999999999999"}, {count(1e15), "over 1e15"}, {count(math.NaN()), "-"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
	for i := range 10_000 {
		x := float64(i) / 10
		if got, want := figure(x, 1), figure(float64(i/10), 0)+"."+string(rune('0'+i%10)); got != want {
			t.Errorf("%v: got %s, want %s", x, got, want)
		}
	}
}
