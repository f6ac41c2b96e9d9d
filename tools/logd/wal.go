package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
)

// A file that grows takes several writes to the disk for each sync: its data,
// its length, where its blocks are, and they may get there in any order. So a
// group goes first into the write-ahead log, .logd/wal, whose blocks are there
// already: one write makes its lines and its ids durable together. The files
// that they belong to are written too, and synced when the log is full. After
// a crash they are written again. Of a large group the log holds the ids and a
// checksum, and the day file is synced at once.
const (
	walName  = "wal"
	walSize  = 1 << 20
	walBlock = 4 << 10  // a record has blocks of its own: one torn write cannot harm another
	walGroup = 64 << 10 // a larger group is not written twice
)

// walRecord is what a group adds to a day.
type walRecord struct {
	day      string
	at, size int64  // of the lines, in the day file
	linesSum uint32 // their checksum
	lines    []byte // nil when there are too many
	idsAt    int64  // in the journal
	ids      []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newWALRecord(day string, at int64, lines []byte, idsAt int64, ids []byte) walRecord {
	r := walRecord{day, at, int64(len(lines)), crc32.Checksum(lines, castagnoli), nil, idsAt, ids}
	if len(lines) <= walGroup {
		r.lines = lines
	}
	return r
}

// appendTo encodes the record as a line `CHECKSUM DAY AT SIZE LINESCHECKSUM
// LENGTH IDSAT LENGTH`, the lines and the ids, filled up with zeros to whole
// blocks. The checksum includes the one of the record before, so that what is
// left of an earlier round does not pass for the next one.
func (r walRecord) appendTo(dst []byte, before uint32) (record []byte, sum uint32) {
	dst = fmt.Appendf(dst, "%08x %s %d %d %08x %d %d %d\n", 0, r.day, r.at, r.size, r.linesSum, len(r.lines), r.idsAt, len(r.ids))
	dst = append(append(dst, r.lines...), r.ids...)
	sum = crc32.Update(before, castagnoli, dst[8:])
	copy(dst, fmt.Sprintf("%08x", sum))
	return append(dst, make([]byte, wholeBlocks(len(dst))-len(dst))...), sum
}

func wholeBlocks(n int) int { return (n + walBlock - 1) / walBlock * walBlock }

// parseWALRecord reads the record that text begins with. taken is how many
// bytes it is, 0 where there is none.
func parseWALRecord(text []byte, before uint32) (r walRecord, taken int, sum uint32) {
	head := bytes.IndexByte(text[:min(len(text), walBlock)], '\n') + 1
	rest := text[head:]
	var lines, ids int
	_, err := fmt.Sscanf(string(text[:head]), "%08x %s %d %d %08x %d %d %d\n", &sum, &r.day, &r.at, &r.size, &r.linesSum, &lines, &r.idsAt, &ids)
	if err != nil || min(r.at, r.size, r.idsAt) < 0 || min(lines, ids) < 0 || max(lines, ids) > len(rest) || lines+ids > len(rest) {
		return walRecord{}, 0, 0
	}
	taken = head + lines + ids
	if sum != crc32.Update(before, castagnoli, text[8:taken]) {
		return walRecord{}, 0, 0
	}
	if lines > 0 {
		r.lines = rest[:lines]
	}
	r.ids = rest[lines : lines+ids]
	return r, min(wholeBlocks(taken), len(text)), sum
}

// parseWAL reads the records that text begins with, up to what is none.
func parseWAL(text []byte) []walRecord {
	var records []walRecord
	var sum uint32
	for {
		r, taken, next := parseWALRecord(text, sum)
		if taken == 0 {
			return records
		}
		records = append(records, r)
		text, sum = text[taken:], next
	}
}

// wal is the write-ahead log while it is written.
type wal struct {
	diskFile
	end int64  // of the last record
	sum uint32 // its checksum
	buf []byte // reused
}

// createWAL makes an empty one, whose blocks are all on disk.
func createWAL(d disk, path string) (*wal, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(0)
	if err == nil {
		err = writeSynced(f, make([]byte, walSize), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &wal{diskFile: f}, nil
}

var errWALFull = errors.New("the write-ahead log is full")

// add writes and syncs a record. The error is errWALFull where there is no
// room for it; nothing is written then.
func (w *wal) add(r walRecord) error {
	record, sum := r.appendTo(w.buf[:0], w.sum)
	w.buf = record
	if w.end+int64(len(record)) > walSize {
		return errWALFull
	}
	if err := writeSynced(w, record, w.end); err != nil {
		return fmt.Errorf("its write-ahead log: %w", err)
	}
	w.end, w.sum = w.end+int64(len(record)), sum
	return nil
}

// restart has the next record overwrite the first: all are where they belong.
func (w *wal) restart() { w.end, w.sum = 0, 0 }

// removeWAL ends a log whose files hold all of it, so that they may be changed
// by hand until the next start.
func (s *Store) removeWAL() error {
	err := os.Remove(s.own(walName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// replay writes to d's files what the write-ahead log holds of it, as far as
// it ends within size, and syncs them. Most or all of it is there already; it
// is the same. end is where a large group begins that was being written when
// the machine stopped, else size.
func (s *Store) replay(d *day, size int64) (end int64, err error) {
	records, err := s.readWAL(d, size)
	if err != nil || len(records) == 0 {
		return size, err
	}
	file, err := s.disk.Open(d.path)
	if err != nil {
		return 0, err
	}
	journal, err := s.disk.Open(s.own(d.name + ".batches"))
	if err != nil {
		return 0, errors.Join(err, file.Close())
	}
	end = size
	if last := records[len(records)-1]; last.lines == nil && !last.isIn(file) {
		records, end = records[:len(records)-1], last.at
	}
	return end, errors.Join(rewrite(records, file, journal), file.Close(), journal.Close())
}

func rewrite(records []walRecord, file, journal diskFile) error {
	for _, r := range records {
		_, err1 := file.WriteAt(r.lines, r.at)
		_, err2 := journal.WriteAt(r.ids, r.idsAt)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
	}
	return errors.Join(file.Datasync(), journal.Datasync())
}

// isIn tells whether file holds the lines of a large group, each byte of them.
func (r walRecord) isIn(file io.ReaderAt) bool {
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.NewSectionReader(file, r.at, r.size))
	return err == nil && n == r.size && sum.Sum32() == r.linesSum
}

// readWAL reads the records of d that end within size. Where its file is too
// short for them the log is set aside.
func (s *Store) readWAL(d *day, size int64) ([]walRecord, error) {
	text, err := os.ReadFile(s.own(walName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	records := parseWAL(text)
	records = slices.DeleteFunc(records, func(r walRecord) bool { return r.day != d.name || r.at+r.size > size })
	if len(records) == 0 {
		return nil, nil
	}
	info, err := os.Stat(d.path)
	if err != nil {
		return nil, err
	}
	have := info.Size()
	for _, r := range records {
		if have < r.at { // somebody cut it: what the log does not hold was synced
			aside := s.own(walName + quarantineExt)
			s.warn("%s has %d bytes, but had %d when logd went; its last lines are now in %s", d.path, info.Size(), r.at, aside)
			return nil, os.Rename(s.own(walName), aside)
		}
		have = max(have, r.at+int64(len(r.lines)))
	}
	return records, nil
}
