package main

import (
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

const (
	// settled is the age from which on a container that runs was there before the snapshot.
	settled = time.Minute
	// mostTold is how many are named of those that an answer shows.
	mostTold = 5
)

// unseen are the containers that the engine lists and a snapshot does not have: their cgroups cannot be seen from here,
// as those of a rootless Podman to which no controller is delegated.
type unseen struct {
	notes bool            // whether the snapshot at hand is one that an answer is held against
	here  map[string]bool // its ids
	asked bool            // the engine, since it was taken
	whole bool            // all of it was read
	told  map[string]bool // by id
}

func (u *unseen) begin(notes bool) {
	clear(u.here)
	u.notes, u.asked, u.whole = notes, false, false
}

func (u *unseen) note(id string) {
	if u.notes {
		u.here[strings.Clone(id)] = true
	}
}

// missed gives those of which to tell, once: they run, by an answer about a moment after the snapshot at hand, and are
// not in it.
func (u *unseen) missed(all known, now time.Time) (ids []string) {
	if !u.asked || !u.whole {
		return nil
	}
	u.asked = false
	for id := range u.told {
		if all[id] == nil {
			delete(u.told, id)
		}
	}
	for id, set := range all {
		if !u.here[id] && !u.told[id] && now.Sub(created(set)) >= settled {
			u.told[id] = true
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// created is when the container was made, now where that is not known.
func created(set []record.Member) time.Time {
	at, err := time.Parse(time.RFC3339, text(set, "created"))
	if err != nil {
		return time.Now()
	}
	return at
}

func text(set []record.Member, member string) string {
	for _, m := range set {
		if m.Name == member {
			return gjson.Parse(m.Value.Raw).Str
		}
	}
	return ""
}

// tellUnseen names what the snapshot at hand does not have, when the engine has answered to a question about it.
func (n *namer) tellUnseen() {
	if n.question != nil || n.away != nil {
		return
	}
	ids := n.unseen.missed(n.known, time.Now())
	for _, id := range ids[:min(len(ids), mostTold)] {
		n.warn("%s (%.12s) runs, says the engine, but has no cgroup that can be seen from here: it is never judged", text(n.known[id], "name"), id)
	}
	if more := len(ids) - mostTold; more > 0 {
		n.warn("so it is with %d more", more)
	}
}
