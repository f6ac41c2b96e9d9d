package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// dayOf is the file that holds a line.
func dayOf(t *testing.T, dir, line string) string {
	t.Helper()
	for _, name := range files(t, dir, "*"+plainExt) {
		if strings.Contains(readFile(t, dir, name), line+"\n") {
			return name
		}
	}
	return ""
}

func TestAClockThatJumpsIsNotBelieved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	put := func(n int, want string) {
		t.Helper()
		line := fmt.Sprintf(`{"n":%d}`, n)
		s.add(t, "", line+"\n")
		if got := dayOf(t, dir, line); got != want+plainExt {
			t.Errorf("line %d is in %s, want %s; said %s", n, got, want, s.said)
		}
	}
	put(0, "2026-11-21")
	s.fake.Jump(73 * 365 * day1)
	put(1, "2026-11-21")
	s.fake.Pass(time.Minute)
	put(2, "2026-11-21")
	s.fake.Jump(-73 * 365 * day1)
	put(3, "2026-11-21")
	s.fake.Pass(12 * time.Hour)
	put(4, "2026-11-22")
	s.fake.Jump(-12 * time.Hour) // a clock put back does not reopen a day
	put(5, "2026-11-22")
	s.fake.Jump(12 * time.Hour)
	s.fake.Pass(day1)
	put(6, "2026-11-23")
	// A clock that was set right at last is believed in the end.
	s.fake.Jump(100 * day1)
	put(7, "2026-11-23")
	s.fake.Pass(settle + time.Second)
	put(8, "2027-03-03")
	s.fake.Jump(-100 * day1)
	put(9, "2027-03-03")
	s.fake.Pass(settle + time.Second)
	put(10, "2026-11-23.part002")
	if said := s.said.String(); strings.Count(said, "is believed") != 2 {
		t.Errorf("said %s", said)
	}
	want := "0 1 2 3 4 5 6 7 8 9 10"
	if got := strings.NewReplacer("{\"n\":", "", "}\n", " ").Replace(s.all(t)); strings.TrimSpace(got) != want {
		t.Errorf("answers %q", got)
	}
}

func TestAStrayFutureDayDoesNotRule(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		days []string
		jump time.Duration // of the clock, against testkit.Noon
		want string        // where the next line goes
		said string
	}{
		"one stray file":                      {[]string{"2026-11-20", "2099-01-01"}, 0, "2026-11-21", "2099-01-01.jsonl is of a day to come"},
		"a stray file and today's":            {[]string{"2026-11-21", "2099-01-01"}, 0, "2026-11-21", "is of a day to come"},
		"tomorrow's, by a clock put back":     {[]string{"2026-11-21", "2026-11-22"}, 0, "2026-11-22", ""},
		"a clock without a battery":           {[]string{"2026-11-20", "2026-11-21"}, -56 * 365 * day1, "2026-11-21", "the clock says 1970"},
		"a clock months behind":               {[]string{"2026-01-01", "2026-11-20", "2026-11-21"}, -200 * day1, "2026-11-21", "the clock says"},
		"a clock of 2099 at the start":        {[]string{"2026-11-20", "2026-11-21"}, 73 * 365 * day1, "2026-11-21", "the clock says 2099"},
		"a log that was left for two months":  {[]string{"2026-09-21"}, 0, "2026-11-21", ""},
		"days of a wrong clock, which stayed": {[]string{"2026-11-21", "2099-01-01", "2099-01-02"}, 73*365*day1 + 40*day1, "2099", ""},
	} {
		dir := t.TempDir()
		for _, day := range test.days {
			s := openLog(t, dir, func(u *setup) { at, _ := time.Parse(time.DateOnly, day); u.clock.Set(at.Add(time.Hour)) })
			s.add(t, "", "{\"day\":\""+day+"\"}\n")
			s.fake.Pass(2 * settle)
			s.add(t, "", "{\"day\":\""+day+"\"}\n")
			s.close(t)
		}
		s := openLog(t, dir, func(u *setup) { u.clock.Jump(test.jump) })
		s.add(t, "", "{\"new\":1}\n")
		if got := dayOf(t, dir, `{"new":1}`); !strings.HasPrefix(got, test.want) || !strings.Contains(s.said.String(), test.said) {
			t.Errorf("%s: the line is in %s; said %q", name, got, s.said)
		}
		// Whoever follows hears of it, whatever the files are called.
		f := AnyTime(Filter{})
		_, end, _ := s.Views(&f, Position{})
		s.add(t, "", "{\"new\":2}\n")
		var got strings.Builder
		views, _, _ := s.Views(&f, end)
		check(t, s.QueryViews(views, &f, NewLimited(&got, 0)))
		if got.String() != "{\"new\":2}\n" {
			t.Errorf("%s: a follower gets %q", name, got.String())
		}
		s.close(t)
	}
}

func TestNothingIsRemovedOnTheWordOfOneReading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir, func(u *setup) { u.Retain = 30 * day1 })
	for range 3 {
		s.add(t, "", "{\"n\":1}\n")
		s.fake.Pass(day1)
	}
	s.add(t, "", "{\"n\":1}\n")
	for _, wait := range []time.Duration{0, time.Minute, settle, time.Hour, 2 * time.Hour} {
		s.fake.Jump(73 * 365 * day1)
		for range 3 {
			s.tendNow()
			s.fake.Pass(wait)
		}
		s.tendNow()
		if n := len(files(t, dir, "*"+plainExt)); n < 4 {
			t.Fatalf("%v at the wrong time: %d days are left; said %s", wait, n, s.said)
		}
		s.fake.Jump(-73 * 365 * day1)
		s.tendNow()
		s.fake.Pass(2 * settle)
		s.tendNow()
	}
	s.close(t)
	// At a start there is nothing to compare with but the days.
	s = openLog(t, dir, func(u *setup) { u.Retain = 30 * day1; u.clock.Jump(200 * day1) })
	s.tendNow()
	if n := len(files(t, dir, "*"+plainExt)); n < 4 {
		t.Fatalf("right after the start %d days are left; said %s", n, s.said)
	}
	s.fake.Pass(2 * certain)
	s.tendNow()
	if n := len(files(t, dir, "*"+plainExt)); n != 1 {
		t.Errorf("%d days are left in the end; said %s", n, s.said)
	}
}

// TestADayAheadIsNotWrittenToOnceItIsNear has logd wait over midnight beside a
// stray file, which then is of the next day.
func TestADayAheadIsNotWrittenToOnceItIsNear(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openLog(t, dir)
	s.add(t, "", "{\"n\":1}\n")
	s.close(t)
	writeFile(t, dir, "2026-11-23.jsonl", "{\"stray\":1}\n")
	s = openLog(t, dir)
	_, end, _ := s.Views(&Filter{}, Position{})
	s.fake.Pass(day1)
	s.add(t, "", "{\"n\":2}\n")
	if got := testkit.WithoutCommits(readFile(t, dir, "2026-11-23.jsonl")); got != "{\"stray\":1}\n" {
		t.Errorf("the stray file is %q", got)
	}
	f := AnyTime(Filter{})
	var later strings.Builder
	views, _, _ := s.Views(&f, end)
	check(t, s.QueryViews(views, &f, NewLimited(&later, 0)))
	if later.String() != "{\"n\":2}\n" {
		t.Errorf("a follower gets %q", later.String())
	}
}
