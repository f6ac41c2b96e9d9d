package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// openStore opens the log in dir, which must exist, and puts right what an
// unclean end left there.
func openStore(o storeOptions, d disk, now func() time.Time, warn func(string, ...any)) (*Store, error) {
	s := &Store{
		storeOptions: o, disk: d, now: now, warn: warn, stats: new(storeStats),
		queue: make(chan *batch, maxGroup), stopped: make(chan struct{}), grown: make(chan struct{}),
		stop: make(chan struct{}), kept: make(chan struct{}), seen: newSeenIDs(),
	}
	if err := s.lockDir(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	go s.run()
	go s.keep()
	return s, nil
}

// lockDir keeps a second logd off the same files.
func (s *Store) lockDir() error {
	own := filepath.Join(s.dir, ownDir)
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(own, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s: another logd writes here: %w", s.dir, err), lock.Close())
	}
	s.lock = lock
	return nil
}

func (s *Store) own(name string) string { return filepath.Join(s.dir, ownDir, name) }

// load reads what there is, without reading the lines: they were indexed when
// they were written.
func (s *Store) load() error {
	if err := s.removeUnfinished(); err != nil {
		return err
	}
	days, err := listDays(s.dir)
	if err != nil {
		return err
	}
	journals := make([][]extent, 0, len(days))
	for i, d := range days {
		extents, err := s.loadDay(d, i == len(days)-1)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		journals = append(journals, extents)
	}
	loadIDs(s.seen, journals)
	s.days = days
	return nil
}

// removeUnfinished removes what a compression left that did not come to its end.
func (s *Store) removeUnfinished() error {
	left, err := filepath.Glob(s.own("*" + unfinishedExt))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (s *Store) loadDay(d *day, last bool) ([]extent, error) {
	mode := os.O_RDONLY // a closed day may belong to somebody else by now
	if last {
		mode = os.O_RDWR
	}
	f, err := os.OpenFile(d.path, mode, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if last && !d.packed {
		extents, err := s.repair(f, d)
		if err != nil {
			return nil, err
		}
		return extents, s.loadIndex(f, d)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d.size = info.Size()
	extents, _, _, err := readJournal(s.own(d.name+".batches"), 1<<62)
	if err != nil {
		return nil, err
	}
	return extents, s.loadIndex(f, d)
}

// repair makes up for what was not written of what was acknowledged, and cuts
// off what was not wholly written, which was not acknowledged either: a torn
// line, the batch or the group that it is of.
func (s *Store) repair(f *os.File, d *day) ([]extent, error) {
	written, err := s.replay(d, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	path, size := s.own(d.name+".batches"), info.Size()
	var extents []extent
	var end, kept int64
	// What the journal cuts off may begin within a line, if somebody has edited the day.
	for torn := min(size, written); ; {
		if end, err = tornTail(f, torn); err != nil {
			return nil, err
		}
		if extents, kept, torn, err = readJournal(path, end); err != nil {
			return nil, err
		}
		if torn >= end {
			break
		}
	}
	if end < size {
		aside, err := quarantine(f, end, size)
		if err != nil {
			return nil, err
		}
		s.warn("%s: the last %d bytes were not wholly written; they are now in %s", d.path, size-end, aside)
	}
	d.size = end
	s.journalSize = kept
	journal, err := s.openAt(path, kept)
	if err != nil {
		return nil, err
	}
	return extents, journal.Close()
}

// maxScanAtStart is how many bytes of a day are indexed before logd serves.
// What is beyond, because an index file was lost, is indexed while it serves.
const maxScanAtStart = 16 << 20

func (s *Store) loadIndex(f *os.File, d *day) error {
	name := d.name + ".index"
	if d.packed {
		name = d.name + ".zst.index"
	}
	index, indexed, err := openIndex(s.own(name))
	if err != nil {
		return err
	}
	d.index = index
	var known blocks
	for _, b := range indexed {
		if b.to <= d.size { // what is beyond was cut off
			known = append(known, b)
		}
	}
	if ours, err := fits(known, f, d); err != nil {
		return err
	} else if !ours {
		known = nil
	}
	from := known.end()
	rest := d.size - from
	if rest > 0 && !d.packed && rest <= maxScanAtStart {
		more, err := indexLines(f, from, d.size)
		if err != nil {
			return err
		}
		known = append(known, more...)
	}
	if !slices.Equal(known, indexed) {
		if err := index.rewrite(known); err != nil {
			return err
		}
	}
	if known.end() < d.size {
		known = append(known, unknownBlock(from, d.size))
	}
	d.blocks, d.open = known, newBlock(d.size)
	return nil
}

// fits tells whether an index can be of d's file. One that was put there by
// hand is hardly as long as a compressed day was, nor has it a line that ends
// where the last known block does.
func fits(known blocks, f io.ReaderAt, d *day) (bool, error) {
	end := known.end()
	if d.packed || end == 0 {
		return end == 0 || end == d.size, nil
	}
	var last [1]byte
	_, err := f.ReadAt(last[:], end-1)
	return last[0] == '\n', err
}
