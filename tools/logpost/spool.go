package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"winnow/tools/internal/cli"

	"golang.org/x/sys/unix"
)

// A spool is a directory with a file for each batch that waits, NUMBER_ID.ndjson,
// sent in the order of the numbers. A file is there only when it is whole.
// More than one logpost may use it at once: changes lock it for a moment,
// sending locks `sending` for as long as it takes, so that one of them sends.
type spool struct {
	dir  string
	max  cli.Size
	last int                  // the highest number that was seen
	sync func(*os.File) error // (*os.File).Sync; tests watch it
}

const (
	waitingExt = ".ndjson"
	refusedExt = ".refused"
	unfinished = "tmp"
)

// entry is a file of the spool.
type entry struct {
	number int
	id     string
	path   string
}

// waiting lists what is to be sent, in order, and how many bytes all files take.
func (s *spool) waiting() (entries []entry, size int64, err error) {
	files, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, file := range files {
		if !file.Type().IsRegular() {
			continue
		}
		if info, err := file.Info(); err == nil {
			size += info.Size()
		}
		ext := filepath.Ext(file.Name())
		number, id, cut := strings.Cut(strings.TrimSuffix(file.Name(), ext), "_")
		n, err := strconv.Atoi(number)
		if ext != waitingExt && ext != refusedExt || !cut || err != nil {
			continue
		}
		s.last = max(s.last, n)
		if ext == waitingExt {
			entries = append(entries, entry{n, id, filepath.Join(s.dir, file.Name())})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return a.number - b.number })
	return entries, size, nil
}

// put keeps b, with ext for its fate, and returns once it is on disk. Of its
// lines it keeps those for which there is room, in their order, and tells how
// many and where; with fewer than all there is an error too.
func (s *spool) put(b *batch, ext string) (path string, kept int, err error) {
	if err := s.makeDir(s.dir); err != nil {
		return "", 0, err
	}
	unlock, err := s.lock("lock", 0) // from here on nobody else adds to the size
	if err != nil {
		return "", 0, err
	}
	defer unlock()
	tmp := filepath.Join(s.dir, unfinished)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", 0, err
	}
	_, size, err := s.waiting()
	if err != nil {
		return "", 0, err
	}
	body, kept, err := fitting(b.body, int64(s.max)-size)
	if err != nil {
		err = fmt.Errorf("%s: %d of %d bytes are taken: %w", s.dir, size+int64(len(body)), int64(s.max), err)
	}
	if kept == 0 {
		return "", 0, err
	}
	if err := s.write(tmp, body); err != nil {
		return "", 0, errors.Join(err, os.Remove(tmp))
	}
	s.last++
	path = filepath.Join(s.dir, fmt.Sprintf("%012d_%s%s", s.last, b.id, ext))
	if err := os.Rename(tmp, path); err != nil {
		return "", 0, err
	}
	if err := s.syncDir(s.dir); err != nil {
		return "", 0, err
	}
	return path, kept, err
}

// fitting is those lines of body for which there is room, in their order. A
// long line that does not fit does not take the short ones after it along.
func fitting(body []byte, room int64) (fits []byte, lines int, err error) {
	for line := range bytes.Lines(body) {
		if int64(len(fits)+len(line)) > room {
			err = errNoRoom
			continue
		}
		fits = append(fits, line...)
		lines++
	}
	return fits, lines, err
}

// makeDir makes dir where it is not there, and those above it. A new directory
// is on disk only with the entry in the one above.
func (s *spool) makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	above := filepath.Dir(dir)
	if errors.Is(err, fs.ErrNotExist) && above != dir {
		if err := s.makeDir(above); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) { // another run may have been faster
		return err
	}
	return s.syncDir(above)
}

// send has deliver see to what waits, in order, until nothing does or deliver
// fails. deliver takes it out of what waits. send waits for another run that
// is sending for at most patience, and then returns errBusy.
func (s *spool) send(patience time.Duration, deliver func(entry) error) error {
	if entries, _, err := s.waiting(); err != nil || len(entries) == 0 {
		return err
	}
	unlock, err := s.lock("sending", patience)
	if err != nil {
		return err
	}
	defer unlock()
	for {
		entries, _, err := s.waiting()
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, e := range entries {
			if err := deliver(e); err != nil {
				return err
			}
		}
	}
}

// setAside takes e out of what waits, and keeps it.
func (s *spool) setAside(e entry) (path string, err error) {
	unlock, err := s.lock("lock", 0) // who sums up the files meets it under one name
	if err != nil {
		return "", err
	}
	defer unlock()
	path = strings.TrimSuffix(e.path, waitingExt) + refusedExt
	return path, os.Rename(e.path, path)
}

var (
	errBusy   = errors.New("another logpost is sending from the spool")
	errNoRoom = errors.New("the spool is full")
)

// lock takes the lock called name; with a patience of 0 it waits as long as it
// takes, which is not long for `lock`.
func (s *spool) lock(name string, patience time.Duration) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if patience > 0 {
		how |= unix.LOCK_NB
	}
	for give := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), how)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(give) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errBusy
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
}

// write returns once text is on disk, but for the name of its file.
func (s *spool) write(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = s.sync(f)
	}
	return errors.Join(err, f.Close())
}

// syncDir returns once the names in dir are on disk.
func (s *spool) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}
