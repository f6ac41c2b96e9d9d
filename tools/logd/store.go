package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"winnow/tools/internal/cli"

	"golang.org/x/sys/unix"
)

const (
	maxGroupBytes = 4 << 20 // of lines that are written and synced at once, when there are more batches than one
	maxGroup      = 1024    // batches that are
)

var (
	errFull   = errors.New("the disk is full")
	errClosed = errors.New("shutting down")
)

// storeOptions are what the flags say of the store.
type storeOptions struct {
	dir         string
	minFree     cli.Size // that the disk is left with
	retain      age      // 0: for ever
	retainBytes cli.Size // 0: any number
	compress    bool     // closed days
}

// Store is the log: day files of JSON lines in a directory. One goroutine
// writes; any number read what it has synced.
type Store struct {
	storeOptions
	disk  disk
	now   func() time.Time
	warn  func(format string, a ...any)
	stats *storeStats

	lock    *os.File
	queue   chan *batch
	stopped chan struct{} // closed when the writer is done
	stop    chan struct{} // closed to end what runs beside it
	kept    chan struct{} // closed when keep is done

	closing sync.RWMutex // held to read while a batch is being queued
	closed  bool

	mu    sync.RWMutex // guards days, what is in them, and grown
	days  []*day
	grown chan struct{} // closed and replaced when lines were added

	// The writer's own.
	seen    *seenIDs
	file    diskFile // nil after a failure, as the next two, until it could be opened again
	journal diskFile
	wal     *wal
	ahead   bool // the write-ahead log holds what these may not hold on disk
	// The journal's length, of acknowledged ids. The day file's is in its day.
	journalSize int64
	lines, ids  []byte // reused
}

// storeStats count what the store did since it started.
type storeStats struct {
	groups, batches, duplicates, lines, bytes atomic.Int64
	failures                                  atomic.Int64 // groups that could not be stored
	kills                                     killCounts
	broken                                    atomic.Bool // the last group was one of them
	sync                                      histogram
}

// batch is lines to be stored, all or none.
type batch struct {
	id    string // "" is never a duplicate
	lines []byte // each with its newline
	count int    // how many
	index blocks // of lines
	kills []killKey

	duplicate bool // the answer: it was stored before
	done      chan error
}

// Append stores a batch and returns when it is on disk. The error is errFull
// where there is no room, errClosed at the end, or what the disk said; in
// each case nothing of the batch is stored, and it can be tried again.
func (s *Store) Append(b *batch) error {
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return errClosed
	}
	s.queue <- b
	s.closing.RUnlock()
	return <-b.done
}

// Close stores what is queued and closes the files.
func (s *Store) Close(ctx context.Context) error {
	s.closing.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
		close(s.stop)
	}
	s.closing.Unlock()
	select {
	case <-s.stopped:
	case <-ctx.Done():
		return fmt.Errorf("the last lines could not be stored in time: %w", ctx.Err())
	}
	select {
	case <-s.kept:
	case <-ctx.Done():
		return nil // what it left unfinished is begun anew at the next start
	}
	err := s.leaveDay()
	if err == nil {
		err = s.removeWAL()
	}
	errs := []error{err}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.days {
		errs = append(errs, d.index.close())
	}
	// A program that is just being started has a copy of the file, which closing it would leave locked.
	errs = append(errs, unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
	return errors.Join(errs...)
}

// run is the one writer: it takes what is queued, writes and syncs it once,
// and answers to all of it. It never waits for more to come.
func (s *Store) run() {
	defer close(s.stopped)
	group := make([]*batch, 0, maxGroup)
	for b := range s.queue {
		group = s.join(append(group[:0], b))
		s.commit(group)
	}
}

// join adds what else is queued to group. Before it is done it lets those run
// that have just been answered or have read more: as long as they bring some,
// a sync serves more of them.
func (s *Store) join(group []*batch) []*batch {
	size, before := len(group[0].lines), 0
	for size < maxGroupBytes && len(group) < maxGroup {
		select {
		case b, open := <-s.queue:
			if !open {
				return group
			}
			group = append(group, b)
			size += len(b.lines)
		default:
			if len(group) == before {
				return group
			}
			before = len(group)
			runtime.Gosched()
		}
	}
	return group
}

func (s *Store) commit(group []*batch) {
	err := s.store(group)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fmt.Errorf("%w: %w", errFull, err)
	}
	s.stats.broken.Store(err != nil && !errors.Is(err, errFull))
	if err != nil {
		s.stats.failures.Add(1)
		s.warn("%d batches refused: %v", len(group), err)
	}
	for _, b := range group {
		b.done <- err
	}
}

// store writes the group's new batches. After an error the files are put back
// to what was acknowledged, by new descriptors: what a descriptor holds after a
// failed sync is not known.
func (s *Store) store(group []*batch) error {
	d, err := s.today()
	if err != nil {
		return err
	}
	if err := s.openFiles(d); err != nil {
		return err
	}
	added := s.collect(group, d.size)
	if len(s.lines) > 0 {
		if err := s.room(len(s.lines) + len(s.ids)); err != nil {
			return err
		}
		if err := s.write(newWALRecord(d.name, d.size, s.lines, s.journalSize, s.ids)); err != nil {
			return s.undo(d, err)
		}
	}
	for _, id := range added {
		s.seen.add(id)
	}
	s.count(d, group)
	return nil
}

func (s *Store) undo(d *day, cause error) error {
	// Should opening fail too, it is tried again before the next group.
	return errors.Join(fmt.Errorf("%s: %w", d.path, cause), s.closeFiles(), s.openFiles(d))
}

// collect gathers the lines and the extents of the batches that are new, and
// returns the ids among them.
func (s *Store) collect(group []*batch, at int64) []string {
	s.lines, s.ids = s.lines[:0], s.ids[:0]
	var added []string
	for _, b := range group {
		if b.id != "" && (s.seen.has(b.id) || slices.Contains(added, b.id)) {
			b.duplicate = true
			continue
		}
		s.lines = append(s.lines, b.lines...)
		if b.id == "" {
			continue
		}
		from := at + int64(len(s.lines)-len(b.lines))
		s.ids = extent{from, at + int64(len(s.lines)), b.id}.appendTo(s.ids)
		added = append(added, b.id)
	}
	return added
}

// Ready tells why the next batch would not be stored.
func (s *Store) Ready() error {
	if s.stats.broken.Load() {
		return errors.New("the last batch could not be stored")
	}
	return s.room(0)
}

func (s *Store) room(n int) error {
	free, err := s.disk.Free(s.dir)
	if err != nil {
		return err
	}
	if free < int64(n)+int64(s.minFree) {
		return fmt.Errorf("%w: %s has %d bytes free, and %d of them are kept so", errFull, s.dir, free, int64(s.minFree))
	}
	return nil
}

// write makes what the group adds durable, and puts it where it belongs.
func (s *Store) write(r walRecord) error {
	start := time.Now()
	err := s.wal.add(r)
	if errors.Is(err, errWALFull) {
		if err = s.settle(); err == nil {
			err = s.wal.add(r)
		}
	}
	if err != nil {
		return err
	}
	s.ahead = true
	if _, err := s.journal.WriteAt(s.ids, r.idsAt); err != nil {
		return fmt.Errorf("its journal: %w", err)
	}
	if _, err := s.file.WriteAt(s.lines, r.at); err != nil {
		return err
	}
	if r.lines == nil {
		if err := s.file.Datasync(); err != nil {
			return fmt.Errorf("fdatasync: %w", err)
		}
	}
	s.stats.sync.observe(time.Since(start))
	return nil
}

// settle syncs all where it belongs, so that the write-ahead log begins anew.
func (s *Store) settle() error {
	if err := s.journal.Datasync(); err != nil {
		return fmt.Errorf("its journal: fdatasync: %w", err)
	}
	if err := s.file.Datasync(); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	s.wal.restart()
	s.ahead = false
	return nil
}

// count makes what was written visible to readers.
func (s *Store) count(d *day, group []*batch) {
	s.stats.groups.Add(1)
	s.stats.bytes.Add(int64(len(s.lines)))
	s.mu.Lock()
	for _, b := range group {
		if b.duplicate {
			s.stats.duplicates.Add(1)
			continue
		}
		s.stats.batches.Add(1)
		s.stats.lines.Add(int64(b.count))
		for _, k := range b.kills {
			s.stats.kills.add(k)
		}
		for _, more := range b.index {
			d.open.join(more)
			if d.open.bytes >= blockSize {
				s.closeBlock(d)
			}
		}
	}
	d.size += int64(len(s.lines))
	s.journalSize += int64(len(s.ids))
	close(s.grown)
	s.grown = make(chan struct{})
	s.mu.Unlock()
}

func (s *Store) closeBlock(d *day) {
	d.blocks = append(d.blocks, d.open)
	if err := d.index.append(d.open); err != nil {
		s.warn("%v", err) // it will be indexed at the next start
	}
	d.open = newBlock(d.open.to)
}

// size is how many day files there are, and how many bytes they take.
func (s *Store) size() (days int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.days {
		bytes += d.size
	}
	return len(s.days), bytes
}
