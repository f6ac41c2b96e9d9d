package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func tool(stderr *strings.Builder) *Tool {
	t := New("sift", "[--level N] < records", "sift sifts.", stderr)
	t.Int("level", 3, "how fine to sift")
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
		{[]string{"--nope"}, 2, "sift: unknown flag: --nope\nusage: sift"},
		{[]string{"--level=x"}, 2, "sift: invalid argument"},
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
