package main

import (
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
	last int // the number of the last batch that this run put in
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
		if info, err := file.Info(); err == nil {
			size += info.Size()
		}
		name, ok := strings.CutSuffix(file.Name(), waitingExt)
		number, id, cut := strings.Cut(name, "_")
		n, err := strconv.Atoi(number)
		if !ok || !cut || err != nil {
			continue
		}
		entries = append(entries, entry{n, id, filepath.Join(s.dir, file.Name())})
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return a.number - b.number })
	return entries, size, nil
}

// put keeps b, with ext for its fate, and returns once it is on disk.
func (s *spool) put(b *batch, ext string) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	unlock, err := s.lock("lock", 0)
	if err != nil {
		return err
	}
	defer unlock()
	tmp := filepath.Join(s.dir, unfinished)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, size, err := s.waiting()
	if err != nil {
		return err
	}
	if size+int64(len(b.body)) > int64(s.max) {
		return fmt.Errorf("%s holds %d bytes of at most %d: %w", s.dir, size, int64(s.max), errNoRoom)
	}
	for _, e := range entries {
		s.last = max(s.last, e.number)
	}
	if err := writeSynced(tmp, b.body); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	s.last++
	if err := os.Rename(tmp, filepath.Join(s.dir, fmt.Sprintf("%012d_%s%s", s.last, b.id, ext))); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// send delivers what waits, in order, until nothing does or deliver fails, and
// removes what was delivered. It waits for another run that is sending for at
// most patience, and then returns errBusy.
func (s *spool) send(patience time.Duration, deliver func(*batch) error) error {
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
			if err := s.sendOne(e, deliver); err != nil {
				return err
			}
		}
	}
}

func (s *spool) sendOne(e entry, deliver func(*batch) error) error {
	body, err := os.ReadFile(e.path)
	if err != nil {
		return err
	}
	err = deliver(&batch{id: e.id, body: body})
	var refused *refusedError
	if errors.As(err, &refused) {
		return os.Rename(e.path, strings.TrimSuffix(e.path, waitingExt)+refusedExt)
	}
	if err != nil {
		return err
	}
	return os.Remove(e.path)
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

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
