package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	dayLayout = time.DateOnly
	plainExt  = ".jsonl"
	packedExt = ".jsonl.zst"
	// ownDir holds what is logd's own, so that a host's `jq . *.jsonl` meets
	// nothing but lines.
	ownDir        = ".logd"
	quarantineExt = ".quarantine"
	unfinishedExt = ".tmp"
)

// day is one day file. What changes of it does so under the store's lock.
type day struct {
	name   string // 2026-11-21, or 2026-11-21.part002
	path   string
	packed bool
	info   os.FileInfo // of the file that the offsets are in
	renews int         // how often it turned out to be another one
	renew  int64       // its length then
	size   int64       // plain bytes that count: all before are synced and under a commit
	blocks []block     // those that are full; only ever appended to
	indexer
	index *indexFile // nil where there is none
	dirty bool       // the file may go on with a group that was refused
	stale error      // why it has to be read again before it is written to
	gone  bool       // it was not there when it was last looked at
	torn  bool       // it cannot be read, or not to its end
	tail  bool       // the file goes on behind size with what was never acknowledged

	changing sync.Mutex // held while it is changed or removed, but by what writes to it
}

// add joins a group that follows the others.
func (d *day) add(g *group) []entry {
	closed := d.indexer.add(g)
	for i := range closed {
		d.blocks = append(d.blocks, closed[i].block)
	}
	d.size = g.to
	return closed
}

// fileSize is how many bytes the day takes on the disk.
func (d *day) fileSize() int64 { return d.open.To }

func (d *day) date() time.Time { return dateOf(d.name) }

// part is which of its date's files the day is, from 1.
func (d *day) part() int {
	_, n, _ := dayName(d.name)
	return n
}

// compare orders days by their names.
func (d *day) compare(other *day) int {
	return cmp.Or(d.date().Compare(other.date()), cmp.Compare(d.part(), other.part()))
}

func dateOf(name string) time.Time {
	at, _ := time.Parse(dayLayout, name[:len(dayLayout)])
	return at
}

// partName is the name of the n-th file of a date, from 1.
func partName(date string, n int) string {
	if n == 1 {
		return date
	}
	return fmt.Sprintf("%s.part%03d", date, n)
}

// dayName reads what partName wrote.
func dayName(name string) (date string, part int, ok bool) {
	date, number, parts := strings.Cut(name, ".part")
	if _, err := time.Parse(dayLayout, date); err != nil {
		return "", 0, false
	}
	if !parts {
		return date, 1, true
	}
	if _, err := fmt.Sscanf(number, "%d", &part); err != nil {
		return "", 0, false
	}
	return date, part, partName(date, part) == name
}

// listDays finds the day files, the oldest first. What is named like one and is
// no file is left alone, and named.
func (s *Store) listDays() ([]*day, error) {
	found, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil, err
	}
	var days []*day
	for _, e := range found {
		name, packed := strings.CutSuffix(e.Name(), packedExt)
		if !packed {
			var plain bool
			if name, plain = strings.CutSuffix(e.Name(), plainExt); !plain {
				continue
			}
		}
		if _, _, ok := dayName(name); !ok {
			continue
		}
		path := filepath.Join(s.Dir, e.Name())
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			s.warn("%s is no file, and is left alone", path)
			continue
		}
		d := &day{name: name, path: path, packed: packed, info: info}
		d.open.block = newBlock(0)
		days = append(days, d)
	}
	slices.SortStableFunc(days, (*day).compare) // of two of a name the plain one was found first
	return days, nil
}

// hide keeps others from reading a day of which a version before let them.
func (s *Store) hide(d *day) {
	mode := d.info.Mode().Perm()
	if mode&0o007 == 0 {
		return
	}
	if err := own(d.path, mode&^0o007, s.group); err != nil {
		s.warn("others can read it: %v", err)
	}
}

func (s *Store) own(name string) string { return filepath.Join(s.Dir, ownDir, name) }

// indexName is the day's index file.
func (d *day) indexName() string {
	if d.packed {
		return d.name + ".zst.index"
	}
	return d.name + ".index"
}

// setAside moves what follows the day's last good commit, which ends at end,
// into a file beside it.
func (s *Store) setAside(d *day, end int64) error {
	f, err := s.disk.Open(d.path)
	if err != nil {
		return err
	}
	path, err := s.copyBeside(f, end, func(n int) string {
		if n > 1 {
			return fmt.Sprintf("%s.%d-%d%s", d.path, end, n, quarantineExt)
		}
		return fmt.Sprintf("%s.%d%s", d.path, end, quarantineExt)
	})
	if err == nil {
		err = truncate(f, end)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: what follows its last commit could not be set aside: %w", d.path, err)
	}
	d.tail = false
	s.warn("%s: what follows its last good commit was never acknowledged; it is now in %s", d.path, path)
	return nil
}

// keepReplaced copies what logd's open file holds of the day beside it.
func (s *Store) keepReplaced(d *day) (string, error) {
	return s.copyBeside(s.file, 0, func(n int) string { return fmt.Sprintf("%s.replaced-%d", d.path, n) })
}

// copyBeside makes a file, under the first name that is free, of what f holds
// from an offset on, and has it on the disk when it returns.
func (s *Store) copyBeside(f diskFile, from int64, name func(n int) string) (path string, err error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := s.room(int(info.Size() - from)); err != nil {
		return "", err
	}
	path = name(1)
	out, err := s.disk.Create(path)
	for n := 2; errors.Is(err, os.ErrExist); n++ {
		path = name(n)
		out, err = s.disk.Create(path)
	}
	if err != nil {
		return "", err
	}
	_, err = io.Copy(&writer{diskFile: out}, io.NewSectionReader(f, from, info.Size()-from))
	if err == nil {
		err = out.Datasync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return "", errors.Join(err, s.disk.Remove(path))
	}
	return path, s.disk.SyncDir(s.Dir)
}
