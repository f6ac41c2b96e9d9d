package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Files longer than the buffer, and those that the kernel gives in pages but for what of a line does not fit, are read
// to their end.
func TestLongFiles(t *testing.T) {
	tests := []struct {
		name   string
		chunks []int // what a read gives at a time
		limit  int
		want   int
	}{
		{"short", []int{100}, math.MaxInt, 100},
		{"empty", nil, math.MaxInt, 0},
		{"a page", []int{4096}, math.MaxInt, 4096},
		{"a page and more", []int{4096, 1}, math.MaxInt, 4097},
		{"pages less a line", []int{4000, 3000, 2048, 2500, 10}, math.MaxInt, 11558},
		{"pages less a line, past the first buffer", []int{4090, 4090, 4090, 4090, 4090, 4090, 7}, math.MaxInt, 24547},
		{"just half a page", []int{2048, 2048, 2048}, math.MaxInt, 6144},
		{"more than the buffer", []int{4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 2100, 50}, math.MaxInt, 34918},
		{"all that the buffer holds", []int{4096, 4096, 4096, 4096}, math.MaxInt, 16384},
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
			got, err := in.readUpTo(strconv.Itoa(ends[0]), test.limit)
			if err != nil || !bytes.Equal(got, whole[:test.want]) {
				t.Errorf("%d bytes of %d, %v", len(got), test.want, err)
			}
		})
	}
}

// No more is read than is asked for: of a command line the kernel would have to find all that lies in the buffer.
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
	got, err := in.readUpTo(strconv.Itoa(ends[0]), maxCmdline+1)
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
