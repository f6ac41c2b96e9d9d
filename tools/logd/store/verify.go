package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Verify reads every day of a directory, which a logd may be writing, and tells
// what is not as it was committed. It returns how many bytes and commits it
// read, and how many faults it told of.
func Verify(dir string, tell func(format string, a ...any)) (bytes int64, commits, faults int, err error) {
	v := &verifier{tell: func(format string, a ...any) { faults++; tell(format, a...) }}
	if v.written, err = isLocked(dir); err != nil {
		return 0, 0, 0, err
	}
	s := &Store{Options: Options{Dir: dir}, disk: realDisk{-1}, warn: v.tell, group: -1}
	days, err := s.listDays()
	if err != nil {
		return 0, 0, 0, err
	}
	if err := refuseNewer(days); err != nil {
		return 0, 0, 0, err
	}
	for _, d := range days {
		if err := v.day(d); err != nil {
			return v.bytes, v.commits, faults, fmt.Errorf("%s: %w", d.path, err)
		}
	}
	return v.bytes, v.commits, faults, nil
}

// isLocked tells whether a logd has the directory.
func isLocked(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

type verifier struct {
	tell    func(format string, a ...any)
	bytes   int64
	commits int
	written bool // a logd writes here
}

func (v *verifier) day(d *day) error {
	f, err := openOwned(d.path, os.O_RDONLY, -1)
	if errors.Is(err, os.ErrNotExist) && v.written { // its logd compressed it since, or removed it
		if d.packed {
			return nil
		}
		path := strings.TrimSuffix(d.path, plainExt) + packedExt
		info, err := os.Lstat(path)
		if err != nil {
			return ignoreMissing(err)
		}
		return v.day(&day{name: d.name, path: path, packed: true, info: info})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := newGroupReader(f, 0, 0)
	if d.packed {
		in, err := newFrames(f, d.info.Size())
		if err != nil {
			return err
		}
		defer in.z.Close()
		r = newGroupReader(emptyReader{}, 0, 0)
		r.more = func() (io.Reader, error) { return v.nextFrame(d, in) }
	}
	return v.groups(d, r, f)
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, io.EOF }

// nextFrame passes over the frames that are not as they were written.
func (v *verifier) nextFrame(d *day, in *frames) (io.Reader, error) {
	for {
		r, err := in.next()
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, errForeign) {
			return r, err
		}
		v.tell("%s: %v", d.path, err)
	}
}

func (v *verifier) groups(d *day, r *groupReader, f *os.File) error {
	seen := 0
	for {
		g, rest, err := r.read()
		if errors.Is(err, io.EOF) {
			v.bytes += r.at
			return v.rest(d, rest, seen, f)
		}
		if errors.Is(err, errForeign) {
			v.tell("%s: %v", d.path, err)
			return nil
		}
		if err != nil {
			return err
		}
		seen++
		v.commits++
		switch {
		case g.fault != "":
			v.tell("%s: lines %d to %d, %v", d.path, g.first, g.last, g)
		case g.missing > 0:
			v.tell("%s: before line %d %d bytes are missing that were there", d.path, g.first, g.missing)
		}
	}
}

// rest tells of what follows the last commit, unless a logd has just written
// its lines.
func (v *verifier) rest(d *day, rest *group, seen int, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if rest.from == info.Size() && !d.packed || d.packed && rest.to == rest.from {
		return nil
	}
	if seen == 0 {
		v.tell("%s has no commit: it is from before, or somebody else's", d.path)
		return nil
	}
	if v.written {
		time.Sleep(time.Second)
	}
	r := newGroupReader(io.NewSectionReader(f, rest.from, 1<<62), rest.from, rest.from)
	if g, _, err := r.read(); !d.packed && err == nil && g.fault == "" {
		return nil // it was being written
	}
	v.tell("%s: from line %d on, byte %d, it has no commit that is as it was written", d.path, rest.first, rest.from)
	return nil
}
