package policy

import (
	"strings"
	"testing"
)

func TestReach(t *testing.T) {
	p := rules(t, "[[rule]]\nname=\"hot\"\ncpu=\"> 90%\"\nfor=\"1m\"\nmatch=[\"name=a*\"]\n[[rule]]\nname=\"both\"\ncpu=\"> 95%\"\nmemory=\"> 500MB\"\nmatch=[\"name=a*\"]")
	got := p.Reach(snap(0, box("a1", 96, 9), box("a2", 80, 9), box("b", 9, 9), box("c", 9, 9, "winnow.protect", "true")))
	want := `a1: holds: "hot" (for 1m); nearly holds: "both" (memory 9.0 MiB is not > 500MB)
a2: nearly holds: "hot" (cpu 80.0 % of a core is not > 90%); does not hold: "both"
b: no rule is about it
c takes no part: protected by its label winnow.protect=true`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
