package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// TestVerifyFindsEachFlippedBit turns over each bit of a day, plain and
// compressed.
func TestVerifyFindsEachFlippedBit(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{false, true} {
		dir := t.TempDir()
		s := openLog(t, dir, func(u *setup) { u.Compress = compress })
		for n := range 3 {
			s.add(t, fmt.Sprint("b", n), fmt.Sprintf("{\"n\":%d,\"s\":\"w\\u0065b\"}\n{\"again\":%d}\n", n, n))
		}
		name := noonDay
		if compress {
			s.fake.Pass(day1)
			s.add(t, "", "{}\n")
			name += ".zst"
			testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 && len(files(t, dir, name)) == 1 })
		}
		s.close(t)
		if said := verified(t, dir); said != "" {
			t.Fatalf("unchanged: %s", said)
		}
		text := readFile(t, dir, name)
		lines := strings.Count(text, "\n")
		for bit := 0; bit < 8*len(text); bit += min(stride(), 3) {
			changed := []byte(text)
			changed[bit/8] ^= 1 << (bit % 8)
			writeFile(t, dir, name, string(changed))
			said := verified(t, dir)
			if said == "" {
				t.Fatalf("compressed %v: bit %d, in %.20q, was not found", compress, bit, text[bit/8:])
			}
			if compress {
				continue
			}
			// The line is in the span that is named, which is of one group.
			line := 1 + strings.Count(text[:bit/8], "\n")
			var first, last int
			_, after, _ := strings.Cut(said, "lines ")
			if _, err := fmt.Sscanf(after, "%d to %d,", &first, &last); err != nil {
				_, after, _ = strings.Cut(said, "from line ")
				if _, err := fmt.Sscanf(after, "%d", &first); err != nil {
					t.Fatalf("bit %d: %s", bit, said)
				}
				last = lines + 1
			}
			if line < first || line > last+1 {
				t.Fatalf("bit %d is in line %d of %d: %s", bit, line, lines, said)
			}
			if n := strings.Count(said, "\n"); n > 2 {
				t.Fatalf("bit %d: %d faults: %s", bit, n, said)
			}
		}
	}
}

func TestVerifyBesideALogdThatWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	stop, done := make(chan struct{}), make(chan struct{})
	s.add(t, "", "{}\n")
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				s.add(t, fmt.Sprint("b", n), fmt.Sprintf("{\"n\":%d}\n", n))
				time.Sleep(100 * time.Microsecond)
			}
		}
	}()
	for range 50 {
		if said := verified(t, dir); said != "" {
			t.Fatalf("says %s", said)
		}
	}
	close(stop)
	<-done
}

func TestVerifyOfWhatHasNoCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, noonDay), []byte("{}\n"), 0o640))
	check(t, os.WriteFile(filepath.Join(dir, "2026-11-20.jsonl.zst"), []byte("{}\n"), 0o640))
	if said := verified(t, dir); !strings.Contains(said, "2026-11-21.jsonl has no commit") || !strings.Contains(said, "it was not compressed by logd as it is now") {
		t.Errorf("says %s", said)
	}
	if _, _, _, err := Verify(filepath.Join(dir, "nowhere"), t.Logf); err == nil {
		t.Error("found a directory that is not there")
	}
}

// TestVerifyGoesOnWhereALogdChangesDays has a day compressed, and removed, after
// it was found.
func TestVerifyGoesOnWhereALogdChangesDays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 1, 100)
	days, err := s.listDays()
	check(t, err)
	s.close(t)
	s = openLog(t, dir, func(u *setup) { u.Compress = true; u.clock.Pass(day1) })
	testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 })
	v := &verifier{tell: t.Errorf, written: true}
	check(t, v.day(days[0]))
	if v.commits != 101 {
		t.Errorf("%d commits were read", v.commits)
	}
	s.close(t)
	check(t, os.Remove(filepath.Join(dir, noonDay+".zst")))
	check(t, v.day(days[0]))
}
