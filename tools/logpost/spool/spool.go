// Package spool keeps batches of lines on disk until a log store has them. A
// spool is a directory:
//
//	NUMBER_ID.ndjson   a batch that waits, its lines as they are posted
//	NUMBER_ID.refused  one that the store refused, for a person to look at
//	tmp                one that is being written
//	lock, sending      empty; they are locked, as follows
//	version            1, the layout's; a spool of a later one is refused
//
// Batches are sent in the order of their numbers. More than one process may use
// a spool at once: who adds or renames a file holds lock, for a moment, so that
// numbers are given once and the size is kept to; who sends holds sending for as
// long as it takes, so that one of them sends. Both locks end with their process.
//
// A crash leaves what Put had returned for: a batch is written to tmp, synced,
// renamed, and then the directory is synced. So a batch is there only when it is
// whole, and the next Put removes a tmp that was left. A file goes after its batch
// was delivered; where a crash comes in between, it is sent again, with the same
// ID, by which the store knows it.
package spool

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

	"golang.org/x/sys/unix"
)

// The ends of the names of a spool's files, by what becomes of them.
const (
	Waiting = ".ndjson"
	Refused = ".refused"
)

const (
	unfinished = "tmp"
	// layout is the version of what the package's head tells.
	layout      = "1"
	versionName = "version"
)

var (
	// ErrBusy is that another process is sending.
	ErrBusy = errors.New("another logpost is sending from the spool")
	// ErrNewer is that a newer winnow keeps its lines here.
	ErrNewer = errors.New("was written by a newer winnow")
	// ErrFull is that there is no room for some lines.
	ErrFull = errors.New("the spool is full")
)

// Spool is a spool as one process uses it.
type Spool struct {
	Dir  string
	max  int64
	last int                  // the highest number that was seen
	sync func(*os.File) error // (*os.File).Sync; tests watch it
}

// New gives the spool in dir, which is made with the first batch, and may take so
// many bytes.
func New(dir string, most int64) *Spool {
	return &Spool{Dir: dir, max: most, sync: (*os.File).Sync}
}

// Check fails where the spool is of a later layout: what it holds would be sent wrongly, or never. One from before has
// no version, and what cannot be read at all is told of when it is needed.
func (s *Spool) Check() error {
	text, _ := os.ReadFile(filepath.Join(s.Dir, versionName))
	if version := strings.TrimSpace(string(text)); version != "" && version != layout {
		return fmt.Errorf("%s %w: it is of version %.16q, and this one reads version %s", s.Dir, ErrNewer, version, layout)
	}
	return nil
}

// mark says of which layout the spool is, once.
func (s *Spool) mark() error {
	err := s.write(filepath.Join(s.Dir, versionName), []byte(layout+"\n"))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// File is a batch that waits.
type File struct {
	ID     string
	number int
	path   string
}

// Read gives the batch.
func (f *File) Read() (*Batch, error) {
	body, err := os.ReadFile(f.path)
	return &Batch{f.ID, body}, err
}

// Remove ends a batch that was delivered.
func (f *File) Remove() error { return os.Remove(f.path) }

// Empty tells whether nothing waits.
func (s *Spool) Empty() (bool, error) {
	files, _, err := s.waiting()
	return len(files) == 0, err
}

// waiting lists what is to be sent, in order, and how many bytes all files take.
func (s *Spool) waiting() (waiting []File, size int64, err error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || entry.Name() == versionName {
			continue
		}
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
		ext := filepath.Ext(entry.Name())
		number, id, cut := strings.Cut(strings.TrimSuffix(entry.Name(), ext), "_")
		n, err := strconv.Atoi(number)
		if ext != Waiting && ext != Refused || !cut || err != nil {
			continue
		}
		s.last = max(s.last, n)
		if ext == Waiting {
			waiting = append(waiting, File{id, n, filepath.Join(s.Dir, entry.Name())})
		}
	}
	slices.SortStableFunc(waiting, func(a, b File) int { return a.number - b.number })
	return waiting, size, nil
}

// Put keeps b under a name with the end ext, and returns once it is on disk. Of
// its lines it keeps those for which there is room, in their order, and tells
// how many and where; with fewer than all there is an error too.
func (s *Spool) Put(b *Batch, ext string) (path string, kept int, err error) {
	if err := s.makeDir(s.Dir); err != nil {
		return "", 0, err
	}
	unlock, err := s.lock("lock", 0)
	if err != nil {
		return "", 0, err
	}
	defer unlock()
	if err := s.mark(); err != nil {
		return "", 0, err
	}
	tmp := filepath.Join(s.Dir, unfinished)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", 0, err
	}
	_, size, err := s.waiting()
	if err != nil {
		return "", 0, err
	}
	body, kept, full := fitting(b.Body, s.max-size)
	if full != nil {
		full = fmt.Errorf("%s: %d of %d bytes are taken: %w", s.Dir, size+int64(len(body)), s.max, full)
	}
	if kept == 0 {
		return "", 0, full
	}
	if err := s.write(tmp, body); err != nil {
		return "", 0, errors.Join(err, os.Remove(tmp))
	}
	s.last++
	path = filepath.Join(s.Dir, fmt.Sprintf("%012d_%s%s", s.last, b.ID, ext))
	if err := os.Rename(tmp, path); err != nil {
		return "", 0, err
	}
	if err := s.syncDir(s.Dir); err != nil {
		return "", 0, err
	}
	return path, kept, full
}

// fitting is those lines of body for which there is room, in their order. A
// long line that does not fit does not take the short ones after it along.
func fitting(body []byte, room int64) (fits []byte, lines int, err error) {
	for line := range bytes.Lines(body) {
		if int64(len(fits)+len(line)) > room {
			err = ErrFull
			continue
		}
		fits = append(fits, line...)
		lines++
	}
	return fits, lines, err
}

// makeDir makes dir where it is not there, and those above it. A new directory
// is on disk only with the entry in the one above.
func (s *Spool) makeDir(dir string) error {
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
	if err != nil && !errors.Is(err, fs.ErrExist) { // another process may have been faster
		return err
	}
	return s.syncDir(above)
}

// Send has deliver see to what waits, in order, until nothing does or deliver
// fails. deliver is to Remove the file or to have it SetAside. Send waits for
// another process that is sending for at most patience, and then returns ErrBusy.
func (s *Spool) Send(patience time.Duration, deliver func(*File) error) error {
	if empty, err := s.Empty(); err != nil || empty {
		return err
	}
	unlock, err := s.lock("sending", patience)
	if err != nil {
		return err
	}
	defer unlock()
	for {
		files, _, err := s.waiting()
		if err != nil || len(files) == 0 {
			return err
		}
		for i := range files {
			if err := deliver(&files[i]); err != nil {
				return err
			}
		}
	}
}

// SetAside takes f out of what waits, and keeps it as refused.
func (s *Spool) SetAside(f *File) (path string, err error) {
	unlock, err := s.lock("lock", 0) // or a Put might count it under both names, or under none
	if err != nil {
		return "", err
	}
	defer unlock()
	path = strings.TrimSuffix(f.path, Waiting) + Refused
	return path, os.Rename(f.path, path)
}

// lock takes the lock called name. It waits for at most patience; with 0 as long
// as it takes, which is not long for `lock`.
func (s *Spool) lock(name string, patience time.Duration) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, name), os.O_CREATE|os.O_RDWR, 0o600)
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
		err = ErrBusy
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
}

// write returns once text is on disk, but for the name of its file.
func (s *Spool) write(path string, text []byte) error {
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
func (s *Spool) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}
