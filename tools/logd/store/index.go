package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	"winnow/tools/internal/record"

	"golang.org/x/sys/unix"
)

// blockSize is how many bytes of lines one entry of the index covers, at
// least: small enough that a query for some minutes reads little else, large
// enough that the index of a year fits in memory.
const blockSize = 256 << 10

// block is a span of whole lines in a day file and the times they are of.
type block struct {
	At      int64 `json:"at"`      // in the plain day
	Bytes   int64 `json:"bytes"`   // of plain lines
	From    int64 `json:"from"`    // and To: in the file, which is the same unless it is compressed
	To      int64 `json:"to"`      //
	Min     int64 `json:"min"`     // and Max: of the lines' `time`, in ns since 1970; Min > Max where none has one
	Max     int64 `json:"max"`     //
	Longest int64 `json:"longest"` // bytes of its longest line
	Untimed bool  `json:"untimed"` // some line has no time
}

func newBlock(at int64) block {
	return block{At: at, From: at, To: at, Min: math.MaxInt64, Max: math.MinInt64}
}

// unknownBlock stands for a span that was not read: any time may be in it.
func unknownBlock(at, n, from, to int64) block {
	return block{at, n, from, to, math.MinInt64, math.MaxInt64, record.MaxLine, true}
}

func (b *block) end() int64    { return b.At + b.Bytes }
func (b *block) unknown() bool { return b.Min == math.MinInt64 && b.Max == math.MaxInt64 }

// grow adds bytes that are of no line.
func (b *block) grow(n int64) {
	b.Bytes += n
	b.To += n
}

// extend adds a line of n bytes that is of the time at, if it has one.
func (b *block) extend(n, at int64, timed bool) {
	b.grow(n)
	b.Longest = max(b.Longest, n)
	if !timed {
		b.Untimed = true
		return
	}
	b.Min, b.Max = min(b.Min, at), max(b.Max, at)
}

// join adds the lines of next, which follow those of b.
func (b *block) join(next *block) {
	b.grow(next.Bytes)
	b.Min, b.Max = min(b.Min, next.Min), max(b.Max, next.Max)
	b.Longest = max(b.Longest, next.Longest)
	b.Untimed = b.Untimed || next.Untimed
}

// entry is what the index holds of a block.
type entry struct {
	block
	Commit  string   `json:"commit"`  // the checksum of its last commit, which ends it; "" within an adopted group
	Batches []string `json:"batches"` // that are stored in it
}

// indexFile keeps the entries of a day over a restart, each a line of JSON
// behind its checksum. It is a cache: it is not synced, and what is missing or
// wrong in it is read again from the day. A nil one, where none could be opened,
// forgets.
type indexFile struct{ f *os.File }

func openIndex(path string, group int) (*indexFile, []entry, error) {
	if err := makeDir(filepath.Dir(path), group); err != nil {
		return nil, nil, err
	}
	f, err := openOwned(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, group)
	if err != nil {
		return nil, nil, err
	}
	entries, whole, err := readIndex(f)
	if err == nil {
		err = f.Truncate(whole)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &indexFile{f}, entries, nil
}

// readIndex reads entries as far as they are whole and follow one another, and
// how many bytes they take.
func readIndex(f *os.File) (entries []entry, whole int64, err error) {
	in := newLineReader(f)
	var ids lastIDs
	for {
		line, err := in.next()
		if err != nil || len(line) == 0 {
			return entries, whole, ignoreEOF(err)
		}
		e, ok := decodeEntry(line)
		if n := len(entries); !ok || n == 0 && (e.At != 0 || e.From != 0) || n > 0 && (e.At != entries[n-1].end() || e.From != entries[n-1].To) {
			return entries, whole, nil
		}
		entries = append(entries, e)
		ids.trim(entries)
		whole += int64(len(line))
	}
}

func encodeEntry(e *entry) []byte {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // there is nothing in it that could not be written
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text)
}

func decodeEntry(line []byte) (e entry, ok bool) {
	sum, text, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '})
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) || json.Unmarshal(text, &e) != nil {
		return e, false
	}
	return e, e.Bytes >= 0 && e.To >= e.From
}

func (x *indexFile) append(e entry) error {
	if x == nil {
		return nil
	}
	_, err := x.f.Write(encodeEntry(&e))
	return err
}

// rewrite replaces all entries.
func (x *indexFile) rewrite(entries []entry) error {
	if x == nil {
		return nil
	}
	if err := x.f.Truncate(0); err != nil {
		return err
	}
	for _, e := range entries {
		if err := x.append(e); err != nil {
			return err
		}
	}
	return nil
}

func (x *indexFile) close() error {
	if x == nil {
		return nil
	}
	return x.f.Close()
}

// remove takes the file away; the day has another one.
func (x *indexFile) remove() error {
	if x == nil {
		return nil
	}
	return errors.Join(x.f.Close(), ignoreMissing(os.Remove(x.f.Name())))
}

// indexer makes the entries of a day from its groups.
type indexer struct {
	open entry
}

// add joins a group to the block that is open, and returns the entries that it
// closed. An adopted group may be of any length, and has blocks of its own.
func (x *indexer) add(g *group) (closed []entry) {
	if len(g.blocks) > 1 && x.open.Bytes > 0 {
		closed = append(closed, x.close())
	}
	for i := range g.blocks {
		x.open.join(&g.blocks[i])
		if last := i == len(g.blocks)-1; last {
			x.open.Commit = g.commit.CRC32C
			x.open.Batches = append(x.open.Batches, g.commit.Batches...)
		}
		if x.open.Bytes >= blockSize {
			closed = append(closed, x.close())
		}
	}
	return closed
}

func (x *indexer) close() entry {
	e := x.open
	x.open = entry{block: newBlock(e.end())}
	x.open.From, x.open.To = e.To, e.To
	return e
}

// makeDir makes a directory that the group may read, unless it is there. A
// symbolic link to one is none.
func makeDir(path string, group int) error {
	err := os.Mkdir(path, dirMode)
	if errors.Is(err, os.ErrExist) {
		info, err := os.Lstat(path)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is no directory", path)
		}
		return err
	}
	if err != nil {
		return err
	}
	return own(path, dirMode, group)
}

const (
	fileMode = 0o640
	dirMode  = 0o750
)

// own gives a file its mode, whatever the umask, and the group that may read it
// where it is in this process's power.
func own(path string, mode os.FileMode, group int) error {
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	if err := os.Lchown(path, -1, group); err != nil && !errors.Is(err, unix.EPERM) {
		return err
	}
	return nil
}

// openOwned opens a file of the log, or makes it. A symbolic link is not
// followed, and what is no file neither read nor waited for.
func openOwned(path string, flags int, group int) (*os.File, error) {
	f, err := os.OpenFile(path, flags&^os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == nil {
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file", path)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	if !errors.Is(err, os.ErrNotExist) || flags&os.O_CREATE == 0 {
		return nil, err
	}
	f, err = os.OpenFile(path, flags|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	if err := own(path, fileMode, group); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
