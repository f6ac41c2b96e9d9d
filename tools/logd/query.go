package main

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// chunkSize is how much of a day file is read, and written, at once.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// errEnough ends a query that has all it asked for.
var errEnough = errors.New("enough")

// view is a day as a reader sees it: what was synced when it asked. The list of
// blocks is the day's own, however many readers there are and however long they
// take.
type view struct {
	name   string
	path   string
	packed bool
	from   int64   // what is before was not asked for
	blocks []block // those that were full
	open   block
}

// position is a place in the log.
type position struct {
	day    string
	offset int64
}

func (d *day) view(from int64) view {
	first, _ := slices.BinarySearchFunc(d.blocks, from+1, func(b block, at int64) int { return cmp.Compare(b.to, at) })
	return view{d.name, d.path, d.packed, from, d.blocks[first:], d.open}
}

// wanted are the blocks that f may want, in its order.
func (v *view) wanted(f *filter) iter.Seq[block] {
	return func(yield func(block) bool) {
		for i := range len(v.blocks) + 1 {
			if f.newestFirst {
				i = len(v.blocks) - i
			}
			b := v.open
			if i < len(v.blocks) {
				b = v.blocks[i]
			}
			if b.from < v.from {
				b.bytes -= v.from - b.from
				b.from = v.from
			}
			if b.bytes > 0 && f.wants(&b) && !yield(b) {
				return
			}
		}
	}
}

func (v *view) anyWanted(f *filter) bool {
	for range v.wanted(f) {
		return true
	}
	return false
}

// views are the days with what of them f may want from a position on, in f's
// order, and where the log ends. Once it is longer, grown is closed.
func (s *Store) views(f *filter, from position) (views []view, end position, grown <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	first, _ := slices.BinarySearchFunc(s.days, from.day, func(d *day, name string) int { return strings.Compare(d.name, name) })
	for _, d := range s.days[first:] {
		offset := int64(0)
		if d.name == from.day {
			offset = from.offset
		}
		if v := d.view(offset); v.anyWanted(f) {
			views = append(views, v)
		}
		end = position{d.name, d.open.to}
	}
	if f.newestFirst {
		slices.Reverse(views)
	}
	return views, end, s.grown
}

// viewAgain is a day whose file was replaced by a packed one.
func (s *Store) viewAgain(name string) (view, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.days {
		if d.name == name {
			return d.view(0), true
		}
	}
	return view{}, false
}

// errIndexing is a query that needs an index which is still being made.
var errIndexing = errors.New("an index was lost and is being made again: without order=desc it can be had now")

// Query writes the lines that f asks for, one or more at a time, in the order
// in which they arrived or its reverse. It holds a few chunks in memory,
// whatever there is to find.
func (s *Store) Query(f *filter, w io.Writer) error {
	out := &limited{w, f.limit}
	views, _, _ := s.views(f, position{})
	return s.query(views, f, out)
}

func (s *Store) query(views []view, f *filter, out *limited) error {
	for _, v := range views {
		err := v.query(f, out)
		if errors.Is(err, os.ErrNotExist) {
			var there bool
			if v, there = s.viewAgain(v.name); !there {
				continue // its time was over
			}
			err = v.query(f, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *view) query(f *filter, out *limited) error {
	file, err := os.Open(v.path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, blocks := out.w.(io.ReaderFrom) // takes them as they are
	for b := range v.wanted(f) {
		f := f.within(&b)
		r, done, err := v.reader(file, &b)
		if err != nil {
			return err
		}
		switch {
		case f.newestFirst && b.unknown():
			err = errIndexing
		case f.newestFirst:
			err = scanReversed(r, b.bytes, f, out)
		case blocks && f.all():
			// A client that stops reading holds no more than one buffer.
			_, err = io.Copy(out.w, r)
		default:
			err = scan(r, f, out)
		}
		done()
		if err != nil {
			return err
		}
	}
	return nil
}

// reader reads a block's lines.
func (v *view) reader(file io.ReaderAt, b *block) (r io.Reader, done func(), err error) {
	section := io.NewSectionReader(file, b.from, b.to-b.from)
	if !v.packed {
		return section, func() {}, nil
	}
	z, err := zstd.NewReader(section, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// limited writes lines up to a number of them.
type limited struct {
	w     io.Writer
	limit int // how many more; 0 for any number
}

// lines writes n lines, which are not more than the limit.
func (l *limited) lines(text []byte, n int) error {
	if _, err := l.w.Write(text); err != nil {
		return err
	}
	if l.limit > 0 {
		if l.limit -= n; l.limit == 0 {
			return errEnough
		}
	}
	return nil
}

// lineFunc is a function of a line as a writer of lines.
type lineFunc func(line []byte) error

func (f lineFunc) Write(lines []byte) (int, error) {
	for line := range bytes.Lines(lines) {
		if err := f(line); err != nil {
			return 0, err
		}
	}
	return len(lines), nil
}

// scan writes the lines of r that f matches.
func scan(r io.Reader, f *filter, out *limited) error {
	pooled := chunks.Get().(*[]byte)
	defer chunks.Put(pooled)
	buf := *pooled
	needle := f.needle()
	held := 0
	for {
		n, err := io.ReadFull(r, buf[held:])
		end := held + n
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		whole := bytes.LastIndexByte(buf[:end], '\n') + 1
		if err := scanLines(buf[:whole], needle, f, out); err != nil || last {
			return err
		}
		held = copy(buf, buf[whole:end])
		if held == len(buf) {
			buf = append(buf, make([]byte, len(buf))...) // a line longer than a chunk
		}
	}
}

// scanLines is scan on whole lines. Those that follow one another are written
// at once.
func scanLines(text, needle []byte, f *filter, out *limited) error {
	from, to, n := 0, 0, 0 // text[from:to], n lines, is to be written
	for at := 0; at < len(text); {
		skip := nextCandidate(text[at:], needle)
		if skip < 0 {
			break
		}
		at += skip
		end := at + bytes.IndexByte(text[at:], '\n') + 1
		if f.matches(text[at:end]) {
			if n > 0 && (at > to || n == out.limit) {
				if err := out.lines(text[from:to], n); err != nil {
					return err
				}
				n = 0
			}
			if n == 0 {
				from = at
			}
			to = end
			n++
		}
		at = end
	}
	if n == 0 {
		return nil
	}
	return out.lines(text[from:to], n)
}

// scanReversed is scan from the last line to the first. A block is held in
// memory as a whole.
func scanReversed(r io.Reader, size int64, f *filter, out *limited) error {
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	for len(text) > 0 {
		start := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		if f.matches(text[start:]) {
			if err := out.lines(text[start:], 1); err != nil {
				return err
			}
		}
		text = text[:start]
	}
	return nil
}
