package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/width"

	"winnow/tools/internal/cli"
)

// maxPiece is how many bytes of a line without an end passText takes at once.
const maxPiece = 32 << 10

// passText copies in to out, made safe line by line.
func passText(in io.Reader, out *bufio.Writer) error {
	r := bufio.NewReader(in)
	var piece strings.Builder
	for {
		c, _, err := r.ReadRune()
		if err != nil || c == '\n' || piece.Len() > maxPiece {
			out.WriteString(cli.Printable(piece.String()))
			piece.Reset()
		}
		if err != nil {
			return ended(err, out.Flush())
		}
		if c == '\n' {
			out.WriteByte('\n')
		} else {
			piece.WriteRune(c)
		}
	}
}

// ended is how the end of an input, and the writing of the last of it, end.
func ended(input, writing error) error {
	switch {
	case input != io.EOF:
		return input
	case writing != nil:
		return fmt.Errorf("writing: %w", writing)
	}
	return nil
}

// columnsOf is how many columns of a terminal a character takes. Marks that
// combine take none; whether a terminal that knows about emoji makes one of two
// characters is not counted on, so a text is never wider than said.
func columnsOf(c rune) int {
	if c < unicode.MaxASCII {
		return 1
	}
	const emojiStyle = '\ufe0f' // makes the one before it wide, in some terminals
	if c == emojiStyle {
		return 1
	}
	if unicode.In(c, unicode.Mn, unicode.Me) {
		return 0
	}
	if kind := width.LookupRune(c).Kind(); kind == width.EastAsianWide || kind == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

func columns(text string) int {
	n := 0
	for _, c := range text {
		n += columnsOf(c)
	}
	return n
}

// head is the longest beginning of text that takes at most so many columns.
func head(text string, limit int) string {
	for i, c := range text {
		if limit -= columnsOf(c); limit < 0 {
			return text[:i]
		}
	}
	return text
}

// tail is the longest end of text that takes at most so many columns, and does
// not begin with a mark of the character before.
func tail(text string, limit int) string {
	runes := []rune(text)
	for i := len(runes) - 1; i >= 0; i-- {
		if limit -= columnsOf(runes[i]); limit < 0 {
			return strings.TrimLeftFunc(string(runes[i+1:]), func(c rune) bool { return columnsOf(c) == 0 })
		}
	}
	return text
}

// cut shortens text to so many columns, at its end.
func cut(text string, limit int) string {
	if columns(text) <= limit {
		return text
	}
	if limit < 1 {
		return ""
	}
	return head(text, limit-1) + "…"
}

// squeeze shortens text to so many columns, in its middle: names that winnow
// or Compose gives differ at their end.
func squeeze(text string, limit int) string {
	if columns(text) <= limit {
		return text
	}
	if limit < 1 {
		return ""
	}
	return head(text, limit/2) + "…" + tail(text, (limit-1)/2)
}

// figure prints a number, NaN as not known. It is cut to the digits, never
// rounded up, as in the reasons that classify gives: nothing below a limit
// reads as if it had reached it.
func figure(x float64, digits int) string {
	const most = 1e15
	switch {
	case math.IsNaN(x):
		return "-"
	case x >= most:
		return "over 1e15"
	}
	unit := math.Pow10(digits)
	return strconv.FormatFloat(math.Floor(x*unit)/unit, 'f', digits, 64)
}

func count(x float64) string { return figure(x, 0) }

func percent(x float64) string { return withUnit(x, " %") }

func size(kb float64) string {
	if kb >= 1<<20 {
		return withUnit(kb/(1<<20), " GiB")
	}
	return withUnit(kb/(1<<10), " MiB")
}

func withUnit(x float64, unit string) string {
	if math.IsNaN(x) {
		return "-"
	}
	return figure(x, 1) + unit
}
