package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
)

// age is a flag's value: a duration that may be given in days.
type age time.Duration

func (a *age) String() string {
	if d := time.Duration(*a); d%(24*time.Hour) != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dd", time.Duration(*a)/(24*time.Hour))
}

// Type is the flag's placeholder in --help.
func (a *age) Type() string { return "age" }

// Set parses an age; a negative one is refused.
func (a *age) Set(text string) error {
	d, err := parseAge(text)
	if err != nil {
		return fmt.Errorf("not an age such as 30d or 12h: %q", text)
	}
	*a = age(d)
	return nil
}

const unfinishedExt = ".tmp"

// keepEvery is how often old days are looked after.
const keepEvery = time.Minute

// keep looks after the days that are closed, until the store is: it indexes
// those whose index was lost, compresses, and removes what is too old or too
// much. The day that is written to is never touched.
func (s *Store) keep() {
	defer close(s.kept)
	for {
		for _, d := range s.unindexed() {
			if err := s.reindex(d); err != nil {
				s.warn("%s: %v", d.path, err)
			}
		}
		if err := s.retire(); err != nil && !errors.Is(err, errClosed) {
			s.warn("%v", err)
		}
		select {
		case <-s.stop:
			return
		case <-time.After(keepEvery):
		}
	}
}

// retire removes and compresses.
func (s *Store) retire() error {
	var errs []error
	for _, d := range s.expired() {
		errs = append(errs, s.remove(d))
	}
	for _, d := range s.closedDays() {
		if s.compress && !d.packed {
			errs = append(errs, s.pack(d))
		}
	}
	return errors.Join(errs...)
}

// closedDays are all but the last. Of them only this goroutine changes any.
func (s *Store) closedDays() []*day {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.days) == 0 {
		return nil
	}
	return append([]*day(nil), s.days[:len(s.days)-1]...)
}

// expired are the days that ended longer ago than retain, and the oldest of
// those that together with all later ones take more than retainBytes.
func (s *Store) expired() []*day {
	days := s.closedDays()
	over := int64(0)
	if last := s.lastDay(); last != nil && s.retainBytes > 0 {
		s.mu.RLock()
		over = last.size - int64(s.retainBytes)
		s.mu.RUnlock()
		for _, d := range days {
			over += d.size
		}
	}
	var old []*day
	for _, d := range days {
		began, _ := time.Parse(dayLayout, d.name)
		aged := s.retain > 0 && s.now().Sub(began.AddDate(0, 0, 1)) > time.Duration(s.retain)
		if !aged && over <= 0 {
			break
		}
		over -= d.size
		old = append(old, d)
	}
	return old
}

func (s *Store) remove(d *day) error {
	s.mu.Lock()
	s.days = s.days[1:]
	s.mu.Unlock()
	err := errors.Join(os.Remove(d.path), d.index.close())
	aside, _ := filepath.Glob(filepath.Join(s.dir, d.name+plainExt+".*"+quarantineExt))
	for _, path := range aside {
		err = errors.Join(err, os.Remove(path))
	}
	for _, own := range []string{".batches", ".index", ".zst.index"} {
		if gone := os.Remove(s.own(d.name + own)); !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		return err
	}
	s.warn("%s was removed: its time was over", d.path)
	return nil
}

// pack replaces a day's file by a compressed one. Each block is a frame of its
// own, so that a query reads no more of it than of a plain file, and `zstdcat`
// reads it all.
func (s *Store) pack(d *day) error {
	for _, b := range d.blocks {
		if b.unknown() {
			return nil // not yet indexed
		}
	}
	tmp := s.own(d.name + unfinishedExt)
	packed, err := s.writePacked(d, tmp)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: compress: %w", d.path, err), os.Remove(tmp))
	}
	index, _, err := openIndex(s.own(d.name + ".zst.index"))
	if err != nil {
		return err
	}
	if err := index.rewrite(packed); err != nil {
		return err
	}
	plain, path := d.path, d.path+packedExt[len(plainExt):]
	if err := errors.Join(os.Rename(tmp, path), syncDir(s.dir)); err != nil {
		return err
	}
	s.mu.Lock()
	old := d.index
	d.path, d.packed, d.index, d.blocks = path, true, index, packed
	d.size = blocks(packed).end()
	d.open = newBlock(d.size)
	s.mu.Unlock()
	return errors.Join(old.close(), os.Remove(plain), os.Remove(s.own(d.name+".index")))
}

func (s *Store) writePacked(d *day, path string) ([]block, error) {
	in, err := os.Open(d.path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	packed, err := s.packBlocks(append(d.blocks[:len(d.blocks):len(d.blocks)], d.open), in, out)
	return packed, errors.Join(err, out.Sync(), out.Close())
}

func (s *Store) packBlocks(plain []block, in io.ReaderAt, out io.Writer) ([]block, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	var packed []block
	var text, frame []byte
	at := int64(0)
	for _, b := range plain {
		select {
		case <-s.stop:
			return nil, errClosed
		default:
		}
		if b.bytes == 0 {
			continue
		}
		text = append(text[:0], make([]byte, b.bytes)...)
		if _, err := in.ReadAt(text, b.from); err != nil {
			return nil, err
		}
		frame = encoder.EncodeAll(text, frame[:0])
		if _, err := out.Write(frame); err != nil {
			return nil, err
		}
		b.from, b.to = at, at+int64(len(frame))
		at = b.to
		packed = append(packed, b)
	}
	return packed, nil
}

// unindexed are the days whose index was lost.
func (s *Store) unindexed() []*day {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var lost []*day
	for _, d := range s.days {
		for i := range d.blocks {
			if d.blocks[i].unknown() {
				lost = append(lost, d)
				break
			}
		}
	}
	return lost
}

// reindex reads what is not indexed of a day. A compressed day is unpacked,
// and compressed anew later.
func (s *Store) reindex(d *day) error {
	if d.packed {
		return s.unpack(d)
	}
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	s.mu.RLock()
	old := d.blocks
	s.mu.RUnlock()
	var known []block
	for _, b := range old {
		read := []block{b}
		if b.unknown() {
			if read, err = indexLines(f, b.from, b.to); err != nil {
				return err
			}
		}
		known = append(known, read...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.blocks = append(known, d.blocks[len(old):]...)
	return d.index.rewrite(d.blocks)
}

func (s *Store) unpack(d *day) error {
	in, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := zstd.NewReader(bufio.NewReader(in), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer z.Close()
	tmp := s.own(d.name + unfinishedExt)
	out, err := os.Create(tmp)
	if err != nil {
		return err
	}
	size, err := io.Copy(out, z)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	plain := &day{name: d.name, path: d.path[:len(d.path)-len(packedExt)] + plainExt, size: size}
	f, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	index, _, err := openIndex(s.own(d.name + ".index"))
	if err != nil {
		return err
	}
	if plain.blocks, err = indexLines(f, 0, size); err != nil {
		return err
	}
	if err := errors.Join(index.rewrite(plain.blocks), os.Rename(tmp, plain.path), syncDir(s.dir), os.Remove(d.path)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := d.index
	d.path, d.packed, d.index, d.blocks, d.size, d.open = plain.path, false, index, plain.blocks, size, newBlock(size)
	return old.close()
}
