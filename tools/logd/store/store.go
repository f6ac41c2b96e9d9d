// Package store keeps the log: JSON lines in a file a day, which is the truth,
// alone.
//
// DIR/2026-11-21.jsonl holds the lines that arrived on that day (UTC), each as
// it was posted, in groups. A group is the lines that were written and synced
// at once, and then one line about them, the commit:
//
//		{"type":"commit","time":"2026-11-21T12:00:00.5Z","at":1024,"bytes":300,"lines":2,"crc32c":"0a1b2c3d","batches":["host-17"]}
//
//	  - at is where the group's first line begins in the day, in bytes from its
//	    start, and bytes is how long its lines are: the commit begins at at+bytes.
//	  - crc32c is the CRC-32C (Castagnoli), in hexadecimal, of the lines and of
//	    the commit itself, newlines included, with its eight digits read as 0.
//	  - batches are the ids of the batches that the group is of. Who sends one of
//	    the last 65,536 again is told that it is stored.
//	  - time is logd's. With "adopted":true the lines were there without a commit
//	    when logd found them, so the checksum is of what it found.
//
// A day begins with a commit of no lines, whose "version":1 is that of this
// layout; days of a later one are refused, and left as they are. What follows the last good commit was
// never acknowledged: logd sets it aside at its start, in DAY.jsonl.N.quarantine,
// N being its offset. A group that is not as it was committed, with good ones
// behind it, stays and is named. Nobody can post a line of type commit, and no
// query answers one; a reader of the files passes over them.
//
// A bad group is one of which the checksum is wrong, or whose lines do not begin
// where the commit before it ends. Where bytes were added or removed by hand,
// what follows is good as long as the commits' own count goes on from there.
//
// With a bound on the log's size a day may go on in 2026-11-21.part002.jsonl and
// so on, each laid out like a day; names sort in the order in which lines came.
// A day that is over may be compressed to DAY.jsonl.zst: frames of zstd, each of
// which ends at a commit (those of an adopted group, at a line), and which
// together are the plain day; "at" counts its plain bytes. If a day's file is
// changed while logd writes it, what logd had open is kept in
// DAY.jsonl.replaced-N.
//
// DIR/.logd holds an index, so that the start reads the end of the last day
// alone and a query what it asks for. It can be deleted at any time.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"

	"golang.org/x/sys/unix"
)

const (
	maxGroupBytes = 1 << 20 // of lines that are written and synced at once, when there are more batches than one
	maxGroup      = 1024    // batches that are
)

var (
	// ErrFull is a batch for which the disk, or what may be taken of it, has no room.
	ErrFull = errors.New("the disk is full")
	// ErrClosed is a batch that came after Close.
	ErrClosed = errors.New("shutting down")
)

// Options are what is asked of a log.
type Options struct {
	Dir        string        // of the day files; it must be there
	MinFree    cli.Size      // bytes that the disk is left with
	Retain     time.Duration // after which a day that is over is removed; 0: never
	RetainSize cli.Size      // bytes that all days may take; the oldest go. 0: any number
	Compress   bool          // days that are over
}

// Store is the log. One goroutine writes; any number read what it has synced.
type Store struct {
	Options
	Stats Stats
	disk  disk
	clock *trusted
	warn  func(format string, a ...any)

	lock    *os.File
	group   int // that the files belong to: the directory's
	queue   chan *Batch
	stopped chan struct{} // closed when the writer is done
	stop    chan struct{} // closed to end what runs beside it
	tended  chan struct{} // closed when tendAll is done
	look    chan struct{} // has tendAll look before its time

	closing sync.RWMutex // held to read while a batch is being queued
	closed  bool

	mu      sync.RWMutex // guards days, what is in them, and grown
	days    []*day       // in the order in which they were written
	grown   chan struct{}
	writing *day // one of days; nil until something is written

	// The writer's own.
	seen *seenIDs
	file diskFile // of writing; nil when it is not open
	buf  []byte   // reused

	fullAt atomic.Int64 // how many bytes have to be free before a batch that had no room is tried; 0: the last one had room
}

// Stats count what the store did since it started.
type Stats struct {
	Groups, Batches, Duplicates, Lines, Bytes atomic.Int64 // Bytes are of lines, without commits
	Failures                                  atomic.Int64 // groups that could not be stored
	Sync                                      Histogram    // of how long a group took
	broken                                    atomic.Bool  // the last group could not be stored
}

// Append stores a batch and returns when it is on disk. The error is ErrFull
// where there is no room, ErrClosed at the end, or what the disk said; in each
// case nothing of the batch is stored, and it can be tried again.
func (s *Store) Append(b *Batch) error {
	s.closing.RLock()
	if s.closed {
		s.closing.RUnlock()
		return ErrClosed
	}
	b.done = make(chan error, 1)
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
	case <-s.tended:
	case <-ctx.Done():
		return nil // what it left unfinished is begun anew at the next start
	}
	errs := []error{s.leave()}
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
	group := make([]*Batch, 0, maxGroup)
	for b := range s.queue {
		group = s.join(append(group[:0], b))
		s.answer(group, s.store(group))
	}
}

// join adds what else is queued to group. When the queue is empty it lets other
// goroutines run and looks again, for as long as that brings more: many have just
// been answered and are about to queue their next batch, which this sync can serve.
func (s *Store) join(group []*Batch) []*Batch {
	size, before := len(group[0].Lines), 0
	for size < maxGroupBytes && len(group) < maxGroup {
		select {
		case b, open := <-s.queue:
			if !open {
				return group
			}
			group = append(group, b)
			size += len(b.Lines)
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

func (s *Store) answer(group []*Batch, err error) {
	full := isFull(err)
	if full && !errors.Is(err, ErrFull) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	s.noteRoom(group, full)
	s.Stats.broken.Store(err != nil && !full)
	if err != nil {
		s.Stats.Failures.Add(1)
		s.warn("%d batches refused: %v", len(group), err)
	}
	for _, b := range group {
		if err == nil && b.Duplicate {
			s.Stats.Duplicates.Add(1)
		}
		b.done <- err
	}
}

func isFull(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// noteRoom remembers how much has to be free before what had no room can have it.
func (s *Store) noteRoom(group []*Batch, full bool) {
	if !full {
		s.fullAt.Store(0)
		return
	}
	size := int64(0)
	for _, b := range group {
		size += int64(len(b.Lines))
	}
	free, err := s.disk.Free(s.Dir)
	if err != nil {
		free = 0
	}
	s.fullAt.Store(max(1, free+size))
}

// Ready tells why the next batch would not be stored.
func (s *Store) Ready() error {
	if s.Stats.broken.Load() {
		return errors.New("the last batch could not be stored")
	}
	if err := s.room(0); err != nil {
		return err
	}
	at := s.fullAt.Load()
	free, err := s.disk.Free(s.Dir)
	if at > 0 && (err != nil || free < at) {
		return fmt.Errorf("%w: the last batch had no room, and there is no more of it since", ErrFull)
	}
	return err
}

func (s *Store) room(n int) error {
	free, err := s.disk.Free(s.Dir)
	if err != nil {
		return err
	}
	if free < int64(n)+int64(s.MinFree) {
		return fmt.Errorf("%w: %s has %d bytes free, and %d of them are kept so", ErrFull, s.Dir, free, int64(s.MinFree))
	}
	return nil
}

// store writes the group's new batches. After an error the file is put back to
// what was acknowledged, by a new descriptor: what a descriptor holds after a
// failed sync is not known.
func (s *Store) store(batches []*Batch) error {
	d, err := s.today()
	if err != nil {
		return err
	}
	if err := s.openFile(d); err != nil {
		return err
	}
	g := s.collect(batches, d.size)
	if g == nil {
		return nil // all were stored before
	}
	if err := s.room(len(s.buf)); err != nil {
		return err
	}
	start := time.Now()
	if err := writeSynced(s.file, s.buf, d.size); err != nil {
		d.dirty = true
		return errors.Join(fmt.Errorf("%s: %w", d.path, err), s.closeFile(), s.openFile(d))
	}
	s.Stats.Sync.observe(time.Since(start))
	for _, id := range g.commit.Batches {
		s.seen.add(id)
	}
	s.publish(d, g)
	return nil
}

// collect gathers the new batches' lines and their commit, as they are written.
// It is nil where there are none.
func (s *Store) collect(batches []*Batch, at int64) *group {
	s.buf = s.buf[:0]
	g := &group{from: at, commit: commit{Type: record.TypeCommit, Time: s.clock.now().UTC(), At: at, Batches: []string{}}}
	span := newBlock(at)
	for _, b := range batches {
		if b.Duplicate = b.ID != "" && (s.seen.has(b.ID) || slices.Contains(g.commit.Batches, b.ID)); b.Duplicate {
			continue
		}
		g.batches++
		s.buf = append(s.buf, b.Lines...)
		span.join(&b.span)
		g.commit.Lines += b.Count
		if b.ID != "" {
			g.commit.Batches = append(g.commit.Batches, b.ID)
		}
	}
	if g.batches == 0 {
		return nil
	}
	g.commit.Bytes = int64(len(s.buf))
	s.buf = g.commit.seal(s.buf)
	span.grow(int64(len(s.buf)) - g.commit.Bytes)
	g.to = at + int64(len(s.buf))
	g.blocks = []block{span}
	return g
}

// publish makes what was written visible to readers.
func (s *Store) publish(d *day, g *group) {
	s.Stats.Groups.Add(1)
	s.Stats.Batches.Add(g.batches)
	s.Stats.Lines.Add(int64(g.commit.Lines))
	s.Stats.Bytes.Add(g.commit.Bytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range d.add(g) {
		if err := d.index.append(e); err != nil {
			s.warn("%v", err) // it is read again at the next start
		}
	}
	close(s.grown)
	s.grown = make(chan struct{})
}

// openFile opens the day's file to write, unless it is, and sees to it that it
// is the one that was read, at the length that was acknowledged.
func (s *Store) openFile(d *day) error {
	if s.file != nil {
		return s.checkFile(d)
	}
	if d.stale != nil {
		return s.reopen(d)
	}
	if d.tail {
		if err := s.setAside(d, d.size); err != nil {
			return err
		}
	}
	f, err := s.disk.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.reopen(d)
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, d.info) {
		return errors.Join(f.Close(), s.reopen(d))
	}
	if err == nil && info.Size() != d.size {
		err = truncate(f, d.size)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", d.path, err), f.Close())
	}
	s.file, d.dirty = f, false
	if d.size == 0 {
		return s.begin(d)
	}
	return nil
}

// checkFile looks whether somebody else removed, replaced or changed the file
// that is being written, as far as its length tells.
func (s *Store) checkFile(d *day) error {
	info, err := s.disk.Stat(d.path)
	if err == nil && os.SameFile(info, d.info) && info.Size() == d.size {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path, err := s.keepReplaced(d)
	if err != nil {
		return err
	}
	s.warn("%s was changed by somebody else while it was written; what logd had of it is in %s", d.path, path)
	return errors.Join(s.closeFile(), s.reopen(d))
}

// reopen reads the day's file anew, whatever it is by now, and opens it.
func (s *Store) reopen(d *day) error {
	if err := s.reload(d); err != nil {
		return err
	}
	if d.stale != nil {
		return d.stale
	}
	return s.openFile(d)
}

func (s *Store) closeFile() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Size is how many day files there are, and how many bytes they take.
func (s *Store) Size() (days int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.days {
		bytes += d.fileSize()
	}
	return len(s.days), bytes
}

// Free is how many bytes the log's disk has left.
func (s *Store) Free() (int64, error) { return s.disk.Free(s.Dir) }
