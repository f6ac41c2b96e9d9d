package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// Files longer than the buffer, and those that the kernel gives in pages but
// for what of a line does not fit, are read to their end.
func TestLongFiles(t *testing.T) {
	tests := []struct {
		name   string
		chunks []int // what a read gives at a time
		limit  int
		want   int
	}{
		{"short", []int{100}, noLimit, 100},
		{"empty", nil, noLimit, 0},
		{"a page", []int{4096}, noLimit, 4096},
		{"a page and more", []int{4096, 1}, noLimit, 4097},
		{"pages less a line", []int{4000, 3000, 2048, 2500, 10}, noLimit, 11558},
		{"just half a page", []int{2048, 2048, 2048}, noLimit, 6144},
		{"more than the buffer", []int{4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 2100, 50}, noLimit, 34918},
		{"all that the buffer holds", []int{4096, 4096, 4096, 4096}, noLimit, 16384},
		{"up to a limit", []int{4096, 4096, 4096}, 5000, 5000},
		{"up to a limit that is not reached", []int{4096, 100}, 5000, 4196},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// A pipe in packet mode gives one of what was written at each read.
			var ends [2]int
			if err := unix.Pipe2(ends[:], unix.O_DIRECT|unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(ends[0])
			whole := make([]byte, 0, 64<<10)
			for i, size := range test.chunks {
				chunk := bytes.Repeat([]byte{byte('a' + i)}, size)
				if n, err := unix.Write(ends[1], chunk); n != size || err != nil {
					t.Fatal(n, err)
				}
				whole = append(whole, chunk...)
			}
			unix.Close(ends[1])
			in, err := openDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			defer in.close()
			got, err := (&reader{}).read(in, strconv.Itoa(ends[0]), test.limit)
			if err != nil || !bytes.Equal(got, whole[:test.want]) {
				t.Errorf("%d bytes of %d, %v", len(got), test.want, err)
			}
		})
	}
}

// No more is read than is asked for: of a command line the kernel would have to
// find all that lies in the buffer.
func TestReadsNoMoreThanTheLimit(t *testing.T) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	if _, err := unix.Write(ends[1], make([]byte, 6000)); err != nil {
		t.Fatal(err)
	}
	in, err := openDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	got, err := (&reader{}).read(in, strconv.Itoa(ends[0]), maxCmdline+1)
	left, _ := unix.Read(ends[0], make([]byte, 6000))
	if err != nil || len(got) != maxCmdline+1 || left != 6000-len(got) {
		t.Errorf("%d bytes, %d are left, %v", len(got), left, err)
	}
}

// What has ended is told from what cannot be read.
func TestGone(t *testing.T) {
	tests := map[error]bool{
		unix.ENOENT: true, unix.ESRCH: true, unix.ENODEV: true,
		unix.EACCES: false, unix.EPERM: false, unix.EIO: false, unix.ENOTDIR: false, unix.EINVAL: false, unix.EOPNOTSUPP: false,
		unix.ENOMEM: false, unix.EMFILE: false, errors.New("no number"): false, nil: false,
	}
	for err, want := range tests {
		if got := gone(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
		if err == nil {
			continue
		}
		if got := gone(fmt.Errorf("container a: %w", &fs.PathError{Op: "read", Path: "a", Err: err})); got != want {
			t.Errorf("%v, wrapped: %v", err, got)
		}
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
		want := process{
			name: string(parts[1]), state: fields[3], cpuNS: numbers[14]*10_000_000 + numbers[15]*10_000_000,
			startNS: numbers[22] * 10_000_000, vszKB: numbers[23] / 1024, rssKB: numbers[24] * uint64(os.Getpagesize()) / 1024,
		}
		dead := (fields[3] == "Z" || fields[3] == "X" || fields[3] == "x") && numbers[20] < 2
		if p != want || live == dead {
			t.Errorf("%q became %+v, %v, want %+v", text, p, live, want)
		}
	})
}
