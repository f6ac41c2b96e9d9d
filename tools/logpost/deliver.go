package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"winnow/tools/internal/cli"
)

const (
	maxWait  = 300 * time.Millisecond // that a line waits for others to join its batch
	minRetry = time.Second            // between attempts to send the spool
	maxRetry = 30 * time.Second
	glance   = time.Millisecond // the patience with another run that is sending
)

// deliverer brings batches to the store, or else to the spool.
type deliverer struct {
	t      *cli.Tool
	ids    *ids
	poster *poster
	spool  *spool // nil where there is none

	// behind is whether what this run has to say must go behind what is in
	// the spool. Then the next attempt to send that is at retryAt.
	behind  bool
	retryAt time.Time
	backoff time.Duration

	why  error // why the store cannot be had
	kept int   // lines of this run that wait in the spool
	late int   // those that did, and are delivered

	lost    int // lines of this run that went nowhere
	whyLost error
}

func newDeliverer(t *cli.Tool, o *options) *deliverer {
	d := &deliverer{t: t, ids: newIDs(), poster: &poster{options: o}}
	if o.spool != "" {
		d.spool = &spool{dir: o.spool, max: o.spoolMax, sync: (*os.File).Sync}
	}
	return d
}

// run delivers what in has until its end.
func (d *deliverer) run(ctx context.Context, in *input) {
	d.begin()
	b := &batch{}
	var full time.Time // when b is to go, however small
	for {
		l, found := in.next(ctx, d.wait(b, full))
		switch {
		case found == theEnd:
			d.deliver(b)
			d.end()
			return
		case found == nothing:
			if d.behind && !time.Now().Before(d.retryAt) {
				d.sendSpool(glance)
			}
		case l.err != nil:
			d.t.Complain(l.err)
			continue
		default:
			if !b.holds(l) {
				b = d.deliver(b)
			}
			if len(b.numbers) == 0 {
				full = time.Now().Add(maxWait)
			}
			b.add(l)
		}
		if len(b.numbers) > 0 && !time.Now().Before(full) {
			b = d.deliver(b)
		}
	}
}

// wait is until when next may wait; zero is for ever.
func (d *deliverer) wait(b *batch, full time.Time) time.Time {
	if len(b.numbers) > 0 {
		return full
	}
	if d.behind {
		return d.retryAt
	}
	return time.Time{}
}

// begin sends what earlier runs left.
func (d *deliverer) begin() {
	if d.spool == nil {
		return
	}
	left, _, err := d.spool.waiting()
	if err != nil {
		d.t.Complain(err)
		return
	}
	if len(left) > 0 {
		d.sendSpool(glance)
	}
}

// end tries once more where it may help, and says what was not delivered.
func (d *deliverer) end() {
	if d.behind && (errors.Is(d.why, errBusy) || !time.Now().Before(d.retryAt)) {
		d.sendSpool(d.poster.timeout)
	}
	var ours *fs.PathError // not the store is at fault, and it will not pass by itself
	switch {
	case d.behind && errors.As(d.why, &ours):
		d.t.Complain(d.waits())
	case d.behind:
		d.t.Warn("%v", d.waits())
	}
	switch {
	case d.lost == 1:
		d.t.Complain(fmt.Errorf("1 line was not delivered: %w", d.whyLost))
	case d.lost > 0:
		d.t.Complain(fmt.Errorf("%d lines were not delivered: %w", d.lost, d.whyLost))
	}
}

// waits says what is left in the spool, and why.
func (d *deliverer) waits() error {
	switch d.kept {
	case 0:
		return fmt.Errorf("%w; what was in %s waits for the next call", d.why, d.spool.dir)
	case 1:
		return fmt.Errorf("%w; 1 line of this call waits in %s for the next one", d.why, d.spool.dir)
	}
	return fmt.Errorf("%w; %d lines of this call wait in %s for the next one", d.why, d.kept, d.spool.dir)
}

// deliver sees to it that b is on a disk when it returns, and returns the next
// batch.
func (d *deliverer) deliver(b *batch) *batch {
	if len(b.numbers) == 0 {
		return b
	}
	b.id = d.ids.new()
	if d.behind && !time.Now().Before(d.retryAt) {
		d.sendSpool(glance)
	}
	if !d.behind {
		err := d.send(b)
		var refused *refusedError
		switch {
		case err == nil:
			return &batch{}
		case errors.As(err, &refused):
			d.putAside(b, refused)
			return &batch{}
		}
		d.failed(err)
	}
	d.keep(b)
	return &batch{}
}

// send posts a batch and reports which of its lines were refused.
func (d *deliverer) send(b *batch) error {
	ack, err := d.poster.post(b)
	if err != nil {
		return err
	}
	for _, r := range ack.Refused {
		d.t.Complain(fmt.Errorf("%s was refused: %s", b.line(r.Line), shown(r.Error)))
	}
	if ack.RefusedMore > 0 {
		d.t.Complain(fmt.Errorf("refused as well, and not named: %s", counted(ack.RefusedMore)))
	}
	return nil
}

// putAside keeps a batch that the store refused out of the way of the others.
func (d *deliverer) putAside(b *batch, refused error) {
	if d.spool == nil {
		d.lose(len(b.numbers), refused)
		return
	}
	path, kept, err := d.spool.put(b, refusedExt)
	if kept > 0 {
		d.refused(b.id, path, refused)
	}
	if err != nil {
		d.lose(len(b.numbers)-kept, fmt.Errorf("%w; %w", refused, err))
	}
}

func (d *deliverer) refused(id, path string, cause error) {
	d.t.Complain(fmt.Errorf("batch %s was refused and is set aside in %s: %w", id, path, cause))
}

// line names a line of b, counted from 1.
func (b *batch) line(n int) string {
	if n >= 1 && n <= len(b.numbers) {
		return fmt.Sprintf("line %d", b.numbers[n-1])
	}
	return fmt.Sprintf("line %d of batch %s", n, b.id)
}

// keep puts b into the spool.
func (d *deliverer) keep(b *batch) {
	if d.spool == nil {
		d.lose(len(b.numbers), d.why)
		return
	}
	_, kept, err := d.spool.put(b, waitingExt)
	d.kept += kept
	if err != nil {
		d.lose(len(b.numbers)-kept, err)
	}
}

// lose counts lines that are neither delivered nor kept, and says the first
// time at once that it comes to that.
func (d *deliverer) lose(lines int, why error) {
	if d.lost == 0 && d.spool != nil {
		d.t.Warn("%v", why)
	}
	d.lost += lines
	d.whyLost = why
}

func (d *deliverer) sendSpool(patience time.Duration) {
	err := d.spool.send(patience, d.sendKept)
	if err != nil {
		d.failed(err)
		return
	}
	if d.late > 0 {
		d.t.Warn("%s kept in %s: delivered", counted(d.late), d.spool.dir)
	}
	d.behind, d.backoff, d.kept, d.late = false, 0, 0, 0
}

// sendKept delivers a batch of the spool. One whose lines the store does not
// account for is sent again: logd knows the id by then, stores nothing twice
// and says so. A store that still does not account for them would hold up all
// that waits behind, so the batch is set aside as a refused one is.
func (d *deliverer) sendKept(e entry) error {
	body, err := os.ReadFile(e.path)
	if err != nil {
		return err
	}
	b := &batch{id: e.id, body: body}
	own := 0
	if d.ids.own(e.id) {
		own = b.lines()
	}
	if err = d.send(b); errors.Is(err, errMiscounted) {
		err = d.send(b)
	}
	var refused *refusedError
	switch {
	case err == nil:
		d.kept, d.late = d.kept-own, d.late+own
		return os.Remove(e.path)
	case !errors.As(err, &refused) && !errors.Is(err, errMiscounted):
		return err
	}
	path, failed := d.spool.setAside(e)
	if failed != nil {
		return failed
	}
	d.kept -= own
	d.refused(e.id, path, err)
	return nil
}

// failed notes why the store cannot be had now.
func (d *deliverer) failed(err error) {
	d.why = err
	if d.spool == nil {
		return
	}
	d.behind = true
	d.backoff = min(max(2*d.backoff, minRetry), maxRetry)
	wait := d.backoff
	var later *laterError
	if errors.As(err, &later) { // the store knows better
		wait = min(max(later.after, minRetry), maxRetry)
	}
	d.retryAt = time.Now().Add(wait)
}
