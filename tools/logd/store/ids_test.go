package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

// slowDisk syncs when it is told to go on.
type slowDisk struct {
	realDisk
	begun, goOn chan struct{}
}

func (d *slowDisk) Create(path string) (diskFile, error) { return d.wrap(d.realDisk.Create(path)) }

func (d *slowDisk) Open(path string) (diskFile, error) { return d.wrap(d.realDisk.Open(path)) }

func (d *slowDisk) wrap(f diskFile, err error) (diskFile, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{f, d}, nil
}

type slowFile struct {
	diskFile
	disk *slowDisk
}

func (f slowFile) Datasync() error {
	select {
	case f.disk.begun <- struct{}{}:
	default:
	}
	<-f.disk.goOn
	return f.diskFile.Datasync()
}

func TestOneIDTwiceInAGroup(t *testing.T) {
	t.Parallel()
	disk := &slowDisk{realDisk: realDisk{-1}, begun: make(chan struct{}, 100), goOn: make(chan struct{})}
	s := openLog(t, t.TempDir(), func(u *setup) { u.disk = disk })
	first := make(chan error, 1)
	go func() { first <- s.Append(newBatch("first", "{}\n")) }()
	<-disk.begun // the day's beginning is being synced
	var twins [2]*Batch
	done := make(chan error, 2)
	for i := range twins {
		twins[i] = newBatch("twin", "{\"n\":1}\n")
		go func() { done <- s.Append(twins[i]) }()
	}
	testkit.Eventually(t, "both wait", func() bool { return len(s.queue) == 2 })
	close(disk.goOn)
	for _, c := range []chan error{first, done, done} {
		if err := <-c; err != nil {
			t.Fatal(err)
		}
	}
	if twins[0].Duplicate == twins[1].Duplicate || strings.Count(s.all(t), "{\"n\":1}") != 1 {
		t.Errorf("duplicates: %v, %v; holds %s", twins[0].Duplicate, twins[1].Duplicate, s.all(t))
	}
}

func TestIDsAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	seen := newSeenIDs()
	for i := range keptIDs + 10 {
		seen.add(fmt.Sprint("b", i))
	}
	seen.add("b11") // again: not younger by that
	if len(seen.known) != keptIDs || seen.has("b9") || !seen.has("b10") || !seen.has(fmt.Sprint("b", keptIDs+9)) {
		t.Errorf("knows %d ids, b9: %v, b10: %v", len(seen.known), seen.has("b9"), seen.has("b10"))
	}
}

// TestTheLastIDsComeFromManyDays has them in days with and without an index,
// compressed ones and plain.
// TestNoMoreIDsAreHeldThanAreKept reads a day of five times as many, plain,
// compressed and by its index.
func TestNoMoreIDsAreHeldThanAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var text []byte
	line := []byte(fmt.Sprintf("{\"x\":\"%s\"}\n", strings.Repeat("x", blockSize/8)))
	last := ""
	for n := 0; n < 5*keptIDs; {
		c := commit{Type: record.TypeCommit, Time: testkit.Noon, At: int64(len(text)), Bytes: int64(len(line)), Lines: 1}
		for range maxGroup {
			last = fmt.Sprint("b", n)
			c.Batches = append(c.Batches, last)
			n++
		}
		text = append(append(text, line...), c.seal(line)[len(line):]...)
	}
	writeFile(t, dir, noonDay, string(text))
	look := func(how string, entries []entry) {
		t.Helper()
		held := 0
		for _, e := range entries {
			held += len(e.Batches)
		}
		if held < keptIDs || held > keptIDs+16*maxGroup {
			t.Errorf("%s holds %d ids", how, held)
		}
	}
	x := newFound(nil)
	check(t, x.read(newGroupReader(bytes.NewReader(text), 0, 0)))
	look("a plain day", x.closed)

	s := openLog(t, dir, func(u *setup) { u.Compress = true; u.clock.Pass(day1) })
	_, entries, err := openIndex(filepath.Join(dir, ownDir, "2026-11-21.index"), -1)
	check(t, err)
	look("its index", entries)
	s.add(t, "", "{}\n")
	testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 })
	s.close(t)
	f, err := os.Open(filepath.Join(dir, "2026-11-21"+packedExt))
	check(t, err)
	defer f.Close()
	info, err := f.Stat()
	check(t, err)
	x, err = s.readPacked(&day{info: info}, f)
	check(t, err)
	look("a compressed day", x.packed)
	if s = openLog(t, dir, func(u *setup) { u.clock.Pass(day1) }); !s.seen.has(last) || s.seen.has("b0") {
		t.Error("the last ids are not known, or the first ones are")
	}
}

func TestTheLastIDsComeFromManyDays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	compress := func(u *setup) { u.Compress = true }
	s := openLog(t, dir, compress)
	const days, each = 3, 50
	for d := range days {
		for n := range each {
			s.add(t, fmt.Sprintf("d%d-%d", d, n), "{\"n\":1}\n")
		}
		s.fake.Pass(24 * time.Hour)
	}
	s.add(t, "", "{}\n")
	testkit.Eventually(t, "the days are compressed", func() bool { return len(files(t, dir, "*"+packedExt)) == days && len(files(t, dir, "*"+plainExt)) == 1 })
	s.close(t)
	for _, lose := range []string{"", ownDir + "/*", ownDir + "/2026-11-22*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, lose))
		for _, path := range paths {
			if lose != "" {
				os.Remove(path)
			}
		}
		s := openLog(t, dir, func(u *setup) { u.clock.Pass(days * 24 * time.Hour) })
		for d := range days {
			for n := range each {
				if !s.seen.has(fmt.Sprintf("d%d-%d", d, n)) {
					t.Fatalf("without %q: d%d-%d is not known; said %s", lose, d, n, s.said)
				}
			}
		}
		s.close(t)
	}
}

func TestTheSameBatchesAgainWithoutTheIndex(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	for round := range 2 {
		for n := range 1000 {
			if b := s.add(t, fmt.Sprint("b", n), fmt.Sprintf("{\"n\":%d}\n", n)); b.Duplicate != (round == 1) {
				t.Fatalf("round %d, batch %d: duplicate is %v", round, n, b.Duplicate)
			}
		}
		s.close(t)
		if err := os.RemoveAll(filepath.Join(dir, ownDir)); err != nil {
			t.Fatal(err)
		}
		s = openLog(t, dir)
	}
	if n := strings.Count(s.all(t), "\n"); n != 1000 {
		t.Errorf("%d lines", n)
	}
}
