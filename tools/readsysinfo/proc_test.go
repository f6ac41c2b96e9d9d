package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194304 98 0 0 0 100 50 7 7 20 0 1 0 500 2048000 100 18446744073709551615 9 9\n"
	tests := []struct{ name, text, want string }{
		{"plain", "7 (web)" + rest, "web"},
		{"parentheses", "7 (a) R 9 (b)" + rest, "a) R 9 (b"},
		{"closing only", "7 ())))" + rest, ")))"},
		{"newlines", "7 (a\n) S 1\n)" + rest, "a\n) S 1\n"},
		{"not UTF-8", "7 (\xff\xfe)" + rest, "\xff\xfe"},
		{"empty", "7 ()" + rest, ""},
	}
	want := process{state: "S", startNS: 5e9, cpuNS: 15e8, vszKB: 2000, rssKB: 100 * uint64(os.Getpagesize()) / 1024}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, live, err := parseStat([]byte(test.text))
			want.name = test.want
			if got != want || !live || err != nil {
				t.Errorf("got %+v, %v, %v", got, live, err)
			}
		})
	}
	for _, text := range []string{"", "7", "7 (web", "7 web)", ")(", "7 (web) S", "7 (web) S 1 1 1 0 -1 4194304 98 0 0 0 x 50 7 7 20 0 1 0 500 2048000 100"} {
		if got, _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("took %q as %+v", text, got)
		}
	}
}

func TestOwnProcess(t *testing.T) {
	proc, err := openDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.close()
	p, live, err := procfs{proc}.process(&reader{}, os.Getpid())
	if err != nil || !live || p.rssKB == 0 || p.vszKB < p.rssKB || p.state == "" {
		t.Errorf("got %+v, %v, %v", p, live, err)
	}
	if age := time.Duration(boottime() - int64(p.startNS)); age < 0 || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if own, _, err := parseStat(text); err != nil || own.name != p.name || own.startNS != p.startNS {
		t.Errorf("got %+v, %v", own, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) R 9 (b) S 1 1 1 0 -1 4194304 98 0 0 0 100 50 7 7 20 0 1 0 500 2048000 100 1844 9 9\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, _, err := parseStat(text)
		if err == nil && (p.state == "" || len(p.name)+2 > len(text)) {
			t.Errorf("%q became %+v", text, p)
		}
	})
}
