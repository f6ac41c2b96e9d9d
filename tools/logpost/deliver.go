package main

import (
	"context"
	"errors"
	"fmt"
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

	kept, lost int // lines of this run that went to the spool, or nowhere
	why        error
}

func newDeliverer(t *cli.Tool, o *options) *deliverer {
	d := &deliverer{t: t, ids: newIDs(), poster: &poster{options: o}}
	if o.spool != "" {
		d.spool = &spool{dir: o.spool, max: o.spoolMax}
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
	if d.behind {
		d.t.Warn("%v; %d lines of this call wait in %s for the next one", d.why, d.kept, d.spool.dir)
	}
	if d.lost > 0 {
		d.t.Complain(fmt.Errorf("%d lines were not delivered: %w", d.lost, d.why))
	}
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
		if err == nil || errors.As(err, &refused) && d.setAside(b) {
			return &batch{}
		}
		d.failed(err)
	}
	d.keep(b)
	return &batch{}
}

// setAside keeps a batch that the store refused out of the way of the others.
// It is false where that is not possible.
func (d *deliverer) setAside(b *batch) bool {
	return d.spool != nil && d.spool.put(b, refusedExt) == nil
}

// send posts a batch and reports what of it was refused.
func (d *deliverer) send(b *batch) error {
	ack, err := d.poster.post(b)
	var refused *refusedError
	if errors.As(err, &refused) {
		d.t.Complain(fmt.Errorf("batch %s was refused: %w", b.id, err))
	}
	if err != nil {
		return err
	}
	for _, r := range ack.Refused {
		d.t.Complain(fmt.Errorf("%s was refused: %s", b.line(r.Line), r.Error))
	}
	if ack.RefusedMore > 0 {
		d.t.Complain(fmt.Errorf("%d more lines were refused", ack.RefusedMore))
	}
	return nil
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
		d.lost += len(b.numbers)
		return
	}
	if err := d.spool.put(b, waitingExt); err != nil {
		if d.lost == 0 {
			d.t.Warn("%v", err)
		}
		d.lost += len(b.numbers)
		d.why = err
		return
	}
	d.kept += len(b.numbers)
}

func (d *deliverer) sendSpool(patience time.Duration) {
	err := d.spool.send(patience, d.send)
	if err != nil {
		d.failed(err)
		return
	}
	if d.kept > 0 {
		d.t.Warn("the %d lines kept in %s are delivered", d.kept, d.spool.dir)
	}
	d.behind, d.backoff, d.kept = false, 0, 0
}

// failed notes why the store cannot be had now.
func (d *deliverer) failed(err error) {
	d.why = err
	if d.spool == nil {
		return
	}
	d.behind = true
	d.backoff = min(max(2*d.backoff, minRetry), maxRetry)
	d.retryAt = time.Now().Add(d.backoff)
}
