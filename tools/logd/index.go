package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"

	"github.com/tidwall/gjson"
)

// blockSize is how many bytes of lines one entry of the index covers, at
// least: small enough that a query for some minutes reads little else, large
// enough that the index of a year fits in memory.
const blockSize = 256 << 10

// block is a span of whole lines in a day file and the times they are of.
type block struct {
	from, to int64 // in the file
	min, max int64 // of the lines' `time`, in ns since 1970; min > max where none has one
	bytes    int64 // of lines: to - from, but for a packed file
	untimed  bool  // some line has no time
}

func newBlock(from int64) block {
	return block{from: from, to: from, min: math.MaxInt64, max: math.MinInt64}
}

// unknownBlock stands for a span that was not indexed: any time may be in it.
func unknownBlock(from, to int64) block {
	return block{from, to, math.MinInt64, math.MaxInt64, to - from, true}
}

func (b *block) unknown() bool { return b.min == math.MinInt64 && b.max == math.MaxInt64 }

// extend adds a line of n bytes that is of the time at, if it has one.
func (b *block) extend(n, at int64, timed bool) {
	b.to += n
	b.bytes += n
	if !timed {
		b.untimed = true
		return
	}
	b.min, b.max = min(b.min, at), max(b.max, at)
}

// join adds the lines of next, which follow those of b.
func (b *block) join(next block) {
	b.to += next.bytes
	b.bytes += next.bytes
	b.min, b.max = min(b.min, next.min), max(b.max, next.max)
	b.untimed = b.untimed || next.untimed
}

// blocks collects lines that follow one another.
type blocks []block

func (bs *blocks) extend(n, at int64, timed bool) {
	if last := len(*bs) - 1; last < 0 || (*bs)[last].bytes >= blockSize {
		*bs = append(*bs, newBlock(bs.end()))
	}
	(*bs)[len(*bs)-1].extend(n, at, timed)
}

func (bs blocks) end() int64 {
	if len(bs) == 0 {
		return 0
	}
	return bs[len(bs)-1].to
}

// parseTime reads RFC 3339 as ns since 1970. Years that do not fit are no
// times to it.
func parseTime(text string) (int64, bool) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return 0, false
	}
	return at.UnixNano(), true
}

// entrySize is that of a block in an index file: from, to, min, max, bytes,
// untimed, and a checksum of them.
const entrySize = 6*8 + 4

// indexFile keeps the blocks of a day file over a restart. It is a cache: it
// is not synced, and what is missing or wrong in it is read again from the day.
type indexFile struct{ f *os.File }

func openIndex(path string) (*indexFile, []block, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	blocks, err := readIndex(f)
	if err == nil {
		err = f.Truncate(int64(len(blocks)) * entrySize)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return &indexFile{f}, blocks, nil
}

// readIndex reads entries as far as they are whole and follow one another.
func readIndex(r io.Reader) ([]block, error) {
	in := bufio.NewReader(r)
	var blocks []block
	var entry [entrySize]byte
	var end int64
	for {
		_, err := io.ReadFull(in, entry[:])
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return blocks, nil
		}
		if err != nil {
			return nil, err
		}
		b, ok := decodeBlock(entry[:])
		if !ok || b.from != end || b.to < b.from {
			return blocks, nil
		}
		end = b.to
		blocks = append(blocks, b)
	}
}

func encodeBlock(dst []byte, b block) []byte {
	start := len(dst)
	untimed := int64(0)
	if b.untimed {
		untimed = 1
	}
	for _, n := range []int64{b.from, b.to, b.min, b.max, b.bytes, untimed} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}

func decodeBlock(entry []byte) (block, bool) {
	var n [6]int64
	for i := range n {
		n[i] = int64(binary.LittleEndian.Uint64(entry[i*8:]))
	}
	sum := binary.LittleEndian.Uint32(entry[6*8:])
	return block{n[0], n[1], n[2], n[3], n[4], n[5] != 0}, sum == crc32.ChecksumIEEE(entry[:6*8])
}

func (x *indexFile) append(b block) error {
	_, err := x.f.Write(encodeBlock(nil, b))
	return err
}

// rewrite replaces all blocks.
func (x *indexFile) rewrite(blocks []block) error {
	var all []byte
	for _, b := range blocks {
		all = encodeBlock(all, b)
	}
	if err := x.f.Truncate(0); err != nil {
		return err
	}
	_, err := x.f.Write(all)
	return err
}

func (x *indexFile) close() error {
	if x == nil {
		return nil
	}
	return x.f.Close()
}

// indexLines makes the blocks of the lines that r holds between from and to.
// The last one may be smaller than the others.
func indexLines(r io.ReaderAt, from, to int64) ([]block, error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, from, to-from), 1<<20)
	var blocks []block
	current := newBlock(from)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			at, timed := parseTime(gjson.GetBytes(line, "time").Str)
			current.extend(int64(len(line)), at, timed)
		}
		if current.bytes >= blockSize || err == io.EOF && current.bytes > 0 {
			blocks = append(blocks, current)
			current = newBlock(current.to)
		}
		if err == io.EOF {
			return blocks, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
