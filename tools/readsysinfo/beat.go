package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

const (
	// stateEvery is how often the state is written where snapshots are more frequent.
	stateEvery = 10 * time.Second
	// stagesEvery is how often the stages are told.
	stagesEvery = time.Minute
	// stagesFirst is when for the first time, or after ten beats: those behind are started after this one.
	stagesFirst = 5 * time.Second
	// tellEvery is how often skipped beats are told of: a reader that is slow for good makes one of each two late.
	tellEvery = 10 * time.Second
)

// beat is when snapshots are due: so often from the start on. over is how many times it has been since.
type beat struct {
	start time.Time
	every time.Duration
	over  int64
}

func (b *beat) next() time.Time { return b.start.Add(time.Duration(b.over+1) * b.every) }

// pass is how many times more it has been due by now.
func (b *beat) pass(now time.Time) (more int64) {
	over := int64(now.Sub(b.start) / b.every)
	more, b.over = over-b.over, over
	return more
}

// loop takes snapshots on a beat, and when the host is in trouble.
type loop struct {
	*source
	printer   printer
	out       io.Writer
	every     time.Duration
	statePath string
	alarms    *alarms
	stages    bool

	kept    state  // that rates are taken from
	since   stalls // of the snapshot before
	text    bytes.Buffer
	said    map[message]bool // with the snapshot before; nil before the first
	staged  time.Time        // when the stages were told
	written time.Time        // when the state was
	unkept  error            // why it was not
	skipped int64            // beats that were not told of yet
	told    time.Time        // when others were
}

// run goes on until ctx ends, or nobody reads what it prints.
func (l *loop) run(ctx context.Context) error {
	if l.statePath != "" {
		var err error
		if l.kept, err = readState(l.statePath); errors.Is(err, errNewer) {
			return err
		} else if err != nil {
			l.tool.Warn("passing over the state: %v", err)
		}
	}
	err := l.snapshots(ctx)
	if l.said != nil {
		l.writeState()
	}
	if ctx.Err() != nil || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

func (l *loop) snapshots(ctx context.Context) error {
	beat := beat{start: time.Now(), every: l.every}
	l.written, l.staged = beat.start, beat.start.Add(min(stagesFirst, 10*l.every)-stagesEvery)
	for cause := record.CauseClock; ; {
		began := time.Now()
		l.skip(beat.pass(began)-1, "it woke late")
		if err := l.snapshot(cause); err != nil {
			return err
		}
		taken := time.Now()
		if err := l.write(ctx); err != nil {
			return err
		}
		ended := time.Now()
		missed := beat.pass(ended)
		if cause != record.CauseClock {
			missed-- // it stands in for one
		}
		if took, wrote := taken.Sub(began), ended.Sub(taken); took > wrote {
			l.skip(missed, "a snapshot took "+shown(took))
		} else {
			l.skip(missed, "its reader took a snapshot only after "+shown(wrote))
		}
		if l.statePath != "" && ended.Sub(l.written) >= stateEvery {
			l.writeState()
		}
		l.alarms.rest(began, time.Now())
		var err error
		if cause, err = l.alarms.wait(beat.next()); err != nil {
			return err
		}
	}
}

func shown(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// skip tells of beats that were skipped, but not each time where it is for good.
func (l *loop) skip(beats int64, why string) {
	if beats <= 0 {
		return
	}
	l.skipped += beats
	if time.Since(l.told) >= tellEvery {
		l.tool.Warn("skipped %d beats: %s", l.skipped, why)
		l.skipped, l.told = 0, time.Now()
	}
}

// snapshot makes one the text to be written. One that fails makes none, and is an error only if it is the first: then
// it may never succeed.
func (l *loop) snapshot(cause string) error {
	l.text.Reset()
	now, err := l.measure(true)
	if err != nil && l.said == nil {
		return err
	}
	if err != nil {
		l.news([]message{{err.Error(), true}})
		return nil
	}
	now.cause = cause
	before := l.kept.usable(l.bootID, l.key(), now.atNS, max(l.span, l.every))
	if l.said == nil {
		l.since = lastStalls(before)
	}
	messages := l.messages(now)
	if l.stages && time.Since(l.staged) >= stagesEvery {
		l.staged = time.Now()
		if err := l.findStages(now); err != nil {
			messages = append(messages, message{"stages: " + err.Error(), true})
		}
	}
	if err := l.printer.print(&l.text, now, newBases(before, now.atNS, l.span), l.since); err != nil {
		return err
	}
	l.kept, l.since = l.keep(now, before), now.stalls
	l.news(messages)
	return nil
}

// news tells what was not told with the snapshot before.
func (l *loop) news(all []message) {
	said := make(map[message]bool)
	for _, m := range all {
		if said[m] = true; !l.said[m] {
			l.tell(m)
		}
	}
	l.said = said
}

// write writes the text, or gives up at the end of ctx: whoever reads may take nothing.
func (l *loop) write(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		_, err := l.out.Write(l.text.Bytes())
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *loop) writeState() {
	if l.statePath == "" {
		return
	}
	l.written = time.Now()
	err := l.kept.write(l.statePath)
	if err != nil && l.unkept == nil {
		l.tool.Complain(fmt.Errorf("state not kept: %w", err))
	}
	l.unkept = err
}

// lastStalls are those of the newest sample.
func lastStalls(samples []counters) stalls {
	if len(samples) == 0 {
		return stalls{}
	}
	return samples[len(samples)-1].Stalls
}
