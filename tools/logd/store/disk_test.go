package store

import (
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

	"winnow/tools/testkit"
)

// stride leaves most of very many cuts to `make test`.
func stride() int {
	if testing.Short() {
		return 17
	}
	return 1
}

// powerDisk is a disk in a machine whose power can be cut: then of what was not
// synced any part is on it, and any part is not, files and their names included.
type powerDisk struct {
	realDisk
	mu    sync.Mutex
	left  int                   // calls until the power is cut
	dice  *rand.Rand            // what is lost then
	files map[string]*powerFile // by path, all that were opened
	fresh map[string]bool       // made since the directory was synced
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

// dead counts a call, and tells whether it comes too late.
func (d *powerDisk) dead() bool {
	d.left--
	return d.left < 0
}

func (d *powerDisk) Create(path string) (diskFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
		return nil, errDead
	}
	f, err := d.realDisk.Create(path)
	if err != nil {
		return nil, err
	}
	d.fresh[path] = true
	d.files[path] = &powerFile{diskFile: f, disk: d, path: path}
	return d.files[path], nil
}

func (d *powerDisk) Open(path string) (diskFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
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
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d.files[path] = &powerFile{diskFile: f, disk: d, path: path, size: info.Size()}
	return d.files[path], nil
}

func (d *powerDisk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
		return errDead
	}
	delete(d.files, path)
	delete(d.fresh, path)
	return d.realDisk.Remove(path)
}

func (d *powerDisk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
		return errDead
	}
	clear(d.fresh)
	return nil
}

func (f *powerFile) WriteAt(p []byte, at int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.dead() {
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
	if f.disk.dead() {
		return errDead
	}
	f.undo = nil
	info, err := f.diskFile.Stat()
	if err == nil {
		f.size = info.Size()
	}
	return err
}

func (f *powerFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.dead() {
		return errDead
	}
	f.size = min(f.size, size)
	return f.diskFile.Truncate(size)
}

// lose takes back some of what was not synced when the power was cut. A file may
// have its length and not its data, or the other way round.
func (d *powerDisk) lose(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[path]
		now, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := now.Stat()
		if err != nil {
			t.Fatal(err)
		}
		blocks := d.dice.IntN(4) // 0: none is lost, 1: all, else some
		for i := len(f.undo) - 1; i >= 0; i-- {
			if blocks == 1 || blocks > 1 && d.dice.IntN(2) == 0 {
				now.WriteAt(f.undo[i].text, f.undo[i].at)
			}
		}
		switch length := d.dice.IntN(3); {
		case len(f.undo) > 0 && length == 1 && info.Size() > f.size:
			now.Truncate(f.size + d.dice.Int64N(info.Size()-f.size+1))
		default: // what was written back may have made it longer
			now.Truncate(max(f.size, info.Size()))
		}
		now.Close()
		if d.fresh[path] && d.dice.IntN(2) == 0 {
			os.Remove(path)
		}
	}
}

// TestPowerCut cuts the power while batches are stored, small and large ones,
// and while what an earlier cut left is put right. Each batch that was
// acknowledged is there once, and so is each that is sent again.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	const writers = 4
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	dir := t.TempDir()
	next := make([]int, writers) // of each, the first that was not acknowledged
	body := func(w, n int) string {
		line := fmt.Sprintf(`{"w":%d,"n":%d,"x":"%s"}`+"\n", w, n, strings.Repeat("x", (w*7919+n*104729)%500))
		return strings.Repeat(line, []int{1, 30, 1, 5, 1, 5, 1}[n%7])
	}
	clock := testkit.NewClock()
	repairs, dice := 0, testkit.Dice(t)
	for round := range rounds {
		disk := &powerDisk{realDisk: realDisk{-1}, left: 1 + dice.IntN(200), dice: dice, files: make(map[string]*powerFile), fresh: make(map[string]bool)}
		s, err := tryOpen(dir, func(u *setup) { u.disk, u.clock = disk, clock })
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if strings.Contains(s.said.String(), "set aside") && strings.Contains(s.said.String(), errDead.Error()) {
			repairs++
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
		if dice.IntN(4) == 0 {
			os.RemoveAll(filepath.Join(dir, ownDir))
		}
		clock.Pass(time.Duration(dice.IntN(24)) * time.Hour)
	}
	s := openLog(t, dir, func(u *setup) { u.clock = clock })
	for w := range next {
		s.add(t, fmt.Sprintf("w%d-%d", w, next[w]), body(w, next[w]))
		next[w]++
	}
	got := make(map[string]int)
	for line := range strings.Lines(s.all(t)) {
		got[line]++
	}
	distinct := 0
	for w := range next {
		for n := range next[w] {
			distinct++
			text := body(w, n)
			line := text[:strings.Index(text, "\n")+1]
			if want := strings.Count(text, "\n"); got[line] != want {
				t.Fatalf("batch w%d-%d: %d lines of %d", w, n, got[line], want)
			}
		}
	}
	aside := len(files(t, dir, "*"+quarantineExt))
	if len(got) != distinct || aside == 0 {
		t.Errorf("%d batches are stored, %d were acknowledged; %d ends were set aside", len(got), distinct, aside)
	}
	s.close(t)
	if said := verified(t, dir); said != "" {
		t.Errorf("verify: %s", said)
	}
	t.Logf("%d batches in %d days; %d ends set aside in %d cuts, of which %d cut the repair", distinct, len(files(t, dir, "*"+plainExt)), aside, rounds, repairs)
}

// TestAHoleInAGroupOfFullLength has the disk lose what is in the middle of the
// last group, and keep its length and its commit.
func TestAHoleInAGroupOfFullLength(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	s.add(t, "a", "{\"n\":1}\n")
	large := strings.Repeat(`{"long":"`+strings.Repeat("x", 1000)+`"}`+"\n", 200)
	s.add(t, "b", large)
	s.close(t)
	text := []byte(readFile(t, dir, noonDay))
	at := strings.Index(string(text), `{"long"`)
	clear(text[at+50_000 : at+54_096])
	writeFile(t, dir, noonDay, string(text))
	for range 2 {
		os.RemoveAll(filepath.Join(dir, ownDir))
		s = openLog(t, dir)
		if got := s.all(t); got != "{\"n\":1}\n" {
			t.Fatalf("answers %.100q", got)
		}
		s.close(t)
	}
	s = openLog(t, dir)
	if b := s.add(t, "b", large); b.Duplicate {
		t.Error("takes a batch for stored that is not")
	}
	if b := s.add(t, "a", "{\"n\":1}\n"); !b.Duplicate {
		t.Error("stored the first batch again")
	}
	if got := s.all(t); got != "{\"n\":1}\n"+large {
		t.Errorf("answers %.100q", got)
	}
}

// TestCutAnywhere cuts the day at every byte of its last groups, with an index
// and without, and leaves there nothing, zeros, or what is no line.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	lines := []string{`{"n":1,"a":"first"}` + "\n", `{"n":2,"s":"w\u0065b"}` + "\n", `{"n":3,"x":[1,{"y":null}]}` + "\n"}
	whole := t.TempDir()
	s := openLog(t, whole)
	var ends []int
	for i, line := range lines {
		s.add(t, fmt.Sprint("b", i), line)
		ends = append(ends, len(readFile(t, whole, noonDay)))
	}
	s.close(t)
	day := readFile(t, whole, noonDay)
	for _, tail := range []string{"", strings.Repeat("\x00", 100_000), "\x00\n", "\x00\x00{\"n\":9}\n", "{\"n\":9}\n", day[:ends[0]]} {
		step := stride()
		if tail != "" && tail[0] != 0 {
			step *= 11
		}
		for cut := 0; cut <= len(day); cut += step {
			dir := t.TempDir()
			had := day[:cut] + tail
			writeFile(t, dir, noonDay, had)
			s := openLog(t, dir)
			kept, end := "", 0
			for i, line := range lines {
				if ends[i] <= cut {
					kept, end = kept+line, ends[i]
				}
			}
			if tail == "{\"n\":9}\n" && cut == 0 {
				kept, end = tail, len(tail) // the lines of somebody else's file
			}
			if strings.HasPrefix(tail, day[:100]) && cut < ends[0] {
				continue // what is cut is followed by a whole beginning; which of the two is kept is tried below
			}
			if got := s.all(t); got != kept {
				t.Fatalf("cut at %d before %.20q: serves %q, want %q", cut, tail, got, kept)
			}
			aside := files(t, dir, "*"+quarantineExt)
			for _, name := range aside {
				if text := readFile(t, dir, name); !strings.HasSuffix(had, text) || end+len(text) > len(had) {
					t.Fatalf("cut at %d before %.20q: set aside %q", cut, tail, text)
				}
			}
			if torn := cut != len(day) && cut != ends[0] && cut != ends[1] && cut > ends[0] || tail != "" && cut >= ends[0]; torn && len(aside) != 1 {
				t.Fatalf("cut at %d before %.20q: set aside %v", cut, tail, aside)
			}
			for i, line := range lines {
				if b := s.add(t, fmt.Sprint("b", i), line); b.Duplicate != (ends[i] <= cut) {
					t.Fatalf("cut at %d: batch %d: duplicate is %v", cut, i, b.Duplicate)
				}
			}
			s.close(t)
			if said := verified(t, dir); said != "" {
				t.Fatalf("cut at %d before %.20q: verify: %s", cut, tail, said)
			}
		}
	}
}

// faultyDisk fails as it is told.
type faultyDisk struct {
	realDisk
	mu   sync.Mutex
	fail func(op, path string) (short int, err error)
}

type faultyFile struct {
	diskFile
	disk *faultyDisk
	path string
	sick bool // a sync failed: what this descriptor says is no longer true
}

func (d *faultyDisk) set(fail func(op, path string) (int, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func (d *faultyDisk) ask(op, path string) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return 0, nil
	}
	return d.fail(op, path)
}

func (d *faultyDisk) Open(path string) (diskFile, error) {
	if _, err := d.ask("open", path); err != nil {
		return nil, err
	}
	return d.wrap(path)(d.realDisk.Open(path))
}

func (d *faultyDisk) Create(path string) (diskFile, error) {
	if _, err := d.ask("create", path); err != nil {
		return nil, err
	}
	return d.wrap(path)(d.realDisk.Create(path))
}

func (d *faultyDisk) wrap(path string) func(diskFile, error) (diskFile, error) {
	return func(f diskFile, err error) (diskFile, error) {
		if err != nil {
			return nil, err
		}
		return &faultyFile{f, d, path, false}, nil
	}
}

func (d *faultyDisk) Stat(path string) (os.FileInfo, error) {
	if _, err := d.ask("stat", path); err != nil {
		return nil, err
	}
	return d.realDisk.Stat(path)
}

func (d *faultyDisk) Rename(from, to string) error {
	if _, err := d.ask("rename", from); err != nil {
		return err
	}
	return d.realDisk.Rename(from, to)
}

func (d *faultyDisk) Remove(path string) error {
	if _, err := d.ask("remove", path); err != nil {
		return err
	}
	return d.realDisk.Remove(path)
}

func (d *faultyDisk) SyncDir(dir string) error {
	if _, err := d.ask("syncdir", dir); err != nil {
		return err
	}
	return d.realDisk.SyncDir(dir)
}

func (d *faultyDisk) Free(dir string) (int64, error) {
	if _, err := d.ask("free", dir); err != nil {
		return 0, err
	}
	return 1 << 40, nil // others write to the real one
}

func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if f.sick {
		panic("writes to a descriptor whose sync failed")
	}
	short, err := f.disk.ask("write", f.path)
	if err != nil {
		n, _ := f.diskFile.WriteAt(p[:min(short, len(p))], at)
		return n, err
	}
	return f.diskFile.WriteAt(p, at)
}

func (f *faultyFile) Datasync() error {
	if f.sick {
		panic("syncs a descriptor again whose sync failed")
	}
	if _, err := f.disk.ask("sync", f.path); err != nil {
		f.sick = true
		return err
	}
	return f.diskFile.Datasync()
}

func (f *faultyFile) Truncate(size int64) error {
	if _, err := f.disk.ask("truncate", f.path); err != nil {
		return err
	}
	return f.diskFile.Truncate(size)
}

func (f *faultyFile) Stat() (os.FileInfo, error) {
	if _, err := f.disk.ask("fstat", f.path); err != nil {
		return nil, err
	}
	return f.diskFile.Stat()
}

// TestAFaultOfEveryCall has each call to the disk fail in turn, once and from
// then on, while a day is stored, another begins, and a file is replaced.
func TestAFaultOfEveryCall(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{true, false} {
		for at := 0; ; at++ {
			if reached := faultAt(t, at, once); !reached {
				if at < 15 {
					t.Errorf("only %d calls were made", at)
				}
				break
			}
		}
	}
}

func faultAt(t *testing.T, at int, once bool) (reached bool) {
	t.Helper()
	dir := t.TempDir()
	calls, what := 0, ""
	disk := &faultyDisk{realDisk: realDisk{-1}}
	s := openLog(t, dir, func(u *setup) { u.disk = disk })
	disk.set(func(op, path string) (int, error) {
		calls++
		if calls-1 == at || calls-1 > at && !once {
			if !reached {
				what = op + " " + filepath.Base(path)
			}
			reached = true
			return 7, syscall.EIO
		}
		return 0, nil
	})
	want := ""
	send := func(id, line string) {
		for range 3 {
			b := newBatch(id, line)
			if s.Append(b) == nil {
				if !b.Duplicate {
					want += line
				}
				return
			}
		}
	}
	send("a", "{\"n\":1}\n")
	send("b", "{\"n\":2}\n")
	s.fake.Pass(24 * time.Hour)
	send("c", "{\"n\":3}\n")
	if path := filepath.Join(dir, "2026-11-22.jsonl"); s.file != nil {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("{\"foreign\":1}\n")
		f.Close()
	}
	send("d", "{\"n\":4}\n")
	if got := s.all(t); got != want {
		t.Fatalf("%d (%s), once %v: answers %q, acknowledged %q; said %s", at, what, once, got, want, s.said)
	}
	disk.set(nil)
	for i, id := range []string{"a", "b", "c", "d"} {
		send(id, fmt.Sprintf("{\"n\":%d}\n", i+1))
	}
	if got := s.all(t); got != want || strings.Count(want, "\n") != 4 {
		t.Fatalf("%d (%s), once %v: when it is well again answers %q, acknowledged %q; said %s", at, what, once, got, want, s.said)
	}
	s.close(t)
	again := openLog(t, dir, func(u *setup) { u.clock.Pass(24 * time.Hour) })
	if got := again.all(t); got != want {
		t.Fatalf("%d (%s), once %v: after a restart %q, acknowledged %q; said %s", at, what, once, got, want, again.said)
	}
	again.close(t)
	if said := verified(t, dir); said != "" {
		t.Fatalf("%d (%s), once %v: verify: %s", at, what, once, said)
	}
	return reached
}

func TestDiskFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, op string
		short    int
		err      error
		full     bool
	}{
		{"fsync", "sync", 0, syscall.EIO, false},
		{"short write", "write", 17, io.ErrShortWrite, false},
		{"full within a line", "write", 5, syscall.ENOSPC, true},
		{"full within the commit", "write", 60, syscall.ENOSPC, true},
		{"quota", "write", 0, syscall.EDQUOT, true},
		{"no length", "fstat", 0, syscall.EIO, false},
		{"no room told", "free", 0, syscall.EIO, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			disk := &faultyDisk{realDisk: realDisk{-1}}
			dir := t.TempDir()
			s := openLog(t, dir, func(u *setup) { u.disk = disk })
			s.add(t, "one", "{\"n\":1}\n")
			disk.set(func(op, path string) (int, error) {
				if op == test.op {
					return test.short, test.err
				}
				return 0, nil
			})
			if test.op == "fstat" {
				s.file.Close() // have it opened anew
				s.file = nil
			}
			for range 3 {
				err := s.Append(newBatch("two", "{\"n\":2,\"a longer line\":true}\n"))
				if !errors.Is(err, test.err) || errors.Is(err, ErrFull) != test.full {
					t.Errorf("answers %v", err)
				}
				if s.Ready() == nil {
					t.Error("says that it is ready")
				}
			}
			if got := s.all(t); got != "{\"n\":1}\n" {
				t.Errorf("reads %q", got)
			}
			disk.set(nil)
			s.add(t, "two", "{\"n\":2}\n")
			if b := s.add(t, "two", "{\"n\":2}\n"); !b.Duplicate {
				t.Error("stored it twice")
			}
			if err := s.Ready(); err != nil {
				t.Errorf("is not ready again: %v", err)
			}
			s.close(t)
			if got := testkit.WithoutCommits(readFile(t, dir, noonDay)); got != "{\"n\":1}\n{\"n\":2}\n" {
				t.Errorf("holds %q", got)
			}
		})
	}
}
