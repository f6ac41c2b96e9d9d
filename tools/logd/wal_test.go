package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// powerDisk is a disk in a machine whose power can be cut: then of what was not
// synced any part is on it, and any part is not.
type powerDisk struct {
	realDisk
	mu    sync.Mutex
	left  int                   // writes and syncs until the power is cut
	dice  *rand.Rand            // what is lost then
	files map[string]*powerFile // by path, all that were opened
}

var errDead = errors.New("the power is cut")

type powerFile struct {
	diskFile
	disk *powerDisk
	path string
	undo []oldBlock // since it was synced, as its length
	size int64
}

// oldBlock is what a write replaced. The disk writes no more than this at once.
type oldBlock struct {
	at   int64
	text []byte
}

func (d *powerDisk) Open(path string) (diskFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left <= 0 {
		return nil, errDead
	}
	f, err := d.realDisk.Open(path)
	if err != nil {
		return nil, err
	}
	if old := d.files[path]; old != nil {
		old.diskFile = f
		return old, nil
	}
	size, err := fileSize(path)
	d.files[path] = &powerFile{diskFile: f, disk: d, path: path, size: size}
	return d.files[path], err
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *powerFile) WriteAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.left--; f.disk.left < 0 {
		return 0, errDead
	}
	for from := at; from < at+int64(len(p)); {
		to := min(at+int64(len(p)), (from/512+1)*512)
		old := make([]byte, to-from) // zeros where there was nothing
		if _, err := f.ReadAt(old, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		f.undo = append(f.undo, oldBlock{from, old})
		from = to
	}
	return f.diskFile.WriteAt(p, at)
}

func (f *powerFile) Datasync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.left--; f.disk.left < 0 {
		return errDead
	}
	f.undo = nil
	var err error
	f.size, err = fileSize(f.path)
	return err
}

func (f *powerFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.left <= 0 {
		return errDead
	}
	f.size = min(f.size, size)
	return f.diskFile.Truncate(size)
}

// stride leaves most of very many cuts to `make test`.
func stride() int {
	if testing.Short() {
		return 17
	}
	return 1
}

// lose takes back some of what was not synced when the power was cut.
func (d *powerDisk) lose(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[path]
		all := d.dice.IntN(3) // 0: nothing of it is lost, 1: all, 2: some
		now, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) { // it held nothing that the others do not
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := len(f.undo) - 1; i >= 0; i-- {
			if all == 1 || all == 2 && d.dice.IntN(2) == 0 {
				now.WriteAt(f.undo[i].text, f.undo[i].at)
			}
		}
		if size, _ := fileSize(path); len(f.undo) > 0 && all > 0 && size > f.size {
			now.Truncate(f.size + d.dice.Int64N(size-f.size+1))
		}
		now.Close()
	}
}

// TestPowerCut cuts the power while batches are stored, small and large ones.
// Each that was acknowledged is there once; each that is sent again is too.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	const writers = 4
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	dir := t.TempDir()
	next := make([]int, writers) // of each, the first that was not acknowledged
	body := func(w, n int) string {
		line := fmt.Sprintf(`{"w":%d,"n":%d,"x":"%s"}`+"\n", w, n, strings.Repeat("x", (w*7919+n*104729)%1500))
		return strings.Repeat(line, []int{1, 150, 1, 40, 1, 40, 1}[n%7]) // two fill the write-ahead log, one is too large for it
	}
	replayed, dice := 0, newDice(t)
	for round := range rounds {
		disk := &powerDisk{left: 1 + dice.IntN(400), dice: dice, files: make(map[string]*powerFile)}
		said := new(messages)
		s, err := openStore(storeOptions{dir: dir}, disk, newClock().now, said.warn)
		if errors.Is(err, errDead) { // while it put right what the last cut left
			disk.lose(t)
			continue
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		var all sync.WaitGroup
		for w := range next {
			all.Go(func() {
				for s.Append(newBatch(fmt.Sprintf("w%d-%d", w, next[w]), body(w, next[w]))) == nil {
					next[w]++
				}
			})
		}
		all.Wait()
		s.Close(t.Context()) // says that the power is cut
		disk.lose(t)
		if text, _ := os.ReadFile(s.own(walName)); len(parseWAL(text)) > 0 {
			replayed++
		}
	}
	l := startLog(t, dir)
	for w := range next {
		l.mustPost(t, fmt.Sprintf("w%d-%d", w, next[w]), body(w, next[w]))
		next[w]++
	}
	got := make(map[string]int)
	for line := range strings.Lines(l.find(t, "")) {
		got[line]++
	}
	distinct := 0
	for w := range next {
		for n := range next[w] {
			distinct++
			text := body(w, n)
			line := text[:strings.Index(text, "\n")+1]
			if want := strings.Count(text, "\n"); got[line] != want {
				t.Fatalf("batch w%d-%d is stored %d times", w, n, got[line]/want)
			}
		}
	}
	if len(got) != distinct || replayed == 0 {
		t.Errorf("%d batches are stored, %d were acknowledged; %d times there was something to replay", len(got), distinct, replayed)
	}
	t.Logf("%d batches; after %d of %d cuts there was something to replay", distinct, replayed, rounds)
}

// crashed is the directory of a log that went without notice, with what is in
// its write-ahead log.
func crashed(t *testing.T, lines []string) (dir string, files map[string]string) {
	t.Helper()
	dir = t.TempDir()
	s, err := openStore(storeOptions{dir: dir}, realDisk{}, newClock().now, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		if err := s.Append(newBatch(fmt.Sprint("b", i), line)); err != nil {
			t.Fatal(err)
		}
	}
	files = make(map[string]string)
	for _, name := range []string{"2026-11-21.jsonl", ownDir + "/2026-11-21.batches", ownDir + "/" + walName} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, files
}

var crashLines = []string{`{"n":1,"a":"first"}` + "\n", `{"n":2,"s":"w\u0065b"}` + "\n", `{"n":3,"x":[1,{"y":null}]}` + "\n"}

// reopen opens a log of these files, and is what it serves then, and when all
// was sent again.
func reopen(t *testing.T, files map[string]string) (before, after string, said *messages) {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, files)
	said = new(messages)
	s, err := openStore(storeOptions{dir: dir}, realDisk{}, newClock().now, said.warn)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	before = readAll(t, s)
	for i, line := range crashLines {
		if err := s.Append(newBatch(fmt.Sprint("b", i), line)); err != nil {
			t.Fatal(err)
		}
	}
	return before, readAll(t, s), said
}

func TestWriteAheadLogMakesUpForWhatTheFilesLost(t *testing.T) {
	t.Parallel()
	_, files := crashed(t, crashLines)
	want := strings.Join(crashLines, "")
	day, journal := "2026-11-21.jsonl", ownDir+"/2026-11-21.batches"
	for _, name := range []string{day, journal} {
		whole := files[name]
		for cut := 0; cut <= len(whole); cut += stride() {
			for _, rest := range []string{"", strings.Repeat("\x00", len(whole)-cut)} {
				files[name] = whole[:cut] + rest
				before, after, said := reopen(t, files)
				if before != want || after != want || said.String() != "" {
					t.Fatalf("%s cut at %d: serves %q, then %q; said %q", name, cut, before, after, said)
				}
			}
		}
		files[name] = whole
	}
	// A record that was not wholly written was not acknowledged.
	log := files[ownDir+"/"+walName]
	files[day], files[journal] = "", ""
	for cut := 0; cut < 3*walBlock; cut += stride() {
		if used := cut % walBlock; used > 200 && used < walBlock-10 {
			continue // among the zeros
		}
		files[ownDir+"/"+walName] = log[:cut] + strings.Repeat("\xff", walBlock)
		before, after, _ := reopen(t, files)
		if !strings.HasPrefix(want, before) || strings.Count(before, "\n") < cut/walBlock || after != want {
			t.Fatalf("write-ahead log cut at %d: serves %q, then %q", cut, before, after)
		}
	}
}

func TestWriteAheadLogOfAnotherFileIsSetAside(t *testing.T) {
	t.Parallel()
	large := `{"long":"` + strings.Repeat("x", walGroup) + `"}` + "\n" // goes round the write-ahead log
	_, files := crashed(t, []string{large, crashLines[0]})
	files["2026-11-21.jsonl"], files[ownDir+"/2026-11-21.batches"] = "{}\n", ""
	before, after, said := reopen(t, files)
	if before != "{}\n" || after != "{}\n"+strings.Join(crashLines, "") || !strings.Contains(said.String(), "wal.quarantine") {
		t.Errorf("serves %q, then %q; said %s", before, after, said)
	}
}

func TestAStoppedLogMayBeEdited(t *testing.T) {
	t.Parallel()
	dir, _ := crashed(t, crashLines) // and stopped after its files were copied
	writeLog(t, dir, "{}\n", "")
	l := startLog(t, dir)
	if got := l.find(t, ""); got != "{}\n" {
		t.Errorf("serves %q", got)
	}
}

// TestDayIsSyncedBeforeTheNext has the disk fail at the end of a day, whose
// last lines only the write-ahead log holds for sure.
func TestDayIsSyncedBeforeTheNext(t *testing.T) {
	t.Parallel()
	for _, name := range []string{plainExt, ".batches"} {
		t.Run(name, func(t *testing.T) { testDayIsSyncedBeforeTheNext(t, name) })
	}
}

func testDayIsSyncedBeforeTheNext(t *testing.T, name string) {
	disk := new(faultyDisk)
	l := startLog(t, t.TempDir(), func(s *server) { s.disk = disk })
	l.mustPost(t, "a", `{"n":1}`)
	l.clock.add(24 * time.Hour)
	disk.set(func(op, path string) (int, error) {
		if op == "sync" && strings.HasSuffix(path, "2026-11-21"+name) {
			return 0, syscall.EIO
		}
		return 0, nil
	})
	for range 2 {
		if status, text := l.postRaw(t, "b", `{"n":2}`); status != 503 || !strings.Contains(text, syscall.EIO.Error()) {
			t.Errorf("status %d, %s", status, text)
		}
	}
	if text, _ := os.ReadFile(l.store.own("wal")); !bytes.Contains(text, []byte(`{"n":1}`)) {
		t.Error("the write-ahead log has lost the line")
	}
	disk.set(nil)
	l.mustPost(t, "b", `{"n":2}`)
	if first, second := l.file(t, "2026-11-21.jsonl"), l.file(t, "2026-11-22.jsonl"); first != "{\"n\":1}\n" || second != "{\"n\":2}\n" {
		t.Errorf("%q, %q", first, second)
	}
}

// FuzzWAL reads any write-ahead log, and one that it wrote.
func FuzzWAL(f *testing.F) {
	one, sum := newWALRecord("2026-11-21", 0, []byte("{\"n\":1}\n"), 0, []byte("0 8 a\n")).appendTo(nil, 0)
	two, _ := newWALRecord("2026-11-21", 8, make([]byte, walGroup+1), 6, nil).appendTo(one, sum)
	f.Add(two, []byte("{}\n"), []byte("id"), int64(3))
	f.Add([]byte("00000000 2026-11-21 0 9 00000000 9223372036854775807 0 9223372036854775807\n"), []byte{}, []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, text, lines, ids []byte, at int64) {
		before := parseWAL(text)
		if at < 0 {
			return
		}
		var sum uint32
		var whole []byte
		for _, r := range append(before, newWALRecord("2026-11-21", at, lines, at, ids)) {
			record, next := r.appendTo(nil, sum)
			whole, sum = append(whole, record...), next
		}
		again := parseWAL(append(whole, text...))
		if len(again) < len(before)+1 {
			t.Fatalf("wrote %d records, read %d", len(before)+1, len(again))
		}
		last := again[len(before)]
		if last.at != at || last.size != int64(len(lines)) || last.lines != nil && !bytes.Equal(last.lines, lines) || !bytes.Equal(last.ids, ids) {
			t.Fatalf("wrote %q, read %+v", lines, last)
		}
	})
}
