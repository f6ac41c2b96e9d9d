package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"winnow/tools/internal/record"

	"golang.org/x/sys/unix"
)

// Days from before have no commits. Beside them, in .logd, lay a journal of each
// day's batches, a line `FROM TO ID` for each, and a write-ahead log of the last
// groups. This file reads these one last time.

const (
	journalExt = ".batches"
	walName    = "wal"
)

// adopt puts the lines of a day that has no commit under one, with the ids of
// its batches. x is then what the day holds.
func (s *Store) adopt(d *day, f *os.File, x *found) error {
	end, ids, err := wholeEnd(f, d.info.Size(), s.own(d.name+journalExt))
	if err != nil || end == 0 {
		return err
	}
	g, sum, err := readLines(f, end)
	if err != nil {
		return err
	}
	first, rest := ids[:min(len(ids), maxGroup)], ids[min(len(ids), maxGroup):]
	g.commit = commit{Type: record.TypeCommit, Time: s.clock.now().UTC(), Bytes: end, Lines: g.last, Batches: append([]string{}, first...), Adopted: true}
	text := g.commit.sealWith(nil, sum)
	g.to = end + int64(len(text))
	g.grow(int64(len(text)))
	groups := []*group{g}
	for len(rest) > 0 { // a line of them all would be longer than any other
		n := min(len(rest), maxGroup)
		more := &group{from: g.to, commit: commit{Type: record.TypeCommit, Time: g.commit.Time, At: g.to, Batches: rest[:n], Adopted: true}}
		line := more.commit.seal(nil)
		more.to = more.from + int64(len(line))
		more.grow(int64(len(line)))
		text, groups, rest, g = append(text, line...), append(groups, more), rest[n:], more
	}
	if d.stale = s.append(d, end, text); d.stale != nil {
		groups[0].blocks[len(groups[0].blocks)-1].grow(end - groups[0].to)
		groups[0].to = end
		groups = groups[:1]
	}
	for _, g := range groups {
		x.closed = append(x.closed, x.add(g)...)
		x.size = g.to
	}
	x.addIDs(ids)
	return nil
}

// append writes text where the whole lines of a day end, and sets aside what is
// there. When it fails the day is read as it is, and this is tried again before
// it is written to.
func (s *Store) append(d *day, end int64, text []byte) error {
	if err := s.appendTo(d, end, text); err != nil {
		err = fmt.Errorf("%s is from before, and cannot be given a commit: %w", d.path, err)
		s.warn("%v", err)
		return err
	}
	return nil
}

func (s *Store) appendTo(d *day, end int64, text []byte) error {
	if d.info.Size() > end {
		if err := s.setAside(d, end); err != nil {
			return err
		}
	}
	if err := s.room(len(text)); err != nil {
		return err
	}
	f, err := s.disk.Open(d.path)
	if err != nil {
		return err
	}
	if err := writeSynced(f, text, end); err != nil {
		return errors.Join(err, f.Truncate(end), f.Close())
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.setFile(d, info)
	return ignoreMissing(os.Remove(s.own(d.name + journalExt)))
}

// readLines reads lines that have no commit, and their checksum.
func readLines(f io.ReaderAt, end int64) (*group, uint32, error) {
	g, sum := &group{}, uint32(0)
	in := newLineReader(io.NewSectionReader(f, 0, end))
	for {
		line, err := in.next()
		if err != nil || len(line) == 0 {
			return g, sum, err
		}
		g.extend(line)
		sum = crc32.Update(sum, castagnoli, line)
		g.last++
	}
}

// wholeEnd is where the whole lines of a day from before end, whole batches
// where the journal knows them, and the ids of these.
func wholeEnd(f io.ReaderAt, size int64, journal string) (end int64, ids []string, err error) {
	for torn := size; ; {
		if end, err = tornTail(f, torn); err != nil {
			return 0, nil, err
		}
		if ids, torn, err = readJournal(journal, end); err != nil {
			return 0, nil, err
		}
		if torn >= end {
			return end, ids, nil
		}
	}
}

// readJournal reads the ids of the batches that end within size. torn is where
// the first one began that does not, or else size.
func readJournal(path string, size int64) (ids []string, torn int64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, size, ignoreMissing(err)
	}
	for line := range bytes.Lines(text) {
		from, to, id, ok := parseExtent(line)
		if !ok {
			return ids, size, nil
		}
		if to > size {
			return ids, min(from, size), nil
		}
		ids = append(ids, id)
	}
	return ids[max(0, len(ids)-keptIDs):], size, nil
}

// oldIDs are those of a day that is not read yet.
func oldIDs(journal string) ([]string, error) {
	ids, _, err := readJournal(journal, 1<<62)
	return ids, err
}

func parseExtent(line []byte) (from, to int64, id string, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) != 3 || line[len(line)-1] != '\n' || !record.ValidBatchID(string(fields[2])) {
		return 0, 0, "", false
	}
	from, err1 := strconv.ParseInt(string(fields[0]), 10, 64)
	to, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
	return from, to, string(fields[2]), err1 == nil && err2 == nil && from >= 0 && from <= to
}

// tornTail is where the whole lines within a file's first size bytes end. What
// comes after them was being written when the machine stopped: part of a line,
// or the zeros of a block that never got its data.
func tornTail(f io.ReaderAt, size int64) (end int64, err error) {
	end, err = trimZeros(f, size)
	var line record.Line
	for err == nil && end > 0 {
		var text []byte
		if text, err = lastLine(f, end); err != nil {
			break
		}
		body, whole := bytes.CutSuffix(text, []byte{'\n'})
		if whole && line.Parse(body) == nil {
			break
		}
		end -= int64(len(text))
	}
	return end, err
}

// trimZeros is where the zeros at the end of f's first size bytes begin.
func trimZeros(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for size > 0 {
		chunk := buf[:min(size, int64(len(buf)))]
		if _, err := f.ReadAt(chunk, size-int64(len(chunk))); err != nil {
			return 0, err
		}
		kept := len(bytes.TrimRight(chunk, "\x00"))
		size -= int64(len(chunk) - kept)
		if kept > 0 {
			break
		}
	}
	return size, nil
}

// walRecord is what a group added to a day, as the write-ahead log held it.
type walRecord struct {
	day      string
	at, size int64  // of the lines, in the day file
	linesSum uint32 // their checksum
	lines    []byte // none where there were too many
	idsAt    int64  // in the journal
	ids      []byte
}

const walBlock = 4 << 10 // a record fills whole ones

// parseWAL reads the records that text begins with, up to what is none: a line
// `CHECKSUM DAY AT SIZE LINESCHECKSUM LENGTH IDSAT LENGTH`, the lines and the
// ids. The checksum includes the one of the record before.
func parseWAL(text []byte) (records []walRecord) {
	sum := uint32(0)
	for {
		var r walRecord
		var next uint32
		var lines, ids int
		head := bytes.IndexByte(text[:min(len(text), walBlock)], '\n') + 1
		rest := text[head:]
		_, err := fmt.Sscanf(string(text[:head]), "%08x %s %d %d %08x %d %d %d\n", &next, &r.day, &r.at, &r.size, &r.linesSum, &lines, &r.idsAt, &ids)
		if err != nil || min(r.at, r.size, r.idsAt) < 0 || min(lines, ids) < 0 || max(lines, ids) > len(rest) || lines+ids > len(rest) {
			return records
		}
		taken := head + lines + ids
		if next != crc32.Update(sum, castagnoli, text[8:taken]) {
			return records
		}
		r.lines, r.ids = rest[:lines], rest[lines:lines+ids]
		records = append(records, r)
		text, sum = text[min((taken+walBlock-1)/walBlock*walBlock, len(text)):], next
	}
}

// keepOldOff fails where a logd from before writes, which knows another lock.
func (s *Store) keepOldOff() error {
	f, err := os.Open(s.own("lock"))
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s: another logd writes here: %w", s.Dir, err), s.lock.Close())
	}
	return os.Remove(f.Name())
}

// replayOld writes what a write-ahead log holds to the day and the journal that
// it is of. Most or all of it is there already; it is the same.
func (s *Store) replayOld() error {
	text, err := os.ReadFile(s.own(walName))
	if err != nil || len(text) == 0 {
		return ignoreMissing(err)
	}
	records := parseWAL(text)
	for i, r := range records {
		if err := s.replayRecord(r, i == len(records)-1); err != nil {
			return fmt.Errorf("%s: its lines could not be put where they belong: %w", s.own(walName), err)
		}
	}
	if len(records) > 0 {
		s.warn("%s was replayed: %d groups of a logd from before", s.own(walName), len(records))
	}
	return os.Remove(s.own(walName))
}

func (s *Store) replayRecord(r walRecord, last bool) error {
	if filepath.Base(r.day) != r.day {
		return fmt.Errorf("not a day: %q", r.day)
	}
	f, err := s.disk.Open(filepath.Join(s.Dir, r.day+plainExt))
	if err != nil {
		return ignoreMissing(err) // it was compressed or removed since
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < r.at {
		s.warn("%s%s has %d bytes, but had %d when logd went: of its last lines some are gone", r.day, plainExt, info.Size(), r.at)
		return nil
	}
	if len(r.lines) == 0 && last && !r.isIn(f) { // a large group that was being written
		return truncate(f, r.at)
	}
	if err := writeSynced(f, r.lines, r.at); err != nil {
		return err
	}
	journal, err := openOwned(s.own(r.day+journalExt), os.O_CREATE|os.O_RDWR, s.group)
	if err != nil {
		return err
	}
	_, err = journal.WriteAt(r.ids, r.idsAt)
	return errors.Join(err, journal.Sync(), journal.Close())
}

// isIn tells whether file holds the lines of a large group, each byte of them.
func (r walRecord) isIn(file io.ReaderAt) bool {
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.NewSectionReader(file, r.at, r.size))
	return err == nil && n == r.size && sum.Sum32() == r.linesSum
}
