package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens the log in o.Dir, which must exist, and puts right what an unclean
// end left there. What it has to tell it says with warn.
func Open(o Options, c Clock, warn func(format string, a ...any)) (*Store, error) {
	info, err := os.Stat(o.Dir)
	if err != nil {
		return nil, err
	}
	group := -1
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		group = int(st.Gid)
	}
	return open(o, realDisk{group}, c, warn)
}

func open(o Options, d disk, c Clock, warn func(string, ...any)) (*Store, error) {
	s := &Store{
		Options: o, disk: d, clock: newTrusted(c, time.Time{}, warn), warn: warn, group: -1,
		queue: make(chan *Batch, maxGroup), stopped: make(chan struct{}), grown: make(chan struct{}),
		stop: make(chan struct{}), tended: make(chan struct{}), look: make(chan struct{}, 1), seen: newSeenIDs(),
	}
	if real, ok := d.(realDisk); ok {
		s.group = real.group
	}
	if err := s.lockDir(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	go s.run()
	go s.tendAll()
	return s, nil
}

// lockDir keeps a second logd off the same files. The lock is on the directory,
// so that a full disk has room for it.
func (s *Store) lockDir() error {
	lock, err := os.Open(s.Dir)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("%s: another logd writes here: %w", s.Dir, err), lock.Close())
	}
	s.lock = lock
	return s.keepOldOff()
}

// load reads what there is: of a day with an index only what came after that.
func (s *Store) load() error {
	if err := s.replayOld(); err != nil {
		return err
	}
	days, err := s.listDays()
	if err != nil {
		return err
	}
	if err := refuseNewer(days); err != nil {
		return err
	}
	if err := s.removeUnfinished(); err != nil {
		s.warn("%v", err)
	}
	if days, err = s.withoutDoubles(days); err != nil {
		return err
	}
	s.clock = newTrusted(s.clock.Clock, contradicting(days, s.clock.Wall()), s.warn)
	s.order(days)
	var ids []string // the newest first
	for i, d := range slices.Backward(days) {
		s.hide(d)
		wanted := keptIDs - len(ids)
		last := i == len(days)-1
		found, err := s.loadDay(d, last || wanted > 0)
		if err != nil && last {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		if err != nil { // it keeps none of the others from being read
			s.warn("%s cannot be read: %v", d.path, err)
			s.leaveUnknown(d)
			s.setTorn(d, true)
		}
		slices.Reverse(found)
		ids = append(ids, found[:min(wanted, len(found))]...)
	}
	for _, id := range slices.Backward(ids) {
		s.seen.add(id)
	}
	s.days = days
	return nil
}

// removeUnfinished removes what a compression left that did not come to its end.
func (s *Store) removeUnfinished() error {
	if info, err := os.Lstat(s.own("")); err != nil || !info.IsDir() {
		return ignoreMissing(err) // what a link leads to is not logd's
	}
	left, err := filepath.Glob(s.own("*" + unfinishedExt))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// order sorts days as they were written. One that is dated ahead of the clock,
// as a wrong clock leaves it behind, comes before all others.
func (s *Store) order(days []*day) {
	now := s.clock.now()
	slices.SortStableFunc(days, func(a, b *day) int {
		if x, y := a.ahead(now), b.ahead(now); x != y {
			if x {
				return -1
			}
			return 1
		}
		return a.compare(b)
	})
	for _, d := range days {
		if d.ahead(now) {
			s.warn("%s is of a day to come: it is read, and not written to", d.path)
		}
	}
}

// ahead tells whether the day lies further ahead than clocks differ.
func (d *day) ahead(now time.Time) bool { return d.date().After(now.Add(24 * time.Hour)) }

// contradicting is zero where the days can be so at the time that the clock says.
// Else it is when the newest line came, which is a better guess: all days are
// ahead of the clock, or days of more than one date, or the newest that is not
// ended very long ago. One stray date ahead is a day's mistake, not the clock's.
func contradicting(days []*day, now time.Time) time.Time {
	var newest, newestBehind *day
	dates := make(map[time.Time]bool) // ahead of the clock
	for _, d := range days {
		if newest == nil || d.compare(newest) > 0 {
			newest = d
		}
		if d.ahead(now) {
			dates[d.date()] = true
		} else if newestBehind == nil || d.compare(newestBehind) > 0 {
			newestBehind = d
		}
	}
	switch {
	case newest == nil:
		return time.Time{}
	case newestBehind == nil || len(dates) > 1:
		return newest.written()
	case now.Sub(newestBehind.written()) > far:
		return newestBehind.written()
	}
	return time.Time{}
}

// written is when the day's last line came, as far as its name and file tell.
func (d *day) written() time.Time {
	if at := d.info.ModTime(); at.UTC().Format(dayLayout) == d.name[:len(dayLayout)] {
		return at
	}
	return d.date().Add(12 * time.Hour)
}

// found is what a day's file holds.
type found struct {
	indexer
	closed    []entry
	closedIDs lastIDs
	packed    []entry // of a compressed day, by its frames
	packedIDs lastIDs
	commits   int
	bad       []*group // that good ones follow
	size      int64    // up to the last good commit
	ids       []string // the last ones
	lines     int      // read
}

func newFound(known []entry) *found {
	x := &found{closed: known}
	x.open.block = newBlock(0)
	for i := range known {
		x.open.block = newBlock(known[i].end())
		x.open.From, x.open.To = known[i].To, known[i].To
		x.addIDs(known[i].Batches)
		x.size = known[i].end()
	}
	return x
}

// addIDs adds those of a group. Only the last ones are asked for, so the others are dropped now and then.
func (x *found) addIDs(ids []string) {
	x.ids = append(x.ids, ids...)
	if over := len(x.ids) - 2*keptIDs; over > 0 {
		x.ids = append(x.ids[:0], x.ids[over+keptIDs:]...)
	}
}

// read takes the groups up to the last good one.
func (x *found) read(r *groupReader) error {
	var bad []*group
	for {
		g, _, err := r.read()
		if err != nil {
			return ignoreEOF(err)
		}
		x.commits++
		if g.fault != "" {
			if bad = append(bad, g); len(bad) > 1000 {
				bad = []*group{joinBad(bad)}
			}
			continue
		}
		for _, b := range append(bad, g) {
			x.closed = append(x.closed, x.add(b)...)
			x.addIDs(b.commit.Batches)
		}
		x.closedIDs.trim(x.closed)
		x.bad, bad = append(x.bad, bad...), nil
		x.size = g.to
	}
}

// joinBad makes one of many, since a file that is wrong throughout has as many
// as it has lines.
func joinBad(bad []*group) *group {
	all := bad[0]
	for _, g := range bad[1:] {
		all.to, all.last = g.to, g.last
		all.blocks = append(all.blocks, g.blocks...)
		all.commit.CRC32C = g.commit.CRC32C
		if all.commit.Batches = append(all.commit.Batches, g.commit.Batches...); len(all.commit.Batches) > keptIDs {
			all.commit.Batches = all.commit.Batches[len(all.commit.Batches)-keptIDs:]
		}
	}
	return all
}

// loadDay reads a day, and is the ids of its last batches. Without an index one
// that need not be read now is left to be read while logd serves.
func (s *Store) loadDay(d *day, now bool) ([]string, error) {
	index, known, err := openIndex(s.own(d.indexName()), s.group)
	if err != nil {
		s.warn("the index cannot be kept: %v", err)
	}
	d.index = index
	f, err := openOwned(d.path, os.O_RDONLY, s.group)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	known, claimed, err := fitting(known, f, d)
	if err != nil {
		return nil, err
	}
	if len(known) == 0 && d.info.Size() > 0 && !now {
		s.leaveUnknown(d)
		return oldIDs(s.own(d.name + journalExt))
	}
	return s.readDay(d, f, known, claimed)
}

func (s *Store) leaveUnknown(d *day) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := d.info.Size()
	d.blocks = []block{unknownBlock(0, n, 0, n)}
	d.open.block = newBlock(n)
	d.size = n
}

// readDay reads what of a day is not known yet.
func (s *Store) readDay(d *day, f *os.File, known []entry, claimed int64) ([]string, error) {
	if n := d.info.Size() - newFound(known).open.From; n > 64<<20 {
		s.warn("%s: its index was lost: reading %d MB", d.path, n>>20)
	}
	x := newFound(known)
	var err error
	if d.packed && len(known) == 0 {
		x, err = s.readPacked(d, f)
		if err != nil {
			s.warn("%s: %v", d.path, err) // it can still be read, as far as it goes
			s.leaveUnknown(d)
			ids, err := oldIDs(s.own(d.name + journalExt))
			return append(ids, packedIDs(f, d.info.Size())...), err
		}
	} else if !d.packed {
		from := x.open.From
		if err = x.read(newGroupReader(io.NewSectionReader(f, from, d.info.Size()-from), from, claimed)); err != nil {
			return nil, err
		}
		if len(known) == 0 && x.commits == 0 && d.info.Size() > 0 {
			if err := s.adopt(d, f, x); err != nil {
				return nil, err
			}
		}
	}
	s.name(d, x)
	s.setContents(d, x)
	if !slices.EqualFunc(known, x.closed, func(a, b entry) bool { return a.block == b.block }) {
		if err := d.index.rewrite(x.closed); err != nil {
			s.warn("the index cannot be kept: %v", err)
		}
	}
	if d.tail {
		if err := s.setAside(d, d.size); err != nil {
			s.warn("%v", err) // tried again before it is written to
		}
	}
	return x.ids[max(0, len(x.ids)-keptIDs):], nil
}

// setContents makes what was found what readers see.
func (s *Store) setContents(d *day, x *found) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.blocks = blocksOf(x.closed)
	d.indexer, d.size = x.indexer, x.size
	d.tail = !d.packed && d.info.Size() > d.size
}

// setFile makes another file the day's, or the same at another length.
func (s *Store) setFile(d *day, info os.FileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.info = info
}

// setTorn marks a day that cannot be read to its end, so that it is not tried
// again and again.
func (s *Store) setTorn(d *day, torn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.torn = torn
}

// name tells of the groups that are not as they were committed.
func (s *Store) name(d *day, x *found) {
	for i, g := range x.bad {
		if i == 10 {
			s.warn("%s: %d groups more are not as they were committed: see logd --verify", d.path, len(x.bad)-i)
			return
		}
		s.warn("%s: %v", d.path, g)
	}
}

// String tells where a bad group is and why it is bad.
func (g *group) String() string {
	return fmt.Sprintf("bytes %d to %d are not as they were committed: %s", g.from, g.to, g.fault)
}

// fitting are the entries of an index that are of d's file, and where the next
// group begins by the commits' count: the last of them ends with a commit that
// the file has there.
func fitting(known []entry, f *os.File, d *day) (fits []entry, claimed int64, err error) {
	for len(known) > 0 && known[len(known)-1].Commit == "" {
		known = known[:len(known)-1]
	}
	if len(known) == 0 {
		return nil, 0, nil
	}
	last := known[len(known)-1]
	if d.packed {
		if last.To != d.info.Size() {
			return nil, 0, nil
		}
		return known, 0, nil
	}
	if last.To > d.info.Size() {
		return nil, 0, nil
	}
	line, err := lastLine(f, last.To)
	if err != nil {
		return nil, 0, err
	}
	c, ok := parseCommit(line)
	if !ok || c.CRC32C != last.Commit {
		return nil, 0, nil
	}
	return known, c.At + c.Bytes + int64(len(line)), nil
}

// lastLine is the line that ends at end with its newline, or as much of one
// as a line can be long.
func lastLine(f io.ReaderAt, end int64) ([]byte, error) {
	for span := int64(64 << 10); ; span *= 8 {
		span = min(span, end, longestLine)
		buf := make([]byte, span)
		if _, err := f.ReadAt(buf, end-span); err != nil {
			return nil, err
		}
		if span > 0 {
			if at := bytes.LastIndexByte(buf[:span-1], '\n'); at >= 0 {
				return buf[at+1:], nil
			}
		}
		if span == end || span == longestLine {
			return buf, nil
		}
	}
}

// reload reads a day anew of which somebody replaced the file.
func (s *Store) reload(d *day) error {
	info, err := s.disk.Stat(d.path)
	if errors.Is(err, os.ErrNotExist) {
		if err := s.makeDay(d); err != nil {
			return err
		}
		s.renewed(d)
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", d.path)
	}
	f, err := openOwned(d.path, os.O_RDONLY, s.group)
	if err != nil {
		return err
	}
	defer f.Close()
	s.setFile(d, info)
	if _, err := s.readDay(d, f, nil, 0); err != nil {
		return err
	}
	s.renewed(d)
	return nil
}

func (s *Store) renewed(d *day) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.renews++
	d.renew = d.size
}
