package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"winnow/tools/internal/full"
	"winnow/tools/testkit"

	"github.com/klauspost/compress/zstd"
)

func TestCompressedDaysAreThePlainOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 2, 1000)
	plain := map[string]string{}
	for _, name := range files(t, dir, "*"+plainExt) {
		plain[name] = readFile(t, dir, name)
	}
	want := s.all(t)
	s.close(t)
	later := func(u *setup) { u.Compress = true; u.clock.Pass(2 * day1) }
	s = openLog(t, dir, later)
	testkit.Eventually(t, "two days are compressed", func() bool { return len(files(t, dir, "*"+packedExt)) == 2 && len(files(t, dir, "*"+plainExt)) == 1 })
	for range 3 { // with the index, without, and again
		if got := s.all(t); got != want {
			t.Fatalf("answers %d bytes, want %d; said %s", len(got), len(want), s.said)
		}
		f := AnyTime(Filter{NewestFirst: true})
		f.Since, f.Until = testkit.Noon.Add(100*time.Second).UnixNano(), testkit.Noon.Add(110*time.Second).UnixNano()
		if got := s.find(t, f); strings.Count(got, "\n") != 10 || !strings.Contains(strings.SplitN(got, "\n", 2)[0], `"n":109`) {
			t.Errorf("ten seconds are %.200q", got)
		}
		if !s.seen.has("d0-0") || !s.seen.has("d1-999") {
			t.Error("batches are forgotten")
		}
		s.close(t)
		check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
		s = openLog(t, dir, later)
	}
	for name, text := range plain {
		if name == "2026-11-23.jsonl" {
			continue
		}
		full.Needs(t, "zstdcat")
		out, err := exec.Command("zstdcat", filepath.Join(dir, name+".zst")).Output()
		if err != nil || string(out) != text {
			t.Errorf("zstdcat of %s: %v, %d bytes, want %d", name, err, len(out), len(text))
		}
	}
	// Each frame ends at a commit.
	f, err := os.Open(filepath.Join(dir, "2026-11-21.jsonl.zst"))
	check(t, err)
	defer f.Close()
	info, _ := f.Stat()
	in, err := newFrames(f, info.Size())
	check(t, err)
	n := 0
	for ; ; n++ {
		r, err := in.next()
		if err != nil {
			break
		}
		var text bytes.Buffer
		text.ReadFrom(r)
		last := text.String()[strings.LastIndex(strings.TrimSuffix(text.String(), "\n"), "\n")+1:]
		if _, ok := parseCommit([]byte(last)); !ok {
			t.Errorf("frame %d ends with %.100q", n, last)
		}
	}
	if n < 3 {
		t.Errorf("%d frames", n)
	}
}

// TestAFollowerOverACompression stands in the middle of a day while it is
// compressed.
func TestAFollowerOverACompression(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir, func(u *setup) { u.Compress = true })
	for n := range 1000 {
		s.add(t, "", fmt.Sprintf(`{"n":%d,"x":"%s"}`+"\n", n, strings.Repeat("x", 1000)))
	}
	f := AnyTime(Filter{})
	_, at, _ := s.Views(&f, Position{})
	for n := 1000; n < 2000; n++ {
		s.add(t, "", fmt.Sprintf(`{"n":%d,"x":"%s"}`+"\n", n, strings.Repeat("x", 1000)))
	}
	before, _, _ := s.Views(&f, at)
	s.fake.Pass(day1)
	s.add(t, "", "{\"n\":2000}\n")
	testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 })
	after, _, _ := s.Views(&f, at)
	for name, views := range map[string][]View{"seen before": before, "seen after": after} {
		var got strings.Builder
		check(t, s.QueryViews(views, &f, NewLimited(&got, 0)))
		text, want := got.String(), 1001
		if name == "seen before" {
			want = 1000
		}
		if !strings.HasPrefix(text, `{"n":1000,`) || strings.Count(text, "\n") != want {
			t.Errorf("%s: %d lines, from %.20q on", name, strings.Count(text, "\n"), text)
		}
	}
}

// TestAWriterDoesNotWaitForADayToBeCompressed has the log reach its bound while
// a day takes long to compress.
func TestAWriterDoesNotWaitForADayToBeCompressed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir, func(u *setup) { u.RetainSize = 4 << 20 })
	line := fmt.Sprintf("{\"x\":\"%s\"}\n", strings.Repeat("x", 300<<10))
	for range 16 {
		s.add(t, "", line)
	}
	oldest, busy := s.others()[0], s.others()[len(s.others())-1]
	busy.changing.Lock()
	defer busy.changing.Unlock()
	for n := range 6 {
		done := make(chan error, 1)
		go func() { done <- s.Append(newBatch("", line)) }()
		select {
		case err := <-done:
			check(t, err)
		case <-time.After(10 * time.Second):
			t.Fatalf("line %d waits", n)
		}
	}
	if s.others()[0] == oldest {
		t.Error("nothing was removed")
	}
}

func TestNothingIsRemovedBeforeTheOtherHoldsIt(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T, packed string) string{
		"empty":           func(*testing.T, string) string { return "" },
		"cut short":       func(_ *testing.T, packed string) string { return packed[:len(packed)-100] },
		"another's":       func(*testing.T, string) string { return "not zstd at all" },
		"a frame missing": func(_ *testing.T, packed string) string { return packed[len(packed)/2:] },
		"whole":           func(_ *testing.T, packed string) string { return packed },
	} {
		dir := t.TempDir()
		s := manyDays(t, dir, 1, 600)
		want := s.all(t)
		plain := readFile(t, dir, noonDay)
		s.close(t)
		later := func(u *setup) { u.Compress = true; u.clock.Pass(day1) }
		s = openLog(t, dir, later)
		testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 })
		s.close(t)
		packed := readFile(t, dir, noonDay+".zst")
		writeFile(t, dir, noonDay, plain)
		writeFile(t, dir, noonDay+".zst", make(t, packed))
		s = openLog(t, dir, later)
		if got := s.all(t); got != want {
			t.Errorf("%s: answers %d bytes of %d; said %s", name, len(got), len(want), s.said)
		}
		testkit.Eventually(t, name+": one of the two is left", func() bool {
			return len(files(t, dir, noonDay)) == 0 && len(files(t, dir, noonDay+".zst")) == 1
		})
		if got := s.all(t); got != want {
			t.Errorf("%s: compressed again answers %d bytes of %d", name, len(got), len(want))
		}
		s.close(t)
	}
}

// TestTheFileThatHoldsTheOtherStays has both files of a day, of which one holds
// more, as zstd -d leaves them that did not come to its end.
func TestTheFileThatHoldsTheOtherStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 1, 300)
	want := s.all(t)
	s.close(t)
	plain := readFile(t, dir, noonDay)
	z, err := zstd.NewWriter(nil)
	check(t, err)
	whole := string(z.EncodeAll([]byte(plain), nil))
	cut := whole[:len(whole)-9]
	for name, test := range map[string]struct {
		plain, packed string
		stay          []string
	}{
		"a part of the plain one":  {plain[:len(plain)/2], whole, []string{noonDay + ".zst"}},
		"nearly all of it":         {plain[:len(plain)-1], whole, []string{noonDay + ".zst"}},
		"nothing of the plain one": {"", whole, []string{noonDay + ".zst"}},
		"a torn compressed one":    {plain, cut, []string{noonDay, noonDay + ".zst" + quarantineExt}},
		"both torn":                {plain[:len(plain)/2], cut, nil},
	} {
		writeFile(t, dir, noonDay, test.plain)
		writeFile(t, dir, noonDay+".zst", test.packed)
		check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
		s := openLog(t, dir, func(u *setup) { u.clock.Pass(day1) })
		if test.stay != nil && !slices.Equal(files(t, dir, noonDay+"*"), test.stay) {
			t.Errorf("%s: there are %v", name, files(t, dir, "*"))
		}
		if got := s.all(t); test.stay != nil && got != want {
			t.Errorf("%s: answers %d bytes, want %d", name, len(got), len(want))
		}
		s.close(t)
		for _, left := range files(t, dir, noonDay+"*") {
			check(t, os.Remove(filepath.Join(dir, left)))
		}
	}
}

// TestWithoutItsDirectoryADayIsCompressed deletes .logd under a running logd.
func TestWithoutItsDirectoryADayIsCompressed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir, func(u *setup) { u.Compress = true })
	s.add(t, "a", "{\"n\":1}\n")
	s.fake.Pass(day1)
	s.changingAll(t, func() {
		s.add(t, "b", "{\"n\":2}\n")
		check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
	})
	s.tendNow()
	if len(files(t, dir, noonDay+".zst")) != 1 || s.said.String() != "" {
		t.Errorf("it is not compressed: said %s", s.said)
	}
	if got := s.all(t); got != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("answers %q", got)
	}
}

// TestAForeignCompressionKeepsItsIDs compresses a day by hand.
func TestAForeignCompressionKeepsItsIDs(t *testing.T) {
	t.Parallel()
	for _, both := range []bool{false, true} {
		dir := t.TempDir()
		s := openLog(t, dir)
		for n := range 300 {
			s.add(t, fmt.Sprint("b", n), fmt.Sprintf("{\"n\":%d,\"x\":\"%s\"}\n", n, strings.Repeat("x", 3000)))
		}
		s.fake.Pass(day1)
		s.add(t, "new", "{\"new\":0}\n")
		want := s.all(t)
		s.close(t)
		var packed []byte
		z, err := zstd.NewWriter(nil)
		check(t, err)
		for text := []byte(readFile(t, dir, noonDay)); len(text) > 0; { // lines go over the frames' ends
			n := min(len(text), 100_001)
			packed = z.EncodeAll(text[:n], packed)
			text = text[n:]
		}
		writeFile(t, dir, noonDay+".zst", string(packed))
		if !both {
			check(t, os.Remove(filepath.Join(dir, noonDay)))
		}
		s = openLog(t, dir, func(u *setup) { u.clock.Pass(day1) })
		for _, id := range []string{"b0", "b299", "new"} {
			if b := s.add(t, id, "{\"again\":1}\n"); !b.Duplicate {
				t.Errorf("both %t: batch %s is stored again", both, id)
			}
		}
		s.tendNow()
		if got := s.all(t); got != want {
			t.Errorf("both %t: answers %d bytes, want %d", both, len(got), len(want))
		}
		if said := verified(t, dir); said != "" {
			t.Errorf("both %t: verify says %s", both, said)
		}
	}
}

// TestAWindowThatMemoryHasNoRoomFor is a day as zstd --long=27 makes it.
func TestAWindowThatMemoryHasNoRoomFor(t *testing.T) {
	t.Parallel()
	for window, readable := range map[int]bool{8 << 20: true, maxWindow: true, 2 * maxWindow: false} {
		var packed bytes.Buffer
		z, err := zstd.NewWriter(&packed, zstd.WithWindowSize(window))
		check(t, err)
		for range 40 {
			_, err = z.Write(bytes.Repeat([]byte("{}\n"), 1<<19)) // more than is written as one segment
			check(t, err)
		}
		check(t, z.Close())
		u, err := newUnpacker(&packed)
		check(t, err)
		_, err = io.Copy(io.Discard, u)
		if (err == nil) != readable {
			t.Errorf("a window of %d MB: %v", window>>20, err)
		}
		u.Close()
	}
}

// TestWhatIsBeforeATearIsAnswered has garbage behind a day.
func TestWhatIsBeforeATearIsAnswered(t *testing.T) {
	t.Parallel()
	f := AnyTime(Filter{})
	var got strings.Builder
	torn := errors.New("torn")
	err := scan(io.MultiReader(strings.NewReader("{\"n\":1}\n{\"n\":2}\n{\"n"), iotest.ErrReader(torn)), &f, NewLimited(&got, 0))
	if got.String() != "{\"n\":1}\n{\"n\":2}\n" || !errors.Is(err, torn) {
		t.Errorf("answers %q, %v", got.String(), err)
	}
}

// TestADamagedCompressedDay has a bit of a frame turned over, with an index and
// without: what can be read is served, and the query fails at its end.
func TestADamagedCompressedDay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 2, 1000)
	s.close(t)
	later := func(u *setup) { u.Compress = true; u.clock.Pass(2 * day1) }
	s = openLog(t, dir, later)
	testkit.Eventually(t, "two days are compressed", func() bool { return len(files(t, dir, "*"+packedExt)) == 2 && len(files(t, dir, "*"+plainExt)) == 1 })
	s.close(t)
	text := []byte(readFile(t, dir, noonDay+".zst"))
	text[len(text)/2] ^= 1
	writeFile(t, dir, noonDay+".zst", string(text))
	writeFile(t, dir, "2026-11-01.jsonl.zst", "not zstd")
	for _, lose := range []bool{false, true} {
		if lose {
			check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
		}
		s = openLog(t, dir, later)
		s.tendNow()
		var got bytes.Buffer
		f := AnyTime(Filter{})
		err := s.Query(&f, &got)
		if err == nil || !strings.Contains(err.Error(), "cannot be read to its end") {
			t.Errorf("index lost %v: the query ends with %v", lose, err)
		}
		if n := strings.Count(got.String(), `"day":1,`); n != 1000 || !strings.HasSuffix(got.String(), "{\"last\":1}\n") {
			t.Errorf("index lost %v: %d lines of the day behind it", lose, n)
		}
		if n := strings.Count(got.String(), `"day":0,`); n == 0 || n == 1000 {
			t.Errorf("index lost %v: %d lines of the damaged day", lose, n)
		}
		s.close(t)
	}
	if said := verified(t, dir); strings.Count(said, noonDay+".zst") == 0 || !strings.Contains(said, "2026-11-01.jsonl.zst") || strings.Contains(said, "2026-11-22") {
		t.Errorf("verify says %s", said)
	}
}

// TestADamagedFrameCostsItsIDsAlone flips a bit in the middle of a compressed day.
func TestADamagedFrameCostsItsIDsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := manyDays(t, dir, 1, 1000, func(u *setup) { u.Compress = true })
	testkit.Eventually(t, "the day is compressed", func() bool { return len(files(t, dir, noonDay)) == 0 })
	s.close(t)
	check(t, os.RemoveAll(filepath.Join(dir, ownDir)))
	text := []byte(readFile(t, dir, noonDay+".zst"))
	text[len(text)/2] ^= 1
	writeFile(t, dir, noonDay+".zst", string(text))
	s = openLog(t, dir, func(u *setup) { u.clock.Pass(day1) })
	if !s.seen.has("d0-0") || !s.seen.has("d0-999") || s.seen.has("d0-500") {
		t.Errorf("known are %t, %t and %t", s.seen.has("d0-0"), s.seen.has("d0-999"), s.seen.has("d0-500"))
	}
}
