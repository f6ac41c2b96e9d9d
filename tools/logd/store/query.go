package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// chunkSize is how much of a day file is read, and written, at once.
const chunkSize = 64 << 10

// ErrEnough ends a query that has all it asked for. What takes the lines may return it.
var ErrEnough = errors.New("enough")

// View is a day as a reader sees it: what was synced when it asked. The list of
// blocks is the day's own, however many readers there are and however long they
// take.
type View struct {
	name   string
	path   string
	info   os.FileInfo
	packed bool
	torn   bool     // it cannot be read to its end
	from   Position // what is before was not asked for
	blocks []block  // those that were full
	open   block
}

// Position is a place in the log, which stays the same when a day is
// compressed.
type Position struct {
	day    string
	offset int64 // in the plain day
	renews int   // of the day; another file's offsets mean nothing
}

func (d *day) view(from Position) View {
	if from.renews != d.renews {
		from = Position{d.name, d.renew, d.renews}
	}
	first, _ := slices.BinarySearchFunc(d.blocks, from.offset+1, func(b block, at int64) int { return cmp.Compare(b.end(), at) })
	return View{d.name, d.path, d.info, d.packed, d.torn, from, d.blocks[first:], d.open.block}
}

// wanted are the blocks that f may want, in its order. Of the first one skip
// bytes were not asked for.
func (v *View) wanted(f *Filter) iter.Seq2[block, int64] {
	return func(yield func(block, int64) bool) {
		for i := range len(v.blocks) + 1 {
			if f.NewestFirst {
				i = len(v.blocks) - i
			}
			b := v.open
			if i < len(v.blocks) {
				b = v.blocks[i]
			}
			skip := max(0, v.from.offset-b.At)
			if b.Bytes > skip && f.wants(&b) && !yield(b, skip) {
				return
			}
		}
	}
}

func (v *View) anyWanted(f *Filter) bool {
	for range v.wanted(f) {
		return true
	}
	return false
}

// Held is how many bytes a query of the view holds at once, at most: a block
// where it is read backward, else a buffer, which is doubled for a long line.
func (v *View) Held(f *Filter) int64 {
	most := int64(chunkSize)
	for b := range v.wanted(f) {
		if f.NewestFirst {
			most = max(most, b.Bytes)
		} else if b.Longest > chunkSize {
			most = max(most, 2*b.Longest)
		}
	}
	return most
}

// Views are the days with what of them f may want from a position on, in f's
// order, and where the log ends. Once it is longer, grown is closed.
func (s *Store) Views(f *Filter, from Position) (views []View, end Position, grown <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	first := max(0, slices.IndexFunc(s.days, func(d *day) bool { return d.name == from.day }))
	for _, d := range s.days[first:] {
		begin := Position{d.name, 0, d.renews}
		if d.name == from.day {
			begin = from
		}
		if v := d.view(begin); v.anyWanted(f) {
			views = append(views, v)
		}
		end = Position{d.name, d.open.end(), d.renews}
	}
	if f.NewestFirst {
		slices.Reverse(views)
	}
	return views, end, s.grown
}

// viewAgain is a day whose file is another one by now.
func (s *Store) viewAgain(v View) (View, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.days {
		if d.name == v.name {
			return d.view(v.from), true
		}
	}
	return View{}, false
}

// ErrIndexing is a query that needs an index which is still being made.
var ErrIndexing = errors.New("an index was lost and is being made again: without order=desc it can be had now")

// Indexed tells whether all that f wants of the views is indexed.
func Indexed(views []View, f *Filter) bool {
	for _, v := range views {
		for b := range v.wanted(f) {
			if b.unknown() && !v.torn {
				return false
			}
		}
	}
	return true
}

// Last leaves of views, which are in the order of the log, the last blocks, up
// to a number of bytes: one block at least.
func Last(views []View, bytes int64) []View {
	backward := AnyTime(Filter{NewestFirst: true})
	newest := true
	for i := range slices.Backward(views) {
		for b := range views[i].wanted(&backward) {
			if bytes -= b.Bytes; bytes < 0 && (!newest || b.unknown()) {
				views[i].from.offset = b.end()
				return views[i:]
			}
			newest = false
		}
	}
	return views
}

// Query writes the lines that f asks for, one or more at a time, in the order
// in which they arrived or its reverse. It holds a few chunks in memory,
// whatever there is to find.
func (s *Store) Query(f *Filter, w io.Writer) error {
	views, _, _ := s.Views(f, Position{})
	return s.QueryViews(views, f, NewLimited(w, f.Limit))
}

// QueryViews is Query of some days. The limit goes on from one call to the next.
func (s *Store) QueryViews(views []View, f *Filter, out *Limited) error {
	defer out.shrink()
	var torn error
	for _, v := range views {
		err := s.queryView(&v, f, out)
		for errors.Is(err, errReplaced) {
			again, there := s.viewAgain(v)
			if !there {
				err = nil // its time was over
				break
			}
			if again.path == v.path && os.SameFile(again.info, v.info) && again.from.renews == v.from.renews {
				err = tornError{fmt.Errorf("%s was changed by somebody else, and is still to be read anew", v.path)}
				break
			}
			v = again
			err = s.queryView(&v, f, out)
		}
		if Torn(err) {
			torn = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return torn
}

// queryView reads a day, unless its file was changed by somebody else since.
func (s *Store) queryView(v *View, f *Filter, out *Limited) error {
	s.mu.RLock()
	same := slices.ContainsFunc(s.days, func(d *day) bool { return d.name == v.name && d.renews == v.from.renews })
	s.mu.RUnlock()
	if !same {
		return errReplaced
	}
	return v.query(f, out)
}

// tornError is a day that cannot be read, or not to its end. A query goes on
// with what can, and fails only then.
type tornError struct{ error }

// Torn tells whether a query answered all that could be read, and this is why
// that is not all.
func Torn(err error) bool { return errors.As(err, new(tornError)) }

// unpacker reads a compressed block.
type unpacker struct {
	*zstd.Decoder
	path string
}

func (u unpacker) Read(p []byte) (int, error) {
	n, err := u.Decoder.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = tornError{fmt.Errorf("%s cannot be read to its end: %w", u.path, err)}
	}
	return n, err
}

// errReplaced is a view of a file that is another one by now.
var errReplaced = errors.New("its file was replaced")

// openView opens the file that the view is of.
func (v *View) openFile() (*os.File, error) {
	info, err := os.Lstat(v.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, errReplaced
	}
	file, err := openOwned(v.path, os.O_RDONLY, -1)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errReplaced
	}
	if err != nil {
		return nil, tornError{err}
	}
	info, err = file.Stat()
	if err == nil && !os.SameFile(info, v.info) {
		err = errReplaced
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (v *View) query(f *Filter, out *Limited) error {
	file, err := v.openFile()
	if err != nil {
		return err
	}
	defer file.Close()
	var torn error
	for b, skip := range v.wanted(f) {
		if err := out.before(); err != nil {
			return err
		}
		f := f.within(&b)
		r, done, err := v.openBlock(file, &b, skip)
		if Torn(err) {
			torn = err
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case f.NewestFirst && b.unknown() && v.torn:
			err = tornError{fmt.Errorf("%s cannot be read backward", v.path)}
		case f.NewestFirst && b.unknown():
			err = ErrIndexing
		case f.NewestFirst:
			err = scanReversed(r, b.Bytes-skip, f, out)
		default:
			err = scan(r, f, out)
		}
		done()
		if Torn(err) {
			torn = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return torn
}

// openBlock reads a block's lines, but for the first skip bytes.
func (v *View) openBlock(file io.ReaderAt, b *block, skip int64) (r io.Reader, done func(), err error) {
	if !v.packed {
		return io.NewSectionReader(file, b.From+skip, b.To-b.From-skip), func() {}, nil
	}
	z, err := newUnpacker(io.NewSectionReader(file, b.From, b.To-b.From))
	if err != nil {
		return nil, nil, err
	}
	u := unpacker{z, v.path}
	if _, err := io.CopyN(io.Discard, u, skip); err != nil {
		z.Close()
		return nil, nil, err
	}
	return u, z.Close, nil
}

// Limited writes lines up to a number of them.
type Limited struct {
	// Before is called before each block is read, if it is set; its error ends
	// the query.
	Before func() error

	w     io.Writer
	limit int    // how many more; 0 for any number
	buf   []byte // what is read, kept from one block to the next
}

// NewLimited writes to w, any number where the limit is 0.
func NewLimited(w io.Writer, limit int) *Limited { return &Limited{w: w, limit: limit} }

// Through has the lines written through another writer until back is called.
func (l *Limited) Through(w io.Writer) (back func()) {
	before := l.w
	l.w = w
	return func() { l.w = before }
}

// shrink gives back what only a long line took.
func (l *Limited) shrink() {
	if len(l.buf) > chunkSize {
		l.buf = nil
	}
}

func (l *Limited) before() error {
	if l.Before == nil {
		return nil
	}
	return l.Before()
}

// lines writes n lines, which are not more than the limit.
func (l *Limited) lines(text []byte, n int) error {
	if _, err := l.w.Write(text); err != nil {
		return err
	}
	if l.limit > 0 {
		if l.limit -= n; l.limit == 0 {
			return ErrEnough
		}
	}
	return nil
}

// LineFunc is a function of a line as a writer of lines. The line is not its to keep.
type LineFunc func(line []byte) error

func (f LineFunc) Write(lines []byte) (int, error) {
	for line := range bytes.Lines(lines) {
		if err := f(line); err != nil {
			return 0, err
		}
	}
	return len(lines), nil
}

// scan writes the lines of r that f matches.
func scan(r io.Reader, f *Filter, out *Limited) error {
	if out.buf == nil {
		out.buf = make([]byte, chunkSize)
	}
	buf := out.buf
	needle := f.needle()
	held, hole := 0, false
	for {
		n, torn := io.ReadFull(r, buf[held:])
		end := held + n
		last := errors.Is(torn, io.EOF) || errors.Is(torn, io.ErrUnexpectedEOF)
		if hole {
			at := bytes.IndexByte(buf[:end], '\n') + 1
			end, hole = copy(buf, buf[at:end]), at == 0
		}
		whole := bytes.LastIndexByte(buf[:end], '\n') + 1
		if err := scanLines(buf[:whole], needle, f, out); err != nil || last {
			return err
		}
		if torn != nil {
			return torn
		}
		held = copy(buf, buf[whole:end])
		if held > longestLine || hole { // longer than any line: a hole in the file, which is passed over
			held, hole = 0, true
		}
		if held == len(buf) {
			buf = make([]byte, 2*held) // a line longer than a chunk
			copy(buf, out.buf)
			out.buf = buf
		}
	}
}

// scanLines is scan on whole lines. Those that follow one another are written
// at once.
func scanLines(text, needle []byte, f *Filter, out *Limited) error {
	if f.All() {
		return scanAll(text, out)
	}
	from, to, n := 0, 0, 0 // text[from:to], n lines, is to be written
	for at := 0; at < len(text); {
		skip := nextCandidate(text[at:], needle)
		if skip < 0 {
			break
		}
		at += skip
		end := at + bytes.IndexByte(text[at:], '\n') + 1
		if f.Matches(text[at:end]) {
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

// scanAll writes all lines but the commits.
func scanAll(text []byte, out *Limited) error {
	for len(text) > 0 {
		at := 0
		if !isCommit(text) {
			if at = bytes.Index(text, []byte("\n"+commitStart)) + 1; at == 0 {
				at = len(text)
			}
			if err := out.lines(text[:at], 0); err != nil {
				return err
			}
		}
		text = text[at:]
		if isCommit(text) {
			text = text[bytes.IndexByte(text, '\n')+1:]
		}
	}
	return nil
}

// scanReversed is scan from the last line to the first. A block is held in
// memory as a whole.
func scanReversed(r io.Reader, size int64, f *Filter, out *Limited) error {
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	for len(text) > 0 {
		start := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		if f.Matches(text[start:]) {
			if err := out.lines(text[start:], 1); err != nil {
				return err
			}
		}
		text = text[:start]
	}
	return nil
}
