package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"

	"golang.org/x/sys/unix"
)

// threeBatches opens a log and stores b1, b2 and b3, a line each.
func threeBatches(t *testing.T, dir string) *testStore {
	t.Helper()
	s := openLog(t, dir)
	for n := 1; n <= 3; n++ {
		s.add(t, fmt.Sprint("b", n), fmt.Sprintf("{\"n\":%d}\n", n))
	}
	return s
}

// TestTodaysFileInOtherHands has somebody else change the file that is written:
// what was acknowledged is in the day or in the copy that is made.
func TestTodaysFileInOtherHands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   func(t *testing.T, dir, path string)
		lost string // a line that they took away before logd could look
	}{
		{"deleted", func(t *testing.T, _, path string) { check(t, os.Remove(path)) }, ""},
		{"replaced, as sed -i does", func(t *testing.T, dir, path string) {
			text := strings.Replace(readFile(t, dir, noonDay), `"n":2`, `"n":"edited"`, 1)
			check(t, os.WriteFile(path+".new", []byte(text), 0o644))
			check(t, os.Rename(path+".new", path))
		}, ""},
		{"replaced by the same", func(t *testing.T, dir, path string) {
			check(t, os.WriteFile(path+".new", []byte(readFile(t, dir, noonDay)), 0o644))
			check(t, os.Rename(path+".new", path))
		}, ""},
		{"replaced by something else", func(t *testing.T, dir, path string) {
			check(t, os.Remove(path))
			check(t, os.WriteFile(path, []byte("{\"other\":1}\nnot a line"), 0o644))
		}, ""},
		{"truncated", func(t *testing.T, _, path string) { check(t, os.Truncate(path, 0)) }, "123"},
		{"cut short", func(t *testing.T, dir, path string) {
			check(t, os.Truncate(path, int64(len(readFile(t, dir, noonDay))-10)))
		}, "3"},
		{"made longer", func(t *testing.T, dir, path string) {
			check(t, os.Truncate(path, int64(len(readFile(t, dir, noonDay))+5000)))
		}, ""},
		{"appended to", func(t *testing.T, _, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			check(t, err)
			_, err = f.WriteString("{\"foreign\":1}\n")
			check(t, err)
			check(t, f.Close())
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := threeBatches(t, dir)
			everything := AnyTime(Filter{})
			_, middle, _ := s.Views(&everything, Position{})
			s.add(t, "", "{\"more\":1}\n")
			_, end, _ := s.Views(&everything, Position{})
			views, _, _ := s.Views(&everything, middle)
			for round := range 2 { // the second time the copy has to have another name
				test.do(t, dir, filepath.Join(dir, noonDay))
				s.add(t, fmt.Sprint("after", round), fmt.Sprintf("{\"after\":%d}\n", round))
				if round == 0 && test.name == "replaced, as sed -i does" {
					if got := s.all(t); got != "{\"n\":1}\n{\"n\":\"edited\"}\n{\"n\":3}\n{\"more\":1}\n{\"after\":0}\n" {
						t.Errorf("an edited day answers %q", got)
					}
				}
			}
			if !strings.Contains(s.said.String(), "was changed by somebody else") {
				t.Errorf("said %q", s.said)
			}
			for n := 1; n <= 3; n++ { // known again, all the same
				if b := s.add(t, fmt.Sprint("b", n), "{}\n"); !b.Duplicate {
					t.Errorf("batch b%d was stored again", n)
				}
			}
			all := s.all(t)
			for _, name := range append(files(t, dir, noonDay+".replaced-*"), noonDay) {
				all += readFile(t, dir, name)
			}
			for n := 1; n <= 3; n++ {
				if !strings.Contains(all, fmt.Sprintf("{\"n\":%d}\n", n)) && !strings.Contains(test.lost, fmt.Sprint(n)) {
					t.Errorf("line %d is nowhere: %v", n, files(t, dir, "*"))
				}
			}
			for round := range 2 {
				if got := strings.Count(all, fmt.Sprintf("{\"after\":%d}\n", round)); got == 0 && (round == 1 || test.lost == "") {
					t.Errorf("what came after round %d is nowhere", round)
				}
			}
			if strings.Contains(s.all(t), "\x00") || strings.Contains(s.all(t), commitStart) {
				t.Errorf("answers %q", s.all(t))
			}
			// Whoever had begun to read gets no lines that are cut.
			var begun strings.Builder
			check(t, s.QueryViews(views, &everything, NewLimited(&begun, 0)))
			for line := range strings.Lines(begun.String()) {
				if !strings.HasSuffix(line, "}\n") || !strings.HasPrefix(line, "{") {
					t.Errorf("a reader gets %q", line)
				}
			}
			// A follower who stood at the end goes on with what came later.
			var later strings.Builder
			f := AnyTime(Filter{})
			again, _, _ := s.Views(&f, end)
			check(t, s.QueryViews(again, &f, NewLimited(&later, 0)))
			for line := range strings.Lines(later.String()) {
				if !strings.HasPrefix(line, "{\"after\":") {
					t.Errorf("a follower gets %q", line)
				}
			}
			if !strings.Contains(later.String(), "{\"after\":1}\n") {
				t.Errorf("a follower does not get the last line: %q", later.String())
			}
		})
	}
}

// TestAStoppedLogMayBeEdited changes a day while no logd runs: what was not
// touched stays and is served, what was is named.
func TestAStoppedLogMayBeEdited(t *testing.T) {
	t.Parallel()
	lines := func(text string) []string { return slices.Collect(strings.Lines(text)) }
	join := func(parts ...string) string { return strings.Join(parts, "") }
	// 0: the beginning's commit, 1 2 3 4 5 6: three groups of a line and a commit
	tests := []struct {
		name, want, said, verify string
		edit                     func(l []string) string
	}{
		{"a line made longer", "edited 2 3", "bytes", "lines 2 to 3", func(l []string) string { return join(l[0], "{\"n\":\"edited\"}\n", join(l[2:]...)) }},
		{"a line made shorter", "1 {} 3", "bytes", "lines 4 to 5", func(l []string) string { return join(join(l[:3]...), "{}\n", join(l[4:]...)) }},
		{"a line taken out", "1 3", "bytes", "lines 4 to 4", func(l []string) string { return join(join(l[:3]...), join(l[4:]...)) }},
		{"a group taken out", "1 3", "", "before line 4", func(l []string) string { return join(join(l[:3]...), join(l[5:]...)) }},
		{"a line put in", "1 new 2 3", "bytes", "lines 4 to 4", func(l []string) string { return join(join(l[:3]...), "{\"n\":\"new\"}\n", join(l[3:]...)) }},
		{"a commit taken out", "1 2 3", "bytes", "lines 2 to 2", func(l []string) string { return join(l[0], l[1], join(l[3:]...)) }},
		{"lines put at the end", "1 2 3", "never acknowledged", "", func(l []string) string { return join(join(l...), "{\"n\":\"new\"}\n") }},
		{"a group again at the end", "1 2 3", "", "", func(l []string) string { return join(join(l...), l[1], l[2]) }},
		{"the last line edited", "1 2", "in", "", func(l []string) string { return join(join(l[:5]...), "{\"n\":7}\n", l[6]) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := threeBatches(t, dir)
			s.close(t)
			writeFile(t, dir, noonDay, test.edit(lines(readFile(t, dir, noonDay))))
			os.RemoveAll(filepath.Join(dir, ownDir))
			s = openLog(t, dir)
			got := strings.NewReplacer("{\"n\":", "", "}\n", " ", "\"", "", "{", "{} ").Replace(s.all(t))
			if strings.TrimSpace(strings.ReplaceAll(got, "{}  ", "{} ")) != test.want {
				t.Errorf("answers %q, want %q", got, test.want)
			}
			if !strings.Contains(s.said.String(), test.said) {
				t.Errorf("said %q", s.said)
			}
			s.add(t, "new", "{\"n\":\"later\"}\n")
			before := s.all(t)
			s.close(t)
			for _, lose := range []bool{false, true} {
				if lose {
					os.RemoveAll(filepath.Join(dir, ownDir))
				}
				s = openLog(t, dir)
				if got := s.all(t); got != before {
					t.Errorf("later answers %q, before %q", got, before)
				}
				s.close(t)
			}
			if said := verified(t, dir); (said == "") != (test.verify == "") || !strings.Contains(said, test.verify) {
				t.Errorf("verify says %q", said)
			}
		})
	}
}

// TestADayThatIsOverInOtherHands has somebody change a day that logd no longer
// writes to: a query ends, and later ones are of what is there.
func TestADayThatIsOverInOtherHands(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, want string
		do         func(t *testing.T, path string)
	}{
		{"removed", "new", func(t *testing.T, path string) { check(t, os.Remove(path)) }},
		{"replaced by an older copy", "n1 new", func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			check(t, err)
			end := strings.Index(string(text), "{\"n\":2}\n")
			check(t, os.WriteFile(path+".new", text[:end], 0o640))
			check(t, os.Rename(path+".new", path))
		}},
		{"edited", "n1 edited n3 new", func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			check(t, err)
			check(t, os.WriteFile(path, []byte(strings.Replace(string(text), `{"n":2}`, `{"edited":2}`, 1)), 0o640))
		}},
		{"replaced by a pipe", "new", func(t *testing.T, path string) {
			check(t, os.Remove(path))
			check(t, unix.Mkfifo(path, 0o640))
		}},
		{"replaced by a directory", "new", func(t *testing.T, path string) {
			check(t, os.Remove(path))
			check(t, os.Mkdir(path, 0o750))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := threeBatches(t, dir)
			s.fake.Pass(day1)
			s.add(t, "new", "{\"new\":0}\n")
			s.tendNow()
			test.do(t, filepath.Join(dir, noonDay))
			ended := make(chan error, 1)
			var got strings.Builder
			f := AnyTime(Filter{})
			go func() { ended <- s.Query(&f, &got) }()
			select {
			case err := <-ended:
				if !strings.HasSuffix(got.String(), "{\"new\":0}\n") {
					t.Errorf("at first answers %q, %v", got.String(), err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("a query does not end")
			}
			s.tendNow()
			answer := s.all(t)
			if got := strings.NewReplacer("{", "", "}", "", "\"n\":", "n", ":2", "", ":0", "", "\"", "", "\n", " ").Replace(answer); got != test.want+" " {
				t.Errorf("answers %q, want %q; said %s", got, test.want, s.said)
			}
			if !strings.Contains(s.said.String(), noonDay) {
				t.Errorf("said %q", s.said)
			}
			s.close(t)
			if s = openLog(t, dir, func(u *setup) { u.clock = testkit.NewClock(); u.clock.Pass(day1) }); s.all(t) != answer {
				t.Errorf("after a restart answers %q, before %q", s.all(t), answer)
			}
		})
	}
}

// TestAHoleInADayHidesNothingBehindIt takes more out of a day's middle than any
// line is long, as a file system does that loses blocks.
func TestAHoleInADayHidesNothingBehindIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	line := fmt.Sprintf("{\"x\":\"%s\"}\n", strings.Repeat("x", 2<<20))
	for n := range 8 {
		s.add(t, fmt.Sprint("b", n), line)
	}
	s.add(t, "last", "{\"last\":1}\n")
	s.close(t)
	f, err := os.OpenFile(filepath.Join(dir, noonDay), os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteAt(make([]byte, 10<<20), 3<<20)
	check(t, errors.Join(err, f.Close()))
	day := readFile(t, dir, noonDay)
	look := func(s *testStore, how string) {
		t.Helper()
		if got := s.all(t); strings.Count(got, line) != 2 || !strings.HasSuffix(got, "{\"last\":1}\n") {
			t.Errorf("%s: answers %d bytes, with %d whole lines; said %s", how, len(got), strings.Count(got, line), s.said)
		}
	}
	for _, how := range []string{"with its index", "without"} {
		s = openLog(t, dir)
		look(s, how)
		if b := s.add(t, "last", "{}\n"); !b.Duplicate {
			t.Errorf("%s: the last batch is stored again", how)
		}
		s.close(t)
		if readFile(t, dir, noonDay) != day {
			t.Fatalf("%s: the day was changed: %v", how, files(t, dir, "*"))
		}
		check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
	}
	if said := verified(t, dir); strings.Count(said, "\n") != 1 || !strings.Contains(said, "lines 4 to 5, bytes 2097") {
		t.Errorf("verify says %q", said)
	}
	later := func(u *setup) { u.Compress = true; u.clock.Pass(day1) }
	s = openLog(t, dir, later)
	s.add(t, "", "{\"last\":1}\n")
	testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 })
	look(s, "compressed")
	s.close(t)
	check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
	s = openLog(t, dir, later)
	look(s, "compressed, without its index")
	if said := verified(t, dir); strings.Count(said, "\n") != 1 || !strings.Contains(said, "bytes 2097") {
		t.Errorf("compressed, verify says %q", said)
	}
}

// TestALineWithoutAnEndTakesNoMemory has a day that is not indexed yet.
func TestALineWithoutAnEndTakesNoMemory(t *testing.T) {
	t.Parallel()
	const end = 100 << 20
	text := io.MultiReader(strings.NewReader("{\"n\":1}\n{\"n"), io.LimitReader(zeros{}, end), strings.NewReader("\n{\"n\":2}\n"))
	f := AnyTime(Filter{})
	var got strings.Builder
	out := NewLimited(&got, 0)
	check(t, scan(text, &f, out))
	if got.String() != "{\"n\":1}\n{\"n\":2}\n" || len(out.buf) > 2*longestLine {
		t.Errorf("answers %.100q, with a buffer of %d bytes", got.String(), len(out.buf))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestWhatIsNoFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(secret, []byte("{\"secret\":1}\n"), 0o600))
	check(t, os.Symlink(secret, filepath.Join(dir, noonDay)))
	check(t, os.Mkdir(filepath.Join(dir, "2026-11-20.jsonl"), 0o755))
	s := openLog(t, dir)
	if got := s.all(t); got != "" {
		t.Errorf("answers %q", got)
	}
	if said := s.said.String(); strings.Count(said, "is no file") != 2 {
		t.Errorf("said %s", said)
	}
	s.add(t, "", "{\"n\":1}\n")
	if got := s.all(t); got != "{\"n\":1}\n" {
		t.Errorf("answers %q", got)
	}
	if text, err := os.ReadFile(secret); string(text) != "{\"secret\":1}\n" {
		t.Errorf("another's file is %q, %v", text, err)
	}
	// One that takes the place of the day while it is written.
	path := files(t, dir, "2026-11-21.part*")[0]
	check(t, os.Remove(filepath.Join(dir, path)))
	check(t, os.Symlink(secret, filepath.Join(dir, path)))
	if err := s.Append(newBatch("", "{\"n\":2}\n")); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("stored it: %v", err)
	}
	check(t, os.Remove(filepath.Join(dir, path)))
	s.add(t, "", "{\"n\":3}\n")
	if text, err := os.ReadFile(secret); string(text) != "{\"secret\":1}\n" {
		t.Errorf("another's file is %q, %v", text, err)
	}
}
