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
	if err := s.closeFiles(); err != nil {
		s.warn("%v", err)
	}
	return s.newDay(name)
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
	file, err := s.disk.Append(d.path)
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

// openFiles opens the day's file and its journal if they are not, each cut to
// what is known to be on disk.
func (s *Store) openFiles(d *day) error {
	if s.file != nil {
		return nil
	}
	journal, err := s.openAt(s.own(d.name+".batches"), s.journalSize)
	if err != nil {
		return err
	}
	file, err := s.openAt(d.path, d.size)
	if err != nil {
		return errors.Join(err, journal.Close())
	}
	if err := syncDir(filepath.Join(s.dir, ownDir)); err != nil {
		return errors.Join(err, journal.Close(), file.Close())
	}
	s.file, s.journal = file, journal
	return nil
}

func (s *Store) openAt(path string, size int64) (appendFile, error) {
	f, err := s.disk.Append(path)
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
	err := errors.Join(s.file.Close(), s.journal.Close())
	s.file, s.journal = nil, nil
	return err
}
