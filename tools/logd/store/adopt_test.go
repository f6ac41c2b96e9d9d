package store

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/testkit"

	"golang.org/x/sys/unix"
)

// oldLog unpacks a log that logd of commit 5ee15a8 left when its container was
// removed by force: a compressed day, a plain one, and one that was written.
func oldLog(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open("testdata/log-5ee15a8.tar.gz")
	check(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	check(t, err)
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		check(t, err)
		text, err := io.ReadAll(in)
		check(t, err)
		if h.Typeflag == tar.TypeReg {
			writeFile(t, dir, h.Name, string(text))
		}
	}
}

// oldLines are what was posted to that logd: of each batch its id and lines.
func oldLines() (ids, bodies []string) {
	line := func(day, n, i int) string {
		return fmt.Sprintf(`{"type":"container","time":"2026-11-%02dT12:00:%02dZ","host":"old","id":"%064x","day":%d,"batch":%d,"line":%d}`+"\n", day, n%60, n, day, n, i)
	}
	add := func(id string, day, n, lines int) {
		body := ""
		for i := range lines {
			body += line(day, n, i)
		}
		ids, bodies = append(ids, id), append(bodies, body)
	}
	for _, day := range []int{20, 21, 28} {
		for n := range 40 {
			add(fmt.Sprintf("d%d-%d", day, n), day, n, 3)
		}
	}
	add("", 28, 99, 1)
	add("large", 28, 50, 600)
	for n := 100; n < 140; n++ {
		add(fmt.Sprintf("d28-%d", n), 28, n, 1)
	}
	return ids, bodies
}

func onTheDayAfter(u *setup) { u.clock.Set(time.Date(2026, 11, 29, 1, 0, 0, 0, time.UTC)) }

// TestALogFromBeforeIsAdopted also has the machine's disk lose what only the
// write-ahead log held for sure.
func TestALogFromBeforeIsAdopted(t *testing.T) {
	t.Parallel()
	const day, journal = "2026-11-28.jsonl", ownDir + "/2026-11-28.batches"
	ids, bodies := oldLines()
	want := strings.Join(bodies, "")
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"killed": func(*testing.T, string) {},
		"what came after the large group is not on the disk": func(t *testing.T, dir string) {
			text := readFile(t, dir, day)
			at := strings.Index(text, `"batch":100,`)
			at = strings.LastIndex(text[:at], "\n") + 1
			writeFile(t, dir, day, text[:at]+strings.Repeat("\x00", len(text)-at-7))
			lines := strings.SplitAfter(readFile(t, dir, journal), "\n")
			writeFile(t, dir, journal, strings.Join(lines[:42], ""))
		},
		"a torn line": func(t *testing.T, dir string) {
			writeFile(t, dir, day, readFile(t, dir, day)+`{"type":"cont`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := oldLog(t)
			spoil(t, dir)
			s := openLog(t, dir, onTheDayAfter)
			testkit.Eventually(t, "all are adopted", func() bool { return len(files(t, dir, ownDir+"/*.batches")) == 0 })
			for range 2 {
				if got := s.all(t); got != want {
					t.Fatalf("answers %d bytes, want %d; said %s", len(got), len(want), s.said)
				}
				for i, id := range ids {
					if id != "" && !s.add(t, id, bodies[i]).Duplicate {
						t.Fatalf("%s is stored again; said %s", id, s.said)
					}
				}
				s.close(t)
				check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
				if said := verified(t, dir); said != "" {
					t.Errorf("verify: %s", said)
				}
				s = openLog(t, dir, onTheDayAfter)
			}
			for _, name := range []string{"2026-11-20.jsonl", "2026-11-21.jsonl", day} {
				text := readFile(t, dir, name)
				if n := strings.Count(text, `"adopted":true`); n != 1 || strings.Contains(text, "\x00") {
					t.Errorf("%s has %d commits of adoption", name, n)
				}
			}
			s.add(t, "new", "{\"new\":1}\n")
			if got := s.all(t); got != want+"{\"new\":1}\n" {
				t.Errorf("goes on with %q", strings.TrimPrefix(got, want))
			}
		})
	}
}

// TestAnOldDayThatCannotBeWrittenIsRead has no room for the commit.
func TestAnOldDayThatCannotBeWrittenIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, dir, noonDay, "{\"n\":1}\n{\"n\":2}\n{\"to")
	writeFile(t, dir, ownDir+"/2026-11-21.batches", "0 8 a\n8 16 b\n")
	s := openLog(t, dir, func(u *setup) { u.MinFree = 1 << 60 })
	if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("answers %q; said %s", got, s.said)
	}
	if err := s.Append(newBatch("c", "{\"n\":3}\n")); !errors.Is(err, ErrFull) {
		t.Errorf("stores: %v", err)
	}
	s.MinFree = 0
	for _, id := range []string{"a", "b", "c"} {
		s.add(t, id, "{\"n\":3}\n")
	}
	if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("then answers %q; said %s", got, s.said)
	}
	s.close(t)
	if said := verified(t, dir); said != "" {
		t.Errorf("verify: %s", said)
	}
}

func TestManyIDsOfAnOldDayAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var day, journal strings.Builder
	const n = keptIDs + 500
	for i := range n {
		fmt.Fprintf(&journal, "%d %d old-%d\n", day.Len(), day.Len()+3, i)
		day.WriteString("{}\n")
	}
	writeFile(t, dir, noonDay, day.String())
	writeFile(t, dir, ownDir+"/2026-11-21.batches", journal.String())
	for range 2 {
		s := openLog(t, dir)
		if s.seen.has("old-499") || !s.seen.has("old-500") || !s.seen.has(fmt.Sprint("old-", n-1)) {
			t.Errorf("knows %d; said %s", len(s.seen.known), s.said)
		}
		s.close(t)
		check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
	}
}

// TestALogdFromBeforeIsKeptOff has one hold its own lock, which is another.
func TestALogdFromBeforeIsKeptOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, dir, ownDir+"/lock", "")
	lock, err := os.Open(filepath.Join(dir, ownDir, "lock"))
	check(t, err)
	check(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	if _, err := tryOpen(dir); err == nil || !strings.Contains(err.Error(), "another logd writes here") {
		t.Errorf("opened beside it: %v", err)
	}
	check(t, lock.Close())
	openLog(t, dir)
	if left := files(t, dir, ownDir+"/lock"); len(left) > 0 {
		t.Errorf("left is %v", left)
	}
}

// fullDisk has no room until it is given some.
type fullDisk struct {
	quickDisk
	hasRoom atomic.Bool
}

func (d *fullDisk) Free(dir string) (int64, error) {
	if !d.hasRoom.Load() {
		return 0, nil
	}
	return d.quickDisk.Free(dir)
}

// TestAdoptionIsTriedAgain has no room for a commit at the start.
func TestAdoptionIsTriedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, dir, noonDay, "{\"n\":1}\n{\"n\":2}\n{\"torn\":")
	d := &fullDisk{quickDisk: quickDisk{realDisk{-1}}}
	s := openLog(t, dir, func(u *setup) { u.disk, u.Compress = d, true; u.clock.Pass(day1) })
	if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("without room answers %q", got)
	}
	d.hasRoom.Store(true)
	s.add(t, "", "{\"n\":3}\n")
	s.tendNow()
	if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("answers %q", got)
	}
	if len(files(t, dir, noonDay+".zst")) != 1 || len(files(t, dir, noonDay+".16*"+quarantineExt)) != 1 {
		t.Errorf("there are %v; said %s", files(t, dir, "*"), s.said)
	}
	if said := verified(t, dir); said != "" {
		t.Errorf("verify says %s", said)
	}
}
