package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// today is the day to write to. A clock that was put back does not reopen a
// day that was closed.
func (s *Store) today() (*day, error) {
	name := s.now().UTC().Format(dayLayout)
	if last := s.lastDay(); last != nil {
		if name <= last.name && !last.packed {
			return last, nil
		}
		if name <= last.name {
			name = nextDay(last.name)
		}
	}
	if err := s.leaveDay(); err != nil {
		return nil, err
	}
	return s.newDay(name)
}

// leaveDay syncs what only the write-ahead log holds for sure of the last day,
// and closes its files.
func (s *Store) leaveDay() error {
	if !s.ahead {
		return s.closeFiles()
	}
	d := s.lastDay()
	if err := s.openFiles(d); err != nil {
		return err
	}
	if err := errors.Join(s.settle(), s.closeFiles()); err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	return nil
}

func (s *Store) lastDay() *day {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.days) == 0 {
		return nil
	}
	return s.days[len(s.days)-1]
}

func nextDay(name string) string {
	at, _ := time.Parse(dayLayout, name)
	return at.AddDate(0, 0, 1).Format(dayLayout)
}

func (s *Store) newDay(name string) (*day, error) {
	d := &day{name: name, path: filepath.Join(s.dir, name+plainExt), open: newBlock(0)}
	file, err := s.disk.Open(d.path)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(file.Datasync(), file.Close(), syncDir(s.dir)); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path, err)
	}
	if d.index, _, err = openIndex(s.own(name + ".index")); err != nil {
		return nil, err
	}
	if err := d.index.rewrite(nil); err != nil {
		return nil, err
	}
	s.journalSize = 0
	s.mu.Lock()
	s.days = append(s.days, d)
	s.mu.Unlock()
	return d, nil
}

// openFiles opens the day's file, its journal and the write-ahead log if they
// are not, the first two as they were acknowledged.
func (s *Store) openFiles(d *day) error {
	if s.file != nil {
		return nil
	}
	if _, err := s.replay(d, d.size); err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
	journal, err := s.openAt(s.own(d.name+".batches"), s.journalSize)
	if err != nil {
		return err
	}
	file, err := s.openAt(d.path, d.size)
	if err != nil {
		return errors.Join(err, journal.Close())
	}
	wal, err := createWAL(s.disk, s.own(walName))
	if err != nil {
		return errors.Join(err, journal.Close(), file.Close())
	}
	if err := syncDir(filepath.Join(s.dir, ownDir)); err != nil {
		return errors.Join(err, journal.Close(), file.Close(), wal.Close())
	}
	s.file, s.journal, s.wal = file, journal, wal
	s.ahead = false
	return nil
}

func (s *Store) openAt(path string, size int64) (diskFile, error) {
	f, err := s.disk.Open(path)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Datasync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

func (s *Store) closeFiles() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.file.Close(), s.journal.Close(), s.wal.Close())
	s.file, s.journal, s.wal = nil, nil, nil
	return err
}
