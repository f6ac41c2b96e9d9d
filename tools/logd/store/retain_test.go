package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 5, 3)
	s.close(t)
	writeFile(t, dir, noonDay+".7.quarantine", "x")
	writeFile(t, dir, noonDay+".replaced-1", "x")
	s = openLog(t, dir, func(u *setup) { u.Retain = 2 * day1; u.clock.Pass(5 * day1) })
	s.fake.Pass(2 * certain)
	s.tendNow()
	if got := strings.Join(files(t, dir, "2026*"), " "); got != "2026-11-24.jsonl 2026-11-25.jsonl 2026-11-26.jsonl" {
		t.Errorf("left are %s; said %s", got, s.said)
	}
	if got := strings.Count(s.said.String(), "was removed"); got != 3 {
		t.Errorf("said %s", s.said)
	}
}

func TestABoundOnBytesHoldsWithinADay(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		dir := t.TempDir()
		const bound = 4 << 20
		s := openLog(t, dir, func(u *setup) { u.RetainSize, u.Compress = bound, compress })
		line := `{"n":%d,"x":"` + strings.Repeat("x", 3000) + `"}` + "\n"
		most := int64(0)
		for n := range 6_000 {
			s.add(t, "", fmt.Sprintf(line, 10_000+n))
			if n%200 == 0 {
				_, size := s.Size()
				most = max(most, size)
			}
		}
		s.tendNow()
		_, size := s.Size()
		if size > bound || most > bound+bound/4 {
			t.Errorf("compressed %v: %d bytes at most, %d in the end, of %d", compress, most, size, bound)
		}
		got := s.all(t)
		first := 16_000 - strings.Count(got, "\n")
		if !strings.HasPrefix(got, fmt.Sprintf(`{"n":%d,`, first)) || !compress && len(got) < bound*7/10 {
			t.Errorf("compressed %v: keeps %d bytes, from %.20q on", compress, len(got), got)
		}
		s.close(t)
		s = openLog(t, dir, func(u *setup) { u.RetainSize, u.Compress = bound, compress })
		if again := s.all(t); again != got {
			t.Errorf("compressed %v: after a restart %d bytes of %d", compress, len(again), len(got))
		}
		s.close(t)
	}
}

// TestAStrayFutureDayIsRemovedByItsFilesAge has a wrong clock's day go like
// others, though its name says that it is to come.
func TestAStrayFutureDayIsRemovedByItsFilesAge(t *testing.T) {
	t.Parallel()
	for age, left := range map[time.Duration]bool{40 * day1: false, day1: true} {
		dir := t.TempDir()
		manyDays(t, dir, 2, 3).close(t)
		stray := openLog(t, t.TempDir(), func(u *setup) { u.clock.Jump(73 * 365 * day1) })
		stray.add(t, "", "{}\n")
		stray.close(t)
		name := files(t, stray.Dir, "*"+plainExt)[0]
		writeFile(t, dir, name, readFile(t, stray.Dir, name))
		at := testkit.Noon.Add(2*day1 - age)
		check(t, os.Chtimes(filepath.Join(dir, name), at, at))
		s := openLog(t, dir, func(u *setup) { u.Retain = 30 * day1; u.clock.Pass(2 * day1) })
		s.fake.Pass(2 * certain)
		s.tendNow()
		if got := files(t, dir, "*"+plainExt); slices.Contains(got, name) != left || len(got) < 3 {
			t.Errorf("%v old: left are %v; said %s", age, got, s.said)
		}
		s.close(t)
	}
}

// TestNothingIsRemovedElsewhere has what logd keeps for itself lead to a
// directory of somebody else's.
func TestNothingIsRemovedElsewhere(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	names := []string{"theirs.tmp", "2026-11-20.index"}
	for _, name := range names {
		writeFile(t, other, name, "")
	}
	check(t, os.Symlink(other, filepath.Join(dir, ownDir)))
	s := openLog(t, dir, func(u *setup) { u.Compress = true })
	s.add(t, "a", "{\"n\":1}\n")
	s.fake.Pass(day1)
	s.add(t, "b", "{\"n\":2}\n")
	s.tendNow()
	if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n" || !strings.Contains(s.said.String(), "is no directory") {
		t.Errorf("answers %q; said %s", got, s.said)
	}
	s.close(t)
	if got := files(t, other, "*"); len(got) != len(names) {
		t.Errorf("of %v there are %v", names, got)
	}
}
