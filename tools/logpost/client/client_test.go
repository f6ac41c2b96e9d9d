package client

import (
	"strings"
	"testing"
)

func TestShown(t *testing.T) {
	full := strings.Repeat("é", maxShown)
	for text, want := range map[string]string{"": "", "short": "short", full: full, full + "x": full + "…"} {
		if got := Shown(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
