package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"winnow/tools/internal/record"
)

// answer says in plain sentences why a container was killed, or why it is still here.
func (st *story) answer() []string {
	title := cmp.Or(st.Name, record.Shorten(st.ID, 12))
	var said []string
	say := func(format string, a ...any) { said = append(said, fmt.Sprintf(format, a...)) }
	switch {
	case st.Latest != nil && st.Latest.Verdict == "":
		say("%s is still here. It was seen at %s, and was not judged.", title, second(st.Latest.Time))
	case st.Latest != nil:
		say("%s is still here. At %s its verdict was %s: %s.", title, second(st.Latest.Time), st.Latest.Verdict, st.Latest.Reason)
	case st.End != nil:
		say("%s was killed at %s%s: %s.", title, second(st.End.Time), after(" by ", st.End.Signal), st.End.Reason)
	default:
		say("%s was last seen at %s, and winnow did not kill it.", title, second(st.Last))
		if n := len(st.Samples); n > 0 && st.Samples[n-1].Verdict != "" {
			say("Its last verdict was %s: %s.", st.Samples[n-1].Verdict, st.Samples[n-1].Reason)
		}
	}
	if st.End != nil && st.End.Follows != "" {
		say("What follows from that: %s.", st.End.Follows)
	}
	if warned := st.notice(); warned != nil {
		if st.Latest != nil && st.Latest.Verdict == record.VerdictWarn {
			say("It was warned at %s, and is to be killed from %s on, if its rule still holds then.", second(warned.Time), second(*warned.KillAt))
		} else {
			say("It was warned at %s that it would be killed from %s on.", second(warned.Time), second(*warned.KillAt))
		}
	}
	if n := len(st.Kills); n > 0 && st.Kills[n-1].Result != record.ResultKilled {
		last := st.Kills[n-1]
		say("It was condemned, but not killed, at %s: %s%s.", second(last.Time), last.Result, after(", ", last.Error))
	} else if st.End != nil && st.Latest != nil {
		say("It was killed before, at %s, and came back: %s.", second(st.End.Time), st.End.Reason)
	}
	return append(said, st.ruled()...)
}

// ruled tells the last line of each kind that a rule had about it.
func (st *story) ruled() []string {
	var said []string
	told := make(map[string]bool)
	for _, r := range slices.Backward(st.Rules) {
		if told[r.Event] {
			continue
		}
		told[r.Event] = true
		by := after(" of rule ", r.Rule)
		if r.Mode == "dry" {
			by += ", which is dry,"
		}
		switch r.Event {
		case record.RuleWithdrawn:
			said = append(said, fmt.Sprintf("A notice%s was withdrawn at %s: %s.", by, second(r.Time), r.Reason))
		case record.RuleLimited:
			said = append(said, fmt.Sprintf("A bound%s held at %s: %s.", by, second(r.Time), r.Reason))
		case record.RuleUnread:
			said = append(said, fmt.Sprintf("A label of winnow's was misread at %s: %s.", second(r.Time), r.Reason))
		}
	}
	slices.Reverse(said)
	return said
}

// notice is the first line of the warning that stands, or that led to its condemnation; nil where there is none.
func (st *story) notice() *record.Container {
	i := len(st.Samples) - 1
	for i >= 0 && st.Samples[i].Verdict == record.VerdictKill {
		i--
	}
	var first *record.Container
	for ; i >= 0; i-- {
		c := &st.Samples[i].Container
		if c.Verdict != record.VerdictWarn || c.KillAt == nil || first != nil && !sameTime(c.KillAt, first.KillAt) {
			break
		}
		first = c
	}
	return first
}

func sameTime(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }

func second(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05Z") }

// after is text behind what leads to it, or nothing.
func after(lead, text string) string {
	if text == "" {
		return ""
	}
	return lead + text
}
