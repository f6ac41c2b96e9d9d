package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A compressed day is frames of zstd. Before each stands a frame that zstd
// passes over, of 16 bytes: its magic number, that 8 bytes follow, how long the
// next frame is, and the CRC-32C of that. So frames are found without reading
// them, and no bit of the file can change unseen.
const (
	frameMagic  = 0x184d2a5e
	frameHeader = 16
)

var errForeign = errors.New("it was not compressed by logd as it is now")

func frameHead(frame []byte) []byte {
	head := binary.LittleEndian.AppendUint32(nil, frameMagic)
	head = binary.LittleEndian.AppendUint32(head, 8)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(frame)))
	return binary.LittleEndian.AppendUint32(head, crc32.Checksum(frame, castagnoli))
}

// maxWindow is how much of what it has read a frame may refer to, which memory has
// to hold. logd's own and those of zstd up to its level 20 stay within it.
const maxWindow = 32 << 20

func newUnpacker(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

// frames reads the plain bytes of a compressed day, a frame at a time.
type frames struct {
	f        io.ReaderAt
	size     int64
	from, to int64 // of the frame being read, in the file
	z        *zstd.Decoder
}

func newFrames(f io.ReaderAt, size int64) (*frames, error) {
	z, err := newUnpacker(nil)
	return &frames{f: f, size: size, z: z}, err
}

// next is the next frame's plain bytes, or io.EOF.
func (x *frames) next() (io.Reader, error) {
	if x.to == x.size {
		return nil, io.EOF
	}
	head := make([]byte, frameHeader)
	if _, err := x.f.ReadAt(head, x.to); err != nil {
		return nil, fmt.Errorf("byte %d: %w", x.to, errForeign)
	}
	length := int64(binary.LittleEndian.Uint32(head[8:]))
	begin := x.to + frameHeader
	if binary.LittleEndian.Uint32(head) != frameMagic || binary.LittleEndian.Uint32(head[4:]) != 8 || length > x.size-begin {
		return nil, fmt.Errorf("byte %d: %w", x.to, errForeign)
	}
	x.from, x.to = x.to, begin+length // whatever becomes of it, the next one is behind it
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(x.f, begin, length)); err != nil {
		return nil, err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(head[12:]) {
		return nil, fmt.Errorf("bytes %d to %d are not as they were written: the frame's checksum is wrong", x.from, x.to)
	}
	return x.z, x.z.Reset(io.NewSectionReader(x.f, begin, length))
}

// readPacked reads a compressed day: each frame is a block.
func (s *Store) readPacked(d *day, f io.ReaderAt) (*found, error) {
	x := newFound(nil)
	in, err := newFrames(f, d.info.Size())
	if err != nil {
		return nil, err
	}
	defer in.z.Close()
	r := newGroupReader(strings.NewReader(""), 0, 0)
	x.frames(r, in)
	if err := x.read(r); err != nil {
		return nil, err
	}
	x.closed = x.packed
	if last := len(x.closed) - 1; last >= 0 {
		x.open = newFound(x.closed[last:]).open
	}
	x.size = x.open.At
	return x, nil
}

// packedIDs are the ids that can be read of a compressed day which is damaged, or
// not as logd compresses one now.
func packedIDs(f io.ReaderAt, size int64) []string {
	in, err := newFrames(f, size)
	if err != nil {
		return nil
	}
	defer in.z.Close()
	r := newGroupReader(strings.NewReader(""), 0, 0)
	r.more = func() (io.Reader, error) {
		for in.to < size {
			frame, err := in.next()
			if err == nil {
				return frame, nil
			}
			if errors.Is(err, errForeign) { // all of the rest
				from := in.to
				in.to = size
				return in.z, in.z.Reset(io.NewSectionReader(f, from, size-from))
			}
		}
		return nil, io.EOF
	}
	x := newFound(nil)
	_ = x.read(r) // of what was torn the beginning is known
	return x.ids
}

// frames has r read the frames, and makes an entry of each.
func (x *found) frames(r *groupReader, in *frames) {
	var current entry
	r.more = func() (io.Reader, error) {
		x.endFrame(&current, in)
		next, err := in.next()
		current = entry{block: newBlock(r.at)}
		return next, err
	}
	r.line = func(line []byte, c *commit) {
		if isCommit(line) {
			current.grow(int64(len(line)))
			current.Commit = c.CRC32C
			current.Batches = append(current.Batches, c.Batches...)
			return
		}
		current.Commit = ""
		at, timed := lineTime(line)
		current.extend(int64(len(line)), at, timed)
	}
}

func (x *found) endFrame(e *entry, in *frames) {
	if e.Bytes == 0 {
		return
	}
	e.From, e.To = in.from, in.to
	x.packed = append(x.packed, *e)
	x.packedIDs.trim(x.packed)
}

// pack replaces a day's file by a compressed one, of which `zstdcat` makes the
// plain one again.
func (s *Store) pack(d *day) error {
	if d.tail {
		if err := s.setAside(d, d.size); err != nil {
			return err
		}
	}
	tmp := s.own(d.name + unfinishedExt)
	entries, err := s.writePacked(d, tmp)
	if err == nil {
		err = sameLines(tmp, d.path, s.stop)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: compress: %w", d.path, err), ignoreMissing(os.Remove(tmp)))
	}
	next := &day{name: d.name, path: strings.TrimSuffix(d.path, plainExt) + packedExt, packed: true}
	if next.index, _, err = openIndex(s.own(next.indexName()), s.group); err != nil {
		s.warn("the index cannot be kept: %v", err)
	}
	if err := next.index.rewrite(entries); err != nil {
		s.warn("the index cannot be kept: %v", err)
	}
	if _, err := s.disk.Stat(next.path); err == nil {
		return fmt.Errorf("%s is there", next.path)
	}
	if err := errors.Join(s.disk.Rename(tmp, next.path), s.disk.SyncDir(s.Dir)); err != nil {
		return err
	}
	if next.info, err = s.disk.Stat(next.path); err != nil {
		return err
	}
	x := newFound(entries)
	s.mu.Lock()
	old, plain := d.index, d.path
	d.path, d.packed, d.index, d.info = next.path, true, next.index, next.info
	d.blocks, d.indexer, d.size = blocksOf(entries), x.indexer, x.size
	s.mu.Unlock()
	return errors.Join(old.remove(), s.disk.Remove(plain))
}

func blocksOf(entries []entry) []block {
	blocks := make([]block, 0, len(entries))
	for i := range entries {
		blocks = append(blocks, entries[i].block)
	}
	return blocks
}

// writePacked compresses the day into a file. It reads the day as at a start, so
// that the frames end where groups do.
func (s *Store) writePacked(d *day, path string) ([]entry, error) {
	in, err := openOwned(d.path, os.O_RDONLY, s.group)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	x := newFound(nil)
	if err := x.read(newGroupReader(io.NewSectionReader(in, 0, d.size), 0, 0)); err != nil {
		return nil, err
	}
	plain := x.closed
	if x.open.Bytes > 0 {
		plain = append(plain, x.close())
	}
	out, err := s.makeUnfinished(path)
	if err != nil {
		return nil, err
	}
	entries, err := s.packBlocks(plain, in, out)
	return entries, errors.Join(err, out.Sync(), out.Close())
}

// makeUnfinished makes a file in logd's own directory, which may have been deleted.
func (s *Store) makeUnfinished(path string) (*os.File, error) {
	if err := makeDir(filepath.Dir(path), s.group); err != nil {
		return nil, err
	}
	return openOwned(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, s.group)
}

func (s *Store) packBlocks(plain []entry, in io.ReaderAt, out io.Writer) ([]entry, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	var packed []entry
	var text, frame []byte
	at := int64(0)
	for _, e := range plain {
		select {
		case <-s.stop:
			return nil, ErrClosed
		default:
		}
		text = append(text[:0], make([]byte, e.Bytes)...)
		if _, err := in.ReadAt(text, e.From); err != nil {
			return nil, err
		}
		frame = encoder.EncodeAll(text, frame[:0])
		for _, part := range [][]byte{frameHead(frame), frame} {
			if _, err := out.Write(part); err != nil {
				return nil, err
			}
		}
		e.From, e.To = at, at+int64(frameHeader+len(frame))
		at = e.To
		packed = append(packed, e)
	}
	return packed, nil
}

var (
	errDiffers = errors.New("the compressed day does not hold the plain one")
	errLonger  = errors.New("the compressed day goes on behind the plain one")
)

// sameLines tells whether a compressed day holds a plain one, by reading both.
func sameLines(packed, plain string, stop <-chan struct{}) error {
	a, err := openOwned(packed, os.O_RDONLY, -1)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := openOwned(plain, os.O_RDONLY, -1)
	if err != nil {
		return err
	}
	defer b.Close()
	z, err := newUnpacker(a)
	if err != nil {
		return err
	}
	defer z.Close()
	return sameBytes(z, b, stop)
}

func sameBytes(a, b io.Reader, stop <-chan struct{}) error {
	x, y := make([]byte, 128<<10), make([]byte, 128<<10)
	for {
		select {
		case <-stop:
			return ErrClosed
		default:
		}
		n, errX := io.ReadFull(a, x)
		m, errY := io.ReadFull(b, y)
		for _, err := range []error{errX, errY} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("%w: %w", errDiffers, err)
			}
		}
		if errY != nil && n > m && bytes.Equal(x[:m], y[:m]) {
			if _, err := io.Copy(io.Discard, a); err == nil {
				return errLonger
			}
		}
		if !bytes.Equal(x[:n], y[:m]) || (errX == nil) != (errY == nil) {
			return errDiffers
		}
		if errX != nil {
			return nil
		}
	}
}
