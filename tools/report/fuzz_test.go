package main

import (
	"bufio"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// holdsTo fails where the output is not safe, or a line wider than the screen,
// by a count of its own.
func holdsTo(t *testing.T, out string, columns int) {
	t.Helper()
	if !utf8.ValidString(out) {
		t.Fatalf("not UTF-8: %q", out)
	}
	for _, line := range strings.Split(out, "\n") {
		taken := 0
		for _, c := range line {
			switch {
			case unicode.IsControl(c), unicode.In(c, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp), c == utf8.RuneError:
				t.Fatalf("%U comes out: %q", c, line)
			case c == '\ufe0f':
				taken++
			case unicode.In(c, unicode.Mn, unicode.Me):
			case width.LookupRune(c).Kind() == width.EastAsianWide || width.LookupRune(c).Kind() == width.EastAsianFullwidth:
				taken += 2
			default:
				taken++
			}
		}
		if columns > 0 && taken > columns {
			t.Fatalf("%d columns of %d: %q", taken, columns, line)
		}
	}
}

func FuzzShow(f *testing.F) {
	for _, columns := range []uint16{0, 1, 20, 80} {
		for _, in := range hostile() {
			if len(in) < 10_000 {
				f.Add(in, columns)
			}
		}
	}
	f.Fuzz(func(t *testing.T, in string, columns uint16) {
		holdsTo(t, shown(t, in, screen{width: int(columns)}, 64<<10), int(columns))
	})
}

// FuzzText holds --text to safety, and to as many lines out as in.
func FuzzText(f *testing.F) {
	f.Add("plain\nwith \x1b[31mcolour\r\n\xff\u202e\nno end")
	f.Add("\n\n")
	f.Fuzz(func(t *testing.T, in string) {
		var out strings.Builder
		if err := passText(strings.NewReader(in), bufio.NewWriter(&out)); err != nil {
			t.Fatal(err)
		}
		holdsTo(t, out.String(), 0)
		if got, want := strings.Count(out.String(), "\n"), strings.Count(in, "\n"); got != want {
			t.Fatalf("%d lines out, %d in: %q", got, want, in)
		}
	})
}
