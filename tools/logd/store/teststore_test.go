package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

const noonDay = "2026-11-21" + plainExt

const day1 = 24 * time.Hour

// changingAll has no day looked after while f runs.
func (s *testStore) changingAll(t *testing.T, f func()) {
	t.Helper()
	days := slices.Clone(s.days)
	for _, d := range days {
		d.changing.Lock()
	}
	f()
	for _, d := range days {
		d.changing.Unlock()
	}
}

// testStore is a store with what a test sets of it.
type testStore struct {
	*Store
	fake *testkit.Clock
	said *testkit.Messages
}

func (s *testStore) add(t testing.TB, id, text string) *Batch {
	t.Helper()
	b := newBatch(id, text)
	if err := s.Append(b); err != nil {
		t.Fatalf("%v; said %s", err, s.said)
	}
	return b
}

// tendNow has the days looked after, and waits for it.
func (s *testStore) tendNow() {
	for range 3 { // the third is taken when the first has been done
		s.look <- struct{}{}
	}
}

func (s *testStore) close(t testing.TB) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// all is what a query of everything answers.
func (s *testStore) all(t testing.TB) string {
	t.Helper()
	return s.find(t, AnyTime(Filter{}))
}

func (s *testStore) find(t testing.TB, f Filter) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Query(&f, &b); err != nil && !errors.Is(err, ErrEnough) {
		t.Fatal(err)
	}
	return b.String()
}

type setup struct {
	Options
	disk  disk
	clock *testkit.Clock
}

// quickDisk syncs nothing: most tests cut no power.
type quickDisk struct{ realDisk }

func (d quickDisk) Create(path string) (diskFile, error) { return d.wrap(d.realDisk.Create(path)) }

func (d quickDisk) Open(path string) (diskFile, error) { return d.wrap(d.realDisk.Open(path)) }

func (quickDisk) SyncDir(string) error { return nil }

func (quickDisk) wrap(f diskFile, err error) (diskFile, error) {
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}

type quickFile struct{ diskFile }

func (quickFile) Datasync() error { return nil }

// openLog opens a log until the test ends.
func openLog(t testing.TB, dir string, set ...func(*setup)) *testStore {
	t.Helper()
	s, err := tryOpen(dir, set...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(t.Context()) })
	return s
}

func tryOpen(dir string, set ...func(*setup)) (*testStore, error) {
	u := &setup{Options: Options{Dir: dir}, disk: quickDisk{realDisk{-1}}, clock: testkit.NewClock()}
	for _, f := range set {
		f(u)
	}
	said := new(testkit.Messages)
	s, err := open(u.Options, u.disk, Clock{u.clock.Now, u.clock.Boot}, said.Warn)
	return &testStore{s, u.clock, said}, err
}

func newBatch(id, text string) *Batch {
	return NewBatch(id, "", []byte(text), func(int, error) {}, func(_, _, _ []byte) {})
}

// manyDays is a log of some days, of so many groups each.
func manyDays(t *testing.T, dir string, days, groups int, set ...func(*setup)) *testStore {
	t.Helper()
	s := openLog(t, dir, set...)
	for d := range days {
		for n := range groups {
			at := testkit.Noon.AddDate(0, 0, d).Add(time.Duration(n) * time.Second).Format(time.RFC3339)
			s.add(t, fmt.Sprintf("d%d-%d", d, n), fmt.Sprintf(`{"time":"%s","day":%d,"n":%d,"x":"%s"}`+"\n", at, d, n, strings.Repeat(fmt.Sprint(n%10), 900)))
		}
		s.fake.Pass(day1)
	}
	s.add(t, "", "{\"last\":1}\n")
	return s
}

func readFile(t testing.TB, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// files are the names in dir that match.
func files(t testing.TB, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}

// verified is what Verify tells of dir.
func verified(t testing.TB, dir string) string {
	t.Helper()
	said := new(testkit.Messages)
	_, _, faults, err := Verify(dir, said.Warn)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(said.String(), "\n"); n != faults {
		t.Fatalf("counts %d faults, and tells of %d", faults, n)
	}
	return said.String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
