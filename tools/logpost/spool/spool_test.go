package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// lines are n lines that begin with their number from first on.
func lines(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"n":%-5d,"type":"container"}`+"\n", first+i)
	}
	return b.String()
}

// waiting is the text of all that waits in dir, in order.
func waiting(t *testing.T, dir string) string {
	t.Helper()
	files, _, err := New(dir, 0).waiting()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for i := range files {
		b, err := files[i].Read()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b.Body)
	}
	return all.String()
}

// The body is on disk before it has its name, and the name, and those of new
// directories, before put returns.
func TestPutIsOnDiskWhenItReturns(t *testing.T) {
	root := t.TempDir()
	s := New(filepath.Join(root, "made", "spool"), 1<<20)
	var synced []string
	s.sync = func(f *os.File) error {
		synced = append(synced, strings.TrimPrefix(f.Name(), root)+": "+holds(t, f.Name()))
		return f.Sync()
	}
	put := func(id string) {
		t.Helper()
		if _, kept, err := s.Put(&Batch{id, []byte(lines(1, 2))}, Waiting); err != nil || kept != 2 {
			t.Fatalf("kept %d, %v", kept, err)
		}
	}
	put("a")
	want := []string{": made", "/made: spool", "/made/spool/version: 1\n", "/made/spool/tmp: " + lines(1, 2), "/made/spool: 000000000001_a.ndjson lock version"}
	if !reflect.DeepEqual(synced, want) {
		t.Errorf("synced\n%q, want\n%q", synced, want)
	}
	synced = nil
	put("b")
	want = []string{"/made/spool/tmp: " + lines(1, 2), "/made/spool: 000000000001_a.ndjson 000000000002_b.ndjson lock version"}
	if !reflect.DeepEqual(synced, want) {
		t.Errorf("then synced\n%q, want\n%q", synced, want)
	}
	if reflect.ValueOf(New("", 0).sync).Pointer() != reflect.ValueOf((*os.File).Sync).Pointer() {
		t.Error("a spool does not sync its files")
	}
}

// holds is the text of a file, or the names in a directory.
func holds(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// Who finds a spool of a later layout leaves it as it is; one from before has no version.
func TestVersion(t *testing.T) {
	for text, fits := range map[string]bool{"1\n": true, "": true, "2\n": false, "1.1": false, "10": false, "\x00\x00": false} {
		s := New(t.TempDir(), 1<<20)
		if err := os.WriteFile(filepath.Join(s.Dir, "version"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(); (err == nil) != fits || err != nil && !errors.Is(err, ErrNewer) {
			t.Errorf("%q: %v", text, err)
		}
	}
	s := New(filepath.Join(t.TempDir(), "new"), 4)
	if err := s.Check(); err != nil {
		t.Errorf("one that is not there: %v", err)
	}
	if _, kept, err := s.Put(&Batch{"a", []byte("abc\n")}, Waiting); kept != 1 || err != nil {
		t.Errorf("its version takes of the room: kept %d, %v", kept, err)
	}
	if text, err := os.ReadFile(filepath.Join(s.Dir, "version")); string(text) != "1\n" || err != nil {
		t.Errorf("a new one is of version %q, %v", text, err)
	}
}

// A sync that fails is a batch that is not kept.
func TestSyncThatFails(t *testing.T) {
	for n := range 3 { // the version's, the file's, then the directory's
		s := New(t.TempDir(), 1<<20)
		calls := 0
		s.sync = func(*os.File) error {
			if calls++; calls == n+1 {
				return syscall.EIO
			}
			return nil
		}
		if _, kept, err := s.Put(&Batch{"a", []byte(lines(1, 2))}, Waiting); !errors.Is(err, syscall.EIO) || kept != 0 {
			t.Errorf("sync %d: kept %d, %v", n, kept, err)
		}
		if _, err := os.Stat(filepath.Join(s.Dir, unfinished)); err == nil {
			t.Errorf("sync %d: leaves %s", n, unfinished)
		}
	}
}

func TestPutKeepsWhatThereIsRoomFor(t *testing.T) {
	line := func(n int) string { return strings.Repeat("x", n-1) + "\n" }
	for _, test := range []struct {
		name string
		max  int64
		had  string
		body string
		want string
	}{
		{"all, to the byte", 100, line(40), line(30) + line(30), line(30) + line(30)},
		{"one byte too many", 99, line(40), line(30) + line(30), line(30)},
		{"nothing", 50, line(40), line(30) + line(30), ""},
		{"more is there than may be", 30, line(40), line(10), ""},
		{"in the middle a line too long", 100, "", line(30) + line(200) + line(40) + line(31) + line(30), line(30) + line(40) + line(30)},
		{"a refused one counts", 100, line(100), line(1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := New(dir, test.max)
			if test.had != "" {
				if err := os.WriteFile(filepath.Join(dir, "1_had"+Refused), []byte(test.had), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			path, kept, err := s.Put(&Batch{"b", []byte(test.body)}, Waiting)
			if kept != strings.Count(test.want, "\n") || errors.Is(err, ErrFull) != (test.want != test.body) {
				t.Errorf("kept %d, %v", kept, err)
			}
			if got := waiting(t, dir); got != test.want || (path == "") != (test.want == "") {
				t.Errorf("%q holds %q", path, got)
			}
		})
	}
}

// Many put at once; together they keep to the bound, and each knows what of its
// lines is there.
func TestSpoolIsBoundedForAllTogether(t *testing.T) {
	dir := t.TempDir()
	const bound = 50_000
	var mu sync.Mutex
	var all sync.WaitGroup
	total := 0
	for w := range 16 {
		all.Go(func() {
			s := New(dir, bound)
			for i := range 5 {
				_, kept, err := s.Put(&Batch{fmt.Sprintf("w%d-%d", w, i), []byte(lines(100+i*100, 50))}, Waiting)
				if err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				mu.Lock()
				total += kept
				mu.Unlock()
			}
		})
	}
	all.Wait()
	text := waiting(t, dir)
	if len(text) > bound || len(text) < bound-100 || strings.Count(text, "\n") != total {
		t.Errorf("holds %d bytes and %d lines; %d were said to be kept", len(text), strings.Count(text, "\n"), total)
	}
	files, _, err := New(dir, 0).waiting()
	if err != nil {
		t.Fatal(err)
	}
	numbers := make(map[int]bool)
	for _, f := range files {
		if numbers[f.number] {
			t.Errorf("two batches have number %d", f.number)
		}
		numbers[f.number] = true
	}
}
