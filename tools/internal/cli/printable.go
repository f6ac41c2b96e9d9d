package cli

import (
	"strings"
	"unicode"
)

// Printable makes text safe to show in a terminal: each character that is not
// to be seen but does something (control characters, escapes, direction
// overrides, line and paragraph separators) or that is not valid UTF-8 becomes
// a question mark, and a line break a semicolon. All foreign text passes
// through here, whatever prints it.
func Printable(text string) string {
	text = strings.ReplaceAll(text, "\n", "; ")
	return strings.Map(func(r rune) rune {
		if ' ' <= r && r <= '~' { // nearly all
			return r
		}
		if r == unicode.ReplacementChar || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, text)
}
