package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func tool(stderr *strings.Builder) *Tool {
	t := New("sift", "[--level N] < records", "sift sifts.", stderr)
	t.Int("level", 3, "how fine to sift")
	t.Float64("share", 1, "how much of it")
	t.Duration("wait", 0, "how long to wait first")
	t.Bool("wet", false, "sift under water")
	t.Var(new(Size), "size", "how much at once")
	t.WhileFlag()
	return t
}

func TestParse(t *testing.T) {
	tests := []struct {
		args []string
		exit int
		want string // on stderr, or on stdout with exit 0
	}{
		{[]string{"--level", "4"}, 0, ""},
		{[]string{"--help"}, 0, "usage: sift [--level N] < records\n\nsift sifts.\n\n"},
		{[]string{"--version", "stray"}, 0, "sift devel\n"},
		{[]string{"--nope"}, 2, "sift: unknown flag: --nope\nusage: sift"},
		{[]string{"--level=x"}, 2, "sift: --level: not a whole number: \"x\"\nusage: sift"},
		{[]string{"--level=2.5"}, 2, "sift: --level: not a whole number: \"2.5\"\nusage: sift"},
		{[]string{"--share=1e"}, 2, "sift: --share: not a number: \"1e\"\nusage: sift"},
		{[]string{"--wait=5"}, 2, "sift: --wait: not a time such as 10s or 1m30s: \"5\"\nusage: sift"},
		{[]string{"--wet=maybe"}, 2, "sift: --wet: not true or false: \"maybe\"\nusage: sift"},
		{[]string{"--size=big"}, 2, "sift: --size: not a size such as 64MB: \"big\"\nusage: sift"},
		{[]string{"--while="}, 2, "sift: --while: names no file\nusage: sift"},
		{[]string{"stray"}, 2, "sift: unexpected argument: \"stray\"\nusage: sift"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			var stdout, stderr strings.Builder
			err := tool(&stderr).Parse(test.args, &stdout, 0)
			if exit := report("sift", err, &stderr); exit != test.exit {
				t.Errorf("exit %d, want %d", exit, test.exit)
			}
			said := stderr.String()
			if test.exit == 0 {
				said = stdout.String()
			}
			if !strings.HasPrefix(said, test.want) {
				t.Errorf("said %q, want %q", said, test.want)
			}
		})
	}
}

func TestComplaintsFailInTheEnd(t *testing.T) {
	var stderr strings.Builder
	sift := tool(&stderr)
	if err := sift.Done(nil); err != nil {
		t.Errorf("failed without a complaint: %v", err)
	}
	sift.Complain(fmt.Errorf("line 7: not JSON"))
	if stderr.String() != "sift: line 7: not JSON\n" {
		t.Errorf("said %q", stderr.String())
	}
	if sift.Done(nil) == nil {
		t.Error("did not fail")
	}
	if own := errors.New("own"); sift.Done(own) != own {
		t.Error("lost the tool's own error")
	}
}

// No message can do anything to a terminal, or look like another message.
func TestPrintable(t *testing.T) {
	tests := map[string]string{
		"plain é 世界 🐳":                   "plain é 世界 🐳",
		"\x1b[31mred\x07":                "?[31mred?",
		"a\tb\rc":                        "a?b?c",
		"one\ntwo: forged":               "one; two: forged",
		"\u202egnp.exe\u2066\u200b":      "?gnp.exe??",
		"\u2028\u2029\u0085\u009b31m":    "????31m",
		"\xff\xfe":                       "??",
		"\U000f0000 of one's own \ufffd": "? of one's own ?",
	}
	for text, want := range tests {
		if got := Printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	var stderr strings.Builder
	sift := tool(&stderr)
	sift.Warn("%s", "\x1b]0;title\x07")
	report("sift", errors.New("\u202e\x1b[2J"), &stderr)
	report("sift", sift.Misused("%s", "\x1b[2J"), &stderr)
	if strings.ContainsAny(stderr.String(), "\x1b\x07\u202e") {
		t.Errorf("said %q", stderr.String())
	}
}

func TestWhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "governing")
	var stdout, stderr strings.Builder
	parse := func(args ...string) *While {
		sift := New("sift", "", "", &stderr)
		w := sift.WhileFlag()
		if err := sift.Parse(args, &stdout, 0); err != nil {
			t.Fatal(err)
		}
		return w
	}
	if err := parse().Check(); err != nil {
		t.Errorf("without the flag: %v", err)
	}
	w := parse("--while", path)
	ctx, cancel := w.Context(t.Context())
	defer cancel()
	if w.Check() == nil || ctx.Err() == nil {
		t.Error("goes on without the file")
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = w.Context(t.Context())
	defer cancel()
	if w.Check() != nil || ctx.Err() != nil {
		t.Errorf("stops with the file there: %v", context.Cause(ctx))
	}
	news := w.news(ctx)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	<-news // the kernel tells of it, so that nobody needs to look
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, os.ErrNotExist) || !strings.Contains(cause.Error(), path) {
		t.Errorf("the cause is %v", cause)
	}
}

func TestSize(t *testing.T) {
	tests := map[string]Size{"64MB": 64 << 20, "1.5GiB": 3 << 29, "0": 0, "4096": 4096}
	for text, want := range tests {
		var got Size
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "MB", "1 potato", "10%"} {
		var got Size
		if got.Set(text) == nil {
			t.Errorf("took %q as %d", text, got)
		}
	}
	var _ pflag.Value = new(Size)
}
