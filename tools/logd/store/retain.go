package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tendEvery is how often old days are looked after.
const tendEvery = time.Minute

// tendAll looks after the days that are not written to, until the store is closed:
// it reads those whose index was lost, compresses, and removes what is too old
// or too much.
func (s *Store) tendAll() {
	defer close(s.tended)
	for {
		if err := s.tend(); err != nil && !errors.Is(err, ErrClosed) {
			s.warn("%v", err)
		}
		select {
		case <-s.stop:
			return
		case <-s.look:
		case <-time.After(tendEvery):
		}
	}
}

// tend removes, reads and compresses.
func (s *Store) tend() error {
	errs := []error{s.trim()}
	for _, d := range s.others() {
		select {
		case <-s.stop:
			return errors.Join(append(errs, ErrClosed)...)
		default:
		}
		errs = append(errs, s.tendDay(d))
	}
	return errors.Join(errs...)
}

// tendDay reads a day that somebody changed or whose index was lost, and
// compresses one that is plain.
func (s *Store) tendDay(d *day) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if !slices.Contains(s.others(), d) {
		return nil // it was removed meanwhile
	}
	if there, err := s.lookAt(d); !there || err != nil {
		return err
	}
	var errs []error
	if d.isUnknown() && !d.torn {
		errs = append(errs, s.learn(d))
	}
	if s.Compress && !d.packed && !d.isUnknown() {
		errs = append(errs, s.pack(d))
	}
	return errors.Join(errs...)
}

// lookAt sees to it that d, which is not written to, is what is on the disk. A file
// that somebody changed is read anew, and so is one that could not be adopted. One
// that is not there twice in a row was removed, and is forgotten.
func (s *Store) lookAt(d *day) (there bool, err error) {
	info, err := s.disk.Stat(d.path)
	before := d.gone
	d.gone = errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular()
	switch {
	case d.gone && !before:
		return false, nil
	case d.gone:
		s.warn("%s was removed by somebody else", d.path)
		s.forget(d)
		return false, d.index.remove()
	case err != nil:
		return true, err
	case d.stale != nil:
		if err := s.reload(d); err != nil {
			return true, err
		}
		return true, d.stale
	case os.SameFile(info, d.info) && (d.tail || info.Size() == d.fileSize()):
		return true, nil
	}
	s.warn("%s was changed by somebody else, and is read anew", d.path)
	s.setTorn(d, false)
	return true, s.reload(d)
}

func (s *Store) forget(d *day) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.days = slices.DeleteFunc(s.days, func(other *day) bool { return other == d })
}

// trim removes what is too old or too much. The writer calls it, too, and then
// waits for a compression only where the day that is compressed has to go.
func (s *Store) trim() error {
	var errs []error
	for _, d := range s.expired() {
		d.changing.Lock()
		if slices.Contains(s.expired(), d) { // it may have been compressed meanwhile
			errs = append(errs, s.remove(d))
		}
		d.changing.Unlock()
	}
	return errors.Join(errs...)
}

// others are the days that are not written to, and are not again.
func (s *Store) others() []*day {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.writing == nil && len(s.days) > 0 {
		return slices.Clone(s.days[:len(s.days)-1])
	}
	return slices.DeleteFunc(slices.Clone(s.days), func(d *day) bool { return d == s.writing })
}

func (d *day) isUnknown() bool {
	return slices.ContainsFunc(d.blocks, func(b block) bool { return b.unknown() })
}

// expired are the days that have to go: those that ended longer ago than Retain,
// and then the oldest, until the others have room in RetainSize. The file that is
// written counts with the length that it may still come to.
func (s *Store) expired() []*day {
	over := int64(0)
	if s.RetainSize > 0 {
		_, all := s.Size()
		over = all + s.partSize() - s.writingSize() - int64(s.RetainSize)
	}
	now, certain := s.clock.now(), s.clock.certain()
	var old []*day
	others := s.others()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range others {
		aged := s.Retain > 0 && certain && now.Sub(d.ended(now)) > s.Retain
		if !aged && over <= 0 {
			continue
		}
		over -= d.fileSize()
		old = append(old, d)
	}
	return old
}

// writingSize is how much of its part the day that is written to has taken.
func (s *Store) writingSize() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.writing == nil {
		return 0
	}
	return min(s.writing.fileSize(), s.partSize())
}

// ended is when the day was over. The name of one ahead of the clock is wrong,
// so that its file has to tell.
func (d *day) ended(now time.Time) time.Time {
	if d.ahead(now) {
		return d.info.ModTime()
	}
	return d.date().AddDate(0, 0, 1)
}

func (s *Store) remove(d *day) error {
	s.forget(d)
	err := errors.Join(s.disk.Remove(d.path), d.index.remove(), ignoreMissing(os.Remove(s.own(d.name+journalExt))))
	for _, beside := range []string{".*" + quarantineExt, ".replaced-*"} {
		paths, _ := filepath.Glob(filepath.Join(s.Dir, d.name+plainExt+beside))
		for _, path := range paths {
			err = errors.Join(err, s.disk.Remove(path))
		}
	}
	if err != nil {
		return err
	}
	s.warn("%s was removed: its time was over", d.path)
	return nil
}

// learn reads a day whose index was lost. One that was compressed otherwise than
// now is unpacked, and compressed anew later.
func (s *Store) learn(d *day) error {
	f, err := openOwned(d.path, os.O_RDONLY, s.group)
	if err != nil {
		return err
	}
	defer f.Close()
	if d.packed {
		x, err := s.readPacked(d, f)
		if errors.Is(err, errForeign) {
			return s.unpack(d)
		}
		if s.setTorn(d, err != nil); err != nil {
			return err
		}
		s.name(d, x)
		s.setContents(d, x)
		return d.index.rewrite(x.closed)
	}
	_, err = s.readDay(d, f, nil, 0)
	return err
}

func (s *Store) unpack(d *day) error {
	in, err := openOwned(d.path, os.O_RDONLY, s.group)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := newUnpacker(bufio.NewReader(in))
	if err != nil {
		return err
	}
	defer z.Close()
	tmp := s.own(d.name + unfinishedExt)
	out, err := s.makeUnfinished(tmp)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, z)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		s.setTorn(d, !isFull(err))
		return errors.Join(fmt.Errorf("%s: unpack: %w", d.path, err), os.Remove(tmp))
	}
	path := strings.TrimSuffix(d.path, packedExt) + plainExt
	if _, err := s.disk.Stat(path); err == nil {
		return errors.Join(fmt.Errorf("%s is there", path), os.Remove(tmp))
	}
	if err := errors.Join(s.disk.Rename(tmp, path), s.disk.SyncDir(s.Dir)); err != nil {
		return err
	}
	info, err := s.disk.Stat(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	packed, old := d.path, d.index
	d.path, d.packed, d.info, d.index = path, false, info, nil
	n := info.Size()
	d.blocks, d.size = []block{unknownBlock(0, n, 0, n)}, n
	d.open.block = newBlock(n)
	s.mu.Unlock()
	if err := errors.Join(old.remove(), s.disk.Remove(packed)); err != nil {
		return err
	}
	if d.index, _, err = openIndex(s.own(d.indexName()), s.group); err != nil {
		s.warn("the index cannot be kept: %v", err)
	}
	return s.learn(d)
}

// withoutDoubles leaves one of two files of the same day: the plain one, unless
// the other was read and holds it.
func (s *Store) withoutDoubles(days []*day) ([]*day, error) {
	var kept []*day
	for _, d := range days {
		n := len(kept)
		if n == 0 || kept[n-1].name != d.name {
			kept = append(kept, d)
			continue
		}
		plain := kept[n-1] // of the two it sorts first
		err := sameLines(d.path, plain.path, s.stop)
		if err == nil || errors.Is(err, errLonger) {
			if err := s.disk.Remove(plain.path); err != nil {
				return nil, err
			}
			kept[n-1] = d
			continue
		}
		if !errors.Is(err, errDiffers) {
			return nil, err
		}
		aside := d.path + quarantineExt
		s.warn("%s does not hold what %s does; it is now %s", d.path, plain.path, aside)
		if err := s.disk.Rename(d.path, aside); err != nil {
			return nil, err
		}
	}
	return kept, nil
}
