package store

// keptIDs is how many of the last batches are known again: a week of a host's,
// one each 10 s.
const keptIDs = 1 << 16

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

// lastIDs drops the ids of a day's entries but for the last: a day can have millions, of which nobody asks for more.
type lastIDs struct{ from, to, held int } // entries[from:to] hold so many

func (l *lastIDs) trim(entries []entry) {
	for ; l.to < len(entries); l.to++ {
		l.held += len(entries[l.to].Batches)
	}
	for ; l.from < l.to && l.held-len(entries[l.from].Batches) >= keptIDs; l.from++ {
		l.held -= len(entries[l.from].Batches)
		entries[l.from].Batches = nil
	}
}
