package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// keptIDs is how many of the last batches are known again: a week of a host's,
// one each 10 s.
const keptIDs = 1 << 16

// maxID is the longest batch id.
const maxID = 128

// validID tells whether id can name a batch: 1 to 128 of A-Z a-z 0-9 . _ : -
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("._:-", r)
	}) < 0
}

// seenIDs are the last batches stored. The oldest goes for each one more.
type seenIDs struct {
	known map[string]struct{}
	ring  []string
	next  int
}

func newSeenIDs() *seenIDs {
	return &seenIDs{known: make(map[string]struct{})}
}

func (s *seenIDs) has(id string) bool {
	_, ok := s.known[id]
	return ok
}

func (s *seenIDs) add(id string) {
	if s.has(id) {
		return
	}
	s.known[id] = struct{}{}
	if len(s.ring) < keptIDs {
		s.ring = append(s.ring, id)
		return
	}
	delete(s.known, s.ring[s.next])
	s.ring[s.next] = id
	s.next = (s.next + 1) % keptIDs
}

// extent is where in a day file a batch lies. The journal of a day is a line
// for each, `FROM TO ID`; the day file holds nothing but what was posted. The
// write-ahead log sees to it that a batch and its id are stored together or not
// at all. Should a day file be cut short nevertheless, a batch whose extent does
// not lie within it can be sent again.
type extent struct {
	from, to int64
	id       string
}

func (e extent) appendTo(dst []byte) []byte {
	return fmt.Appendf(dst, "%d %d %s\n", e.from, e.to, e.id)
}

func parseExtent(line []byte) (extent, bool) {
	fields := bytes.Fields(line)
	if len(fields) != 3 || line[len(line)-1] != '\n' || !validID(string(fields[2])) {
		return extent{}, false
	}
	from, err1 := strconv.ParseInt(string(fields[0]), 10, 64)
	to, err2 := strconv.ParseInt(string(fields[1]), 10, 64)
	return extent{from, to, string(fields[2])}, err1 == nil && err2 == nil && from >= 0 && from <= to
}

// readJournal reads the extents that end within size. kept is the length of
// the journal up to the first one that does not, or that is broken; torn is
// where that one began if it began within size, else size.
func readJournal(path string, size int64) (extents []extent, kept, torn int64, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, size, nil
	}
	if err != nil {
		return nil, 0, 0, err
	}
	for line := range bytes.Lines(text) {
		e, ok := parseExtent(line)
		if !ok {
			break
		}
		if e.to > size {
			return extents, kept, min(e.from, size), nil
		}
		extents = append(extents, e)
		kept += int64(len(line))
	}
	return extents, kept, size, nil
}

// loadIDs fills seen from the journals, oldest first, with as many of the last
// ids as it keeps.
func loadIDs(seen *seenIDs, journals [][]extent) {
	all := 0
	for _, j := range journals {
		all += len(j)
	}
	skip := max(0, all-keptIDs)
	for _, j := range journals {
		passed := min(skip, len(j))
		skip -= passed
		for _, e := range j[passed:] {
			seen.add(e.id)
		}
	}
}
