package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"winnow/tools/internal/record"

	"github.com/tidwall/gjson"
	"golang.org/x/sys/unix"
)

// group is lines that were stored at once, with their commit, or what is read
// back of them.
type group struct {
	from, to int64 // in the plain day, the commit included
	first    int   // number of the first line in the day, from 1, where it was read
	last     int   // and of the commit
	blocks   []block
	batches  int64 // that are new in it
	commit   commit
	fault    string // what is not as it was committed; "" for nothing
	missing  int64  // how many bytes before it are gone, by the commits' count; below 0, how many were put in
}

// largest is more than the longest group that logd writes: a batch that fills a
// request, beside others, and a commit. Only an adopted one is longer.
const largest = 16 << 20

// groupReader reads the groups of a day.
type groupReader struct {
	in      *lineReader
	at      int64 // in the plain day, of the next line
	number  int   // of the last line
	claimed int64 // where the next group begins by the count of the commits
	next    *group

	more func() (io.Reader, error)    // what goes on where the reader ends; nil for nothing
	line func(line []byte, c *commit) // is told of each; may be nil
}

func newGroupReader(r io.Reader, at, claimed int64) *groupReader {
	return &groupReader{in: newLineReader(r), at: at, claimed: claimed}
}

// read reads the next group. At the end the error is io.EOF, and rest is what
// follows the last commit, if anything does.
func (r *groupReader) read() (g *group, rest *group, err error) {
	if g, r.next = r.next, nil; g != nil {
		return g, nil, nil
	}
	g = &group{from: r.at, to: r.at, first: r.number + 1, last: r.number}
	var text []byte // of the group, as long as it is none that was adopted
	sum := uint32(0)
	for {
		line, err := r.nextLine()
		if err != nil {
			return nil, g, err
		}
		r.at += int64(len(line))
		if line[len(line)-1] == '\n' {
			r.number++
		}
		g.to, g.last = r.at, r.number
		c, ok := parseCommit(line)
		if r.line != nil {
			r.line(line, &c)
		}
		if ok {
			return r.end(g, c, text, sum, line), nil, nil
		}
		sum = crc32.Update(sum, castagnoli, line)
		g.extend(line)
		if g.to-g.from <= largest {
			text = append(text, line...)
		}
	}
}

func (r *groupReader) nextLine() ([]byte, error) {
	for {
		line, err := r.in.next()
		if err != nil || len(line) > 0 {
			return line, err
		}
		if r.more == nil {
			return nil, io.EOF
		}
		if len(r.in.long) > 0 { // a frame that ends within what is no line
			return r.in.long, nil
		}
		in, err := r.more()
		if err != nil {
			return nil, err
		}
		r.in.in.Reset(in)
	}
}

// end completes a group by its commit. Where a commit before it was damaged,
// the lines of two groups seem to be one: then the second is kept for the next
// call.
func (r *groupReader) end(g *group, c commit, text []byte, sum uint32, line []byte) *group {
	begin := g.to - int64(len(line)) - c.Bytes
	if extra := begin - g.from; extra > 0 && int64(len(text)) == extra+c.Bytes && text[extra-1] == '\n' &&
		sumWith(crc32.Checksum(text[extra:], castagnoli), line) == c.CRC32C {
		lines := text[extra:]
		before := bytes.Count(text[:extra], []byte{'\n'})
		second := &group{from: begin, to: g.to, first: g.first + before, last: g.last}
		for l := range bytes.Lines(lines) {
			second.extend(l)
		}
		if c.At != r.claimed { // else they were put in
			r.claimed += extra
		}
		r.finish(second, c, r.order(c, begin), line)
		r.next = second
		first := &group{from: g.from, to: begin, first: g.first, last: g.first + before - 1, fault: "it has no commit that can be read"}
		for l := range bytes.Lines(text[:extra]) {
			first.extend(l)
		}
		return first
	}
	fault := r.order(c, g.from)
	switch {
	case begin != g.from:
		fault = fmt.Sprintf("its commit is of %d bytes, and it has %d", c.Bytes, g.to-int64(len(line))-g.from)
	case sumWith(sum, line) != c.CRC32C:
		fault = "its checksum is wrong"
	}
	r.finish(g, c, fault, line)
	return g
}

// order tells what is wrong with a commit of lines that begin at from, if it is
// neither of this place nor of one that went on from the commit before.
func (r *groupReader) order(c commit, from int64) string {
	if c.At == from || c.At >= r.claimed {
		return ""
	}
	return fmt.Sprintf("it was committed at byte %d", c.At)
}

func (r *groupReader) finish(g *group, c commit, fault string, line []byte) {
	g.commit, g.fault = c, fault
	g.grow(int64(len(line)))
	if fault == "" {
		g.missing = c.At - r.claimed
	}
	if fault == "" || c.At == r.claimed {
		r.claimed = c.At + c.Bytes + int64(len(line))
	} else {
		r.claimed += g.to - g.from
	}
}

// extend adds a line to the group's blocks.
func (g *group) extend(line []byte) {
	at, timed := lineTime(line)
	if n := len(g.blocks); n == 0 || g.blocks[n-1].Bytes >= blockSize {
		begin := g.from
		if n > 0 {
			begin = g.blocks[n-1].end()
		}
		g.blocks = append(g.blocks, newBlock(begin))
	}
	g.blocks[len(g.blocks)-1].extend(int64(len(line)), at, timed)
}

// lineTime is the time that a line is of, if it has one.
func lineTime(line []byte) (at int64, timed bool) {
	return record.ParseTime(gjson.GetBytes(line, "time").Str)
}

// grow adds the commit. Unless the group was adopted it is one block.
func (g *group) grow(commit int64) {
	if len(g.blocks) == 0 {
		g.blocks = []block{newBlock(g.from)}
	}
	if g.to-g.from <= largest && !g.commit.Adopted {
		for i := range g.blocks[1:] {
			g.blocks[0].join(&g.blocks[i+1])
		}
		g.blocks = g.blocks[:1]
	}
	g.blocks[len(g.blocks)-1].grow(commit)
}

// lineReader reads lines of any bytes. What is longer than any line, such as a
// hole, comes in pieces.
type lineReader struct {
	in   *bufio.Reader
	long []byte
}

// longestLine is longer than a record and than a commit.
const longestLine = 2 * record.MaxLine

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, 256<<10)}
}

// next is the next line with its newline, which is valid until the next call.
// It is empty at the end, where long is what remains.
func (r *lineReader) next() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	r.long = append(r.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) && len(r.long) < longestLine {
		line, err = r.in.ReadSlice('\n')
		r.long = append(r.long, line...)
	}
	switch {
	case err == nil, errors.Is(err, bufio.ErrBufferFull):
		return r.long, nil
	case errors.Is(err, io.EOF):
		return nil, nil
	}
	return nil, err
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}
