package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"winnow/tools/internal/record"
)

// today is the day to write to.
func (s *Store) today() (*day, error) {
	name := s.clock.now().UTC().Format(dayLayout)
	if s.writing == nil {
		s.setWriting(s.last(name))
	}
	d := s.writing
	if d != nil && near(d, name) && !d.packed && (s.partSize() == 0 || d.size < s.partSize()) {
		return d, nil
	}
	if d != nil && near(d, name) {
		name = d.name[:len(dayLayout)]
	}
	if err := s.leave(); err != nil {
		return nil, err
	}
	d, err := s.newDay(name)
	if err != nil {
		return nil, err
	}
	s.setWriting(d)
	if err := s.trim(); err != nil { // not left to tendAll, which may be behind
		s.warn("%v", err)
	}
	select {
	case s.look <- struct{}{}: // the day before can be compressed
	default:
	}
	return d, nil
}

// leave closes the file that is written. A group that was refused must not stay
// in it: it would be taken for stored at the next start.
func (s *Store) leave() error {
	if d := s.writing; d != nil && d.dirty {
		if err := s.openFile(d); err != nil {
			return err
		}
	}
	return s.closeFile()
}

// near tells whether d is of this date, or of the next one: a clock that was
// put back a little does not leave a day that has begun.
func near(d *day, date string) bool {
	next := dateOf(date).AddDate(0, 0, 1).Format(dayLayout)
	return d.name[:len(dayLayout)] == date || d.name[:len(dayLayout)] == next
}

func (s *Store) setWriting(d *day) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = d
}

// last is the last day if it is plain and near a date, or nil.
func (s *Store) last(date string) *day {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := len(s.days); n > 0 && near(s.days[n-1], date) && !s.days[n-1].packed {
		return s.days[n-1]
	}
	return nil
}

// leastPart is how short a part of a day may be that a bound on the log's size
// ends.
const leastPart = 256 << 10

// partSize is how long a file may become before the day goes on in another one:
// then the bound is kept by removing whole files, an eighth of it at a time. It
// is 0 without one.
func (s *Store) partSize() int64 {
	if s.RetainSize <= 0 {
		return 0
	}
	return max(int64(s.RetainSize)/8, leastPart)
}

// newDay begins a file of a date: the first one, or the one behind those that
// there are.
func (s *Store) newDay(date string) (*day, error) {
	for n := s.lastPart(date) + 1; ; n++ {
		name := partName(date, n)
		taken := false
		for _, ext := range []string{plainExt, packedExt} {
			_, err := s.disk.Stat(filepath.Join(s.Dir, name+ext))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			taken = taken || err == nil
		}
		if taken {
			continue
		}
		d := &day{name: name, path: filepath.Join(s.Dir, name+plainExt)}
		if err := s.makeDay(d); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.days = append(s.days, d)
		s.mu.Unlock()
		return d, nil
	}
}

// lastPart is the number of a date's last file, 0 where it has none. Those before it may have been removed.
func (s *Store) lastPart(date string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	last := 0
	for _, d := range s.days {
		if d.name[:len(dayLayout)] == date {
			last = max(last, d.part())
		}
	}
	return last
}

// makeDay makes the day's file, which is empty.
func (s *Store) makeDay(d *day) error {
	f, err := s.disk.Create(d.path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close(), s.disk.SyncDir(s.Dir)); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", d.path, err), ignoreMissing(s.disk.Remove(d.path)))
	}
	if d.index == nil {
		if d.index, _, err = openIndex(s.own(d.indexName()), s.group); err != nil {
			s.warn("the index cannot be kept: %v", err)
		}
	}
	if err := d.index.rewrite(nil); err != nil {
		s.warn("the index cannot be kept: %v", err)
	}
	x := newFound(nil)
	s.setFile(d, info)
	s.setContents(d, x)
	return nil
}

// begin writes the commit of no lines that a day begins with: a file without
// one was not made by logd as it is now.
func (s *Store) begin(d *day) error {
	c := commit{Type: record.TypeCommit, Time: s.clock.now().UTC(), Batches: []string{}, Version: dayVersion}
	text := c.seal(nil)
	if err := writeSynced(s.file, text, 0); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", d.path, err), s.closeFile())
	}
	b := newBlock(0)
	b.grow(int64(len(text)))
	s.mu.Lock()
	defer s.mu.Unlock()
	d.add(&group{to: int64(len(text)), commit: c, blocks: []block{b}})
	return nil
}
