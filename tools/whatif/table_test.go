package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/internal/filtertest"
)

// The tables are as the files have them; WINNOW_WRITE=1 writes them anew, for a person to read.
func TestTable(t *testing.T) {
	long := `,"verdict":"kill","rule":"a rule whose name is long","reason":"rule a rule whose name is long: ` + strings.Repeat("why ", 40) + `"`
	month := ""
	for day := range 30 {
		month += at("lab-1", day*86400, box(3*day, killed), box(3*day+1, ""), box(3*day+2, wasKilled)) +
			at("lab-1", day*86400+60, box(3*day, ""), box(3*day+1, long), box(3*day+2, killed)) + kill("lab-1", 3*day+2, "killed") +
			at("lab-1", day*86400+120, box(3*day, ""), box(3*day+1, "")) + at("a-host-with-a-long-name", day*86400, box(9, ""))
	}
	nobody := at("h", 0, box(1, "")) + at("h", 60, box(1, ""))
	tests := []struct {
		name, in string
		args     []string
	}{
		{"nobody", nobody, nil},
		{"recorded", at("h", 0, box(1, killed), box(2, ""), box(3, dryKilled), box(4, warned)) + kill("h", 2, "killed") + at("h", 60, box(1, ""), box(3, ""), box(4, killed)) +
			kill("h", 4, "killed") + at("h", 120, box(1, ""), box(3, "")), []string{"--policy", "lab.toml"}},
		{"month", month, []string{"--policy", "lab.toml", "--against", "a policy that has quite a long name.toml"}},
		{"foreign", strings.ReplaceAll(at("HOST", 0, strings.Replace(box(1, `,"verdict":"kill","rule":"\u001b[31m\u202e","reason":"one\ntwo"`), `"c1"`, `""`, 1)), "HOST", `h\u001b[2J`), []string{"--policy", "\x1b]0;title\x07"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := filtertest.Run(t, run, strings.NewReader(test.in), test.args...)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "golden", test.name+".txt")
			if os.Getenv("WINNOW_WRITE") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
			}
			for line := range strings.Lines(got) {
				if len([]rune(line)) > width+1 {
					t.Errorf("too wide: %s", line)
				}
			}
		})
	}
}
