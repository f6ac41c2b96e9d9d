package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"winnow/tools/internal/record"
)

const (
	dayLayout = time.DateOnly
	plainExt  = ".jsonl"
	packedExt = ".jsonl.zst"
	// ownDir holds what is logd's own, so that a host's `jq . *.jsonl` meets
	// nothing but records.
	ownDir        = ".logd"
	quarantineExt = ".quarantine"
)

// day is one day file: the records that arrived on that day, UTC. The fields
// after path change under the store's lock.
type day struct {
	name   string // 2026-11-21
	path   string
	packed bool       // zstd, a frame a block
	size   int64      // bytes on disk that count: all before are synced
	blocks []block    // those that are full; only ever appended to
	open   block      // the one that grows
	index  *indexFile // nil when packed
}

// listDays finds the day files of dir, the oldest first. Where a day is there
// plain and packed, the packing ended and the removal of the plain file did not.
func listDays(dir string) ([]*day, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var days []*day
	for _, entry := range entries {
		name, packed := strings.CutSuffix(entry.Name(), packedExt)
		if !packed {
			var plain bool
			if name, plain = strings.CutSuffix(entry.Name(), plainExt); !plain {
				continue
			}
		}
		if _, err := time.Parse(dayLayout, name); err != nil {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		if n := len(days); packed && n > 0 && days[n-1].name == name {
			if err := os.Remove(days[n-1].path); err != nil {
				return nil, err
			}
			days = days[:n-1]
		}
		days = append(days, &day{name: name, path: path, packed: packed, open: newBlock(0)})
	}
	slices.SortFunc(days, func(a, b *day) int { return strings.Compare(a.name, b.name) })
	return days, nil
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

// lastLine is what follows the last newline before end-1, at most a line's
// greatest length: the last line with its newline, or the rest of one.
func lastLine(f io.ReaderAt, end int64) ([]byte, error) {
	for span := int64(64 << 10); ; span *= 8 {
		span = min(span, end, record.MaxLine+2)
		buf := make([]byte, span)
		if _, err := f.ReadAt(buf, end-span); err != nil {
			return nil, err
		}
		if at := bytes.LastIndexByte(buf[:span-1], '\n'); at >= 0 {
			return buf[at+1:], nil
		}
		if span == end || span == record.MaxLine+2 {
			return buf, nil
		}
	}
}

// quarantine moves what f holds from end on into a file beside it, both synced
// before it returns.
func quarantine(f *os.File, end, size int64) (string, error) {
	path := fmt.Sprintf("%s.%d%s", f.Name(), end, quarantineExt)
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, io.NewSectionReader(f, end, size-end))
	if err := errors.Join(err, out.Sync(), out.Close(), syncDir(filepath.Dir(path))); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if err := errors.Join(f.Truncate(end), f.Sync()); err != nil {
		return "", err
	}
	return path, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
