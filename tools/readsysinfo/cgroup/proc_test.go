package cgroup

import (
	"math/big"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
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
	want := Process{Group: 1}
	want.State, want.StartNS, want.CPUNS, want.VSZKB, want.RSSKB = "S", 5e9, new(uint64(15e8)), 2000, 100*uint64(os.Getpagesize())/1024
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, live, err := parseStat([]byte(test.text))
			want.Name = test.want
			if !reflect.DeepEqual(got, want) || !live || err != nil {
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
	proc, err := OpenProc("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	p, live, err := proc.process(os.Getpid())
	if err != nil || !live || p.RSSKB == 0 || p.VSZKB < p.RSSKB || p.State == "" {
		t.Errorf("got %+v, %v, %v", p, live, err)
	}
	if age := time.Duration(Boottime() - int64(p.StartNS)); age < 0 || age > time.Hour {
		t.Errorf("started %v ago", age)
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if own, _, err := parseStat(text); err != nil || own.Name != p.Name || own.StartNS != p.StartNS {
		t.Errorf("got %+v, %v", own, err)
	}
}

// FuzzParseStat holds parseStat against a reading of another kind.
func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) R 9 (b) S 1 1 1 0 -1 4194304 98 0 0 0 100 50 7 7 20 0 1 0 500 2048000 100 1844 9 9\n"))
	f.Add([]byte("7 (z) Z 1 1 1 0 -1 4194304 98 0 0 0 1 2 7 7 20 0 1 0 3 4096 5"))
	f.Add([]byte("7 (leader gone) Z 1 1 1 0 -1 4194304 98 0 0 0 1 2 7 7 20 0 2 0 3 4096 5"))
	f.Add([]byte("7 (dead) X 1 1 1 0 -1 4194304 98 0 0 0 1 2 7 7 20 0 0 0 3 4096 5"))
	f.Add([]byte("7 (a) S 1 1 1 0 -1 4194304 98 0 0 0 -1 2 7 7 20 0 1 0 3 4096 5"))
	f.Add([]byte("7 (a) S 1 1 1 0 -1 4194304 98 0 0 0 1 2 7 7 20 0 1 0 3 4096"))
	f.Add([]byte("7 (being reaped) S 0 -1 -1 0 -1 4194304 98 0 0 0 1 2 7 7 20 0 1 0 3 4096 5"))
	f.Add([]byte("7 (a) ZX 1 1 1 0 -1 4194304 98 0 0 0 1 x 7 7 20 0 1 0 3 4096 6"))
	f.Add([]byte("7 (a) ZX 1 1 1 0 -1 4194304 98 0 0 0 1 1 7 7 20 0 1 0 3 4096 6"))
	whole := regexp.MustCompile(`(?s)^[^(]*\((.*)\)([^)]*)$`)
	f.Fuzz(func(t *testing.T, text []byte) {
		p, live, err := parseStat(text)
		parts := whole.FindSubmatch(text)
		if parts == nil {
			if err == nil {
				t.Errorf("took %q, which has no name, as %+v", text, p)
			}
			return
		}
		// Numbered from 3, as in proc_pid_stat(5).
		fields := append([]string{"", "", ""}, strings.Fields(string(parts[2]))...)
		numbers := make(map[int]uint64)
		good := len(fields) > 24
		for _, n := range []int{14, 15, 20, 22, 23, 24} {
			if good {
				value, ok := new(big.Int).SetString(fields[n], 10)
				if good = ok && value.IsUint64() && !strings.ContainsAny(fields[n], "+-_"); good {
					numbers[n] = value.Uint64()
				}
			}
		}
		if good != (err == nil) {
			t.Fatalf("%q: %v", text, err)
		}
		if !good {
			return
		}
		want := Process{
			Process: record.Process{
				Name: string(parts[1]), State: fields[3], CPUNS: new(numbers[14]*10_000_000 + numbers[15]*10_000_000),
				VSZKB: numbers[23] / 1024, RSSKB: numbers[24] * uint64(os.Getpagesize()) / 1024,
			},
			StartNS: numbers[22] * 10_000_000,
		}
		want.Group, _ = strconv.Atoi(fields[5])
		dead := (fields[3] == "Z" || fields[3] == "X" || fields[3] == "x") && numbers[20] < 2
		if !reflect.DeepEqual(p, want) || live == dead {
			t.Errorf("%q became %+v, %v, want %+v", text, p, live, want)
		}
	})
}
