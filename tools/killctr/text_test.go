package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

// Names and Docker's words reach the log as they are, and a terminal without
// what acts on it.
func TestHostileText(t *testing.T) {
	for name, text := range map[string]string{
		"escape codes":     "a\x1b[2J\x1b]0;pwned\x07b",
		"8-bit codes":      "a\u009b31mb",
		"RTL override":     "a\u202egnp.exe",
		"isolates":         "a\u2066b\u2069",
		"newline":          "a\nkillctr: all is well",
		"carriage return":  "a\rb",
		"tab and NUL":      "a\tb\x00c",
		"separators":       "a\u2028b\u2029c",
		"quotes and slash": `a"b\c</script>`,
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, 1)
			e.onInspect = saying(500, text)
			line, err := record.Marshal(map[string]string{"type": "container", "time": time.Now().UTC().Format(time.RFC3339), "id": filtertest.ID(1),
				"verdict": "kill", "name": text, "image": text, "reason": text, "class": text, "host": text, "snapshot": text})
			if err != nil {
				t.Fatal(err)
			}
			var stdout, stderr lockedBuffer
			within(t, func() { err = run(t.Context(), nil, strings.NewReader(string(line)), &stdout, &stderr) })
			kills := killLines(t, stdout.String())
			if err == nil || len(kills) != 1 || strings.Count(stdout.String(), "\n") != 2 {
				t.Fatalf("got %q, %v", stdout.String(), err)
			}
			got := kills[0]
			if got.Error != "Error response from daemon: "+text {
				t.Errorf("got %q", got.Error)
			}
			for _, field := range []string{got.Name, got.Image, got.Reason, got.Class, got.Host, got.Snapshot} {
				if field != text {
					t.Errorf("got %q", field)
				}
			}
			said := stderr.String()
			unsafe := func(r rune) bool { return !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) }
			if i := strings.IndexFunc(strings.TrimSuffix(said, "\n"), unsafe); i >= 0 || !strings.HasPrefix(said, "killctr: container 000000000000 a") {
				t.Errorf("said %q", said)
			}
		})
	}
}

// Whatever is said to it, the kill line is one that the next tool takes.
func TestLongText(t *testing.T) {
	e := newEngine(t, 1)
	e.onInspect = saying(500, strings.Repeat("\x00é", 100_000))
	// Each of these is three bytes here, and six in the kill line.
	in := strings.Replace(condemned(filtertest.ID(1), 0), `"web"`, `"`+strings.Repeat("\u2028", 1_000_000)+`"`, 1)
	var stdout, stderr lockedBuffer
	var err error
	within(t, func() { err = run(t.Context(), nil, strings.NewReader(in), &stdout, &stderr) })
	if err == nil {
		t.Error("did not fail")
	}
	var last *record.Kill
	for line, err := range record.Records(strings.NewReader(stdout.String())) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Type() == record.TypeKill {
			last = &killLines(t, line.Text()+"\n")[0]
		}
	}
	if last == nil || !strings.HasPrefix(last.Name, "\u2028\u2028") || !strings.HasPrefix(last.Error, "Error response from daemon: \x00é") ||
		!strings.HasSuffix(last.Error, "…") || strings.ContainsRune(last.Error, unicode.ReplacementChar) {
		t.Errorf("got %.200q", fmt.Sprint(last))
	}
}

// The next tool takes every kill line, with each byte of its texts escaped.
func TestKillLineIsBounded(t *testing.T) {
	if 7*6*longestText > record.MaxLine {
		t.Errorf("a kill line can be longer than %d bytes", record.MaxLine)
	}
}
