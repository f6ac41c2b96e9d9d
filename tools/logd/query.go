package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// chunkSize is how much of a day file is read at once.
const chunkSize = 256 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// errEnough ends a query that has all it asked for.
var errEnough = errors.New("enough")

// view is a day as a reader sees it: what was synced when it asked.
type view struct {
	path   string
	packed bool
	blocks []block
}

// views are the days that may hold lines that f wants, in f's order, each
// with its blocks that may. end is where the newest day ends.
func (s *Store) views(f *filter) (views []view, end position, grown <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.days {
		v := view{path: d.path, packed: d.packed}
		for i := range d.blocks {
			if f.wants(&d.blocks[i]) {
				v.blocks = append(v.blocks, d.blocks[i])
			}
		}
		if d.open.bytes > 0 && f.wants(&d.open) {
			v.blocks = append(v.blocks, d.open)
		}
		end = position{d.name, d.open.to}
		if len(v.blocks) > 0 {
			views = append(views, v)
		}
	}
	if f.newestFirst {
		slices.Reverse(views)
		for _, v := range views {
			slices.Reverse(v.blocks)
		}
	}
	return views, end, s.grown
}

// position is a place in the log.
type position struct {
	day    string
	offset int64
}

// Query writes the lines that f asks for, in the order in which they arrived
// or its reverse. It holds a few chunks in memory, whatever there is to find.
func (s *Store) Query(f *filter, w io.Writer) error {
	views, _, _ := s.views(f)
	out := &limited{w, f.limit}
	for _, v := range views {
		err := v.query(f, out)
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // gone: its time was over
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
	for i := range v.blocks {
		b := &v.blocks[i]
		r, done, err := v.reader(file, b)
		if err != nil {
			return err
		}
		switch {
		case f.newestFirst:
			err = scanReversed(r, f, out)
		case f.wantsAll(b) && out.limit == 0:
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

func (l *limited) line(line []byte) error {
	if _, err := l.w.Write(line); err != nil {
		return err
	}
	if l.limit > 0 {
		if l.limit--; l.limit == 0 {
			return errEnough
		}
	}
	return nil
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

// scanLines is scan on whole lines.
func scanLines(text, needle []byte, f *filter, out *limited) error {
	for len(text) > 0 {
		skip := nextCandidate(text, needle)
		if skip < 0 {
			return nil
		}
		text = text[skip:]
		end := bytes.IndexByte(text, '\n') + 1
		if f.matches(text[:end]) {
			if err := out.line(text[:end]); err != nil {
				return err
			}
		}
		text = text[end:]
	}
	return nil
}

// scanReversed is scan from the last line to the first. A block is held in
// memory as a whole.
func scanReversed(r io.Reader, f *filter, out *limited) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	for len(text) > 0 {
		start := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		if f.matches(text[start:]) {
			if err := out.line(text[start:]); err != nil {
				return err
			}
		}
		text = text[:start]
	}
	return nil
}
