package main

import (
	"context"

	"winnow/tools/logd/door"
	"winnow/tools/logd/store"
)

// maxText is how many bytes are kept of a text of a line, as JSON.
const maxText = 512

// query calls each for the lines that f asks for, as a part of a job. Of the lines that a block has the index knows only
// that they fit in it, so that is what room is asked for.
func (s *server) query(j *door.Job, f *store.Filter, each store.LineFunc) error {
	out := store.NewLimited(store.LineFunc(func(line []byte) error {
		if err := j.Pause(); err != nil {
			return err
		}
		return each(line)
	}), f.Limit)
	out.Before = j.Pause
	views, _, _ := s.store.Views(f, store.Position{})
	for i := range views {
		err := j.Search(j.Context, views[i].Held(f), func() error {
			if err := j.Next(); err != nil {
				return err
			}
			return s.store.QueryViews(views[i:i+1], f, out)
		})
		if err != nil && !store.Torn(err) { // else the rest is told; logd has named the day
			return err
		}
	}
	return nil
}

// scan is the search for a stream's lines. It has its turn while it searches,
// but not while the client takes what was found, nor for all lines, which cost
// no search. Room those take, too: a line is held as a whole.
func (s *server) scan(views []store.View, f *store.Filter, w out, l *store.Limited) error {
	t := &turned{w, s.share.Turn()}
	defer t.turn.End()
	if !f.All() {
		defer l.Through(t)()
		l.Before = t.turn.Pause
	}
	var torn error
	for i := range views {
		err := t.turn.Search(context.Background(), views[i].Held(f), func() error {
			if !f.All() {
				t.turn.Begin()
			}
			return s.store.QueryViews(views[i:i+1], f, l)
		})
		if store.Torn(err) {
			torn = err
			continue
		}
		if err != nil {
			return err
		}
	}
	return torn
}

// turned is a stream's writer that lets others have its turn while it waits
// for its client.
type turned struct {
	out  out
	turn *door.Turn
}

func (t *turned) Write(p []byte) (int, error) {
	if len(p) <= t.out.Available() && !t.turn.Over() {
		return t.out.Write(p)
	}
	t.turn.End()
	defer t.turn.Begin()
	return t.out.Write(p)
}
