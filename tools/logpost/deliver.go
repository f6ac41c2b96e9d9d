package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
	"winnow/tools/logpost/client"
	"winnow/tools/logpost/spool"
)

const (
	maxWait  = 300 * time.Millisecond // that a line waits for others to join its batch
	minRetry = time.Second            // between attempts to send the spool
	maxRetry = 30 * time.Second
	glance   = time.Millisecond // the patience with another run that is sending

	tellAfter = 2 * time.Second // that the store is away, where the input goes on
	lastWait  = time.Second / 2 // for the store, after a signal
	beatEvery = time.Second     // at most
)

// deliverer brings batches to the store, or else to the spool.
type deliverer struct {
	t     *cli.Tool
	ids   *spool.IDs
	store *client.Client
	token string       // the file of the store's, "" for none
	spool *spool.Spool // nil where there is none

	toTheEnd bool // of the input, whatever signal comes

	batch *batch    // that lines are added to
	due   time.Time // when it is to go, however small

	// behind is whether what this run has to say must go behind what is in
	// the spool. Then the next attempt to send that is at retryAt.
	behind  bool
	retryAt time.Time
	backoff time.Duration
	since   time.Time // when it fell behind
	told    bool      // that it did

	beat    string    // the file that shows that snapshots arrive, "" for none
	beaten  time.Time // when it was touched
	noBeats bool      // it could not be, and that was said

	why  error // why the store cannot be had
	kept int   // lines of this run that wait in the spool
	late int   // those that did, and are delivered

	lost     int // lines of this run that went nowhere
	saidLost bool
	whyLost  error
}

func newDeliverer(t *cli.Tool, o *options) *deliverer {
	d := &deliverer{t: t, ids: spool.NewIDs(), store: &client.Client{URL: o.to, Format: o.format, Token: o.token, Timeout: o.timeout}, token: o.file, toTheEnd: o.toTheEnd, batch: &batch{}, beat: o.beat}
	if o.spool != "" {
		d.spool = spool.New(o.spool, int64(o.spoolMax))
	}
	return d
}

// run delivers what in has until its end.
func (d *deliverer) run(ctx context.Context, in *input) {
	if d.spool != nil { // or what is not delivered would be lost
		until, end := context.WithCancelCause(context.Background())
		defer end(nil)
		defer context.AfterFunc(ctx, func() {
			time.AfterFunc(lastWait, func() { end(fmt.Errorf("%s gave no answer before the end", d.store.URL)) })
		})()
		d.store.Until = until
	}
	if d.toTheEnd {
		ctx = context.WithoutCancel(ctx)
	}
	d.begin()
	for {
		l, found := in.next(ctx, d.wait())
		switch {
		case found == theEnd:
			d.flush()
			d.end()
			return
		case found == nothing:
			d.retry()
		case l.err != nil:
			d.t.Complain(l.err)
			continue
		default:
			d.add(l)
		}
		if !time.Now().Before(d.due) {
			d.flush()
		}
		d.tell()
	}
}

// tell says that the store is away, once it has been for a while.
func (d *deliverer) tell() {
	if d.behind && !d.told && time.Since(d.since) >= tellAfter {
		d.told = true
		d.t.Warn("%v; lines wait in %s", d.why, d.spool.Dir)
	}
}

// beats touches the file that shows that snapshots arrive.
func (d *deliverer) beats() {
	now := time.Now()
	if d.beat == "" || now.Sub(d.beaten) < beatEvery {
		return
	}
	d.beaten = now
	err := os.Chtimes(d.beat, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(d.beat, nil, 0o644)
	}
	if err != nil && !d.noBeats {
		d.t.Warn("--beat: %v", err)
	}
	d.noBeats = err != nil
}

func (d *deliverer) add(l line) {
	if !d.batch.hasRoomFor(l) {
		d.flush()
	}
	if len(d.batch.numbers) == 0 {
		d.due = time.Now().Add(maxWait)
	}
	d.batch.add(l)
}

// wait is until when the next line may be waited for; zero is for ever.
func (d *deliverer) wait() time.Time {
	if len(d.batch.numbers) > 0 {
		return d.due
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
	empty, err := d.spool.Empty()
	if err != nil {
		d.t.Complain(err)
	} else if !empty {
		d.sendSpool(glance)
	}
}

// end tries once more where it may help, and says what was not delivered.
func (d *deliverer) end() {
	if d.behind && (errors.Is(d.why, spool.ErrBusy) || !time.Now().Before(d.retryAt)) {
		d.sendSpool(d.store.Timeout)
	}
	var ours *fs.PathError // not the store is at fault, and it will not pass by itself
	switch {
	case d.behind && errors.As(d.why, &ours):
		d.t.Complain(d.waits())
	case d.behind:
		d.t.Warn("%v", d.waits())
	}
	if d.lost > 0 {
		d.t.Complain(fmt.Errorf("%s not delivered: %w", counted(d.lost, " was", " were"), d.whyLost))
	}
}

// waits says what is left in the spool, and why.
func (d *deliverer) waits() error {
	if d.kept == 0 {
		return fmt.Errorf("%w; what was in %s waits for the next call", d.why, d.spool.Dir)
	}
	return fmt.Errorf("%w; %s in %s for the next one", d.why, counted(d.kept, " of this call waits", " of this call wait"), d.spool.Dir)
}

// flush delivers the lines that came so far, and begins the next batch.
func (d *deliverer) flush() {
	if len(d.batch.numbers) > 0 {
		d.deliver(d.batch)
		d.batch = &batch{}
	}
}

// deliver sees to it that b is on a disk when it returns.
func (d *deliverer) deliver(b *batch) {
	b.ID = d.ids.Next()
	d.retry()
	if !d.behind {
		err := d.send(b)
		var refused *client.RefusedError
		switch {
		case err == nil:
			d.arrived(b)
			return
		case errors.As(err, &refused):
			d.setAside(b, refused)
			return
		}
		d.failed(err)
	}
	if d.keep(b) {
		d.arrived(b)
	}
}

// arrived says that all of b is stored, or kept.
func (d *deliverer) arrived(b *batch) {
	if b.end {
		d.beats()
	}
}

// send posts a batch and reports which of its lines were refused.
func (d *deliverer) send(b *batch) error {
	ack, err := d.store.Post(b.ID, b.Body, b.Lines())
	if err != nil {
		return err
	}
	for _, r := range ack.Refused {
		d.t.Complain(fmt.Errorf("%s was refused: %s", b.line(r.Line), client.Shown(r.Error)))
	}
	if ack.RefusedMore > 0 {
		said := ""
		if ack.Said != "" {
			said = ": " + ack.Said
		}
		d.t.Complain(fmt.Errorf("refused as well, and not named: %s%s", counted(ack.RefusedMore, "", ""), said))
	}
	d.setLinesAside(b, ack.Unsent)
	return nil
}

// setLinesAside keeps those of b's lines that went nowhere.
func (d *deliverer) setLinesAside(b *batch, unsent []record.Refusal) {
	if d.spool == nil || len(unsent) == 0 {
		return
	}
	aside := spool.Batch{ID: b.ID}
	lines := slices.DeleteFunc(slices.Collect(bytes.Lines(b.Body)), func(l []byte) bool { return len(bytes.TrimSpace(l)) == 0 })
	for _, r := range unsent {
		if r.Line >= 1 && r.Line <= len(lines) {
			aside.Body = append(aside.Body, lines[r.Line-1]...)
		}
	}
	path, _, err := d.spool.Put(&aside, spool.Refused)
	if err != nil {
		d.t.Complain(err)
		return
	}
	d.t.Warn("set aside in %s: %s", path, counted(len(unsent), "", ""))
}

// keep has b wait in the spool, and tells whether all of it does.
func (d *deliverer) keep(b *batch) bool {
	if d.spool == nil {
		d.lose(len(b.numbers), d.why)
		return false
	}
	_, kept, err := d.spool.Put(&b.Batch, spool.Waiting)
	d.kept += kept
	if err != nil {
		d.lose(len(b.numbers)-kept, err)
	}
	return err == nil
}

// setAside keeps b, which the store refused, out of the way of the others.
func (d *deliverer) setAside(b *batch, refused error) {
	if d.spool == nil {
		d.lose(len(b.numbers), refused)
		return
	}
	path, kept, err := d.spool.Put(&b.Batch, spool.Refused)
	if kept > 0 {
		d.wasRefused(b.ID, path, refused)
	}
	if err != nil {
		d.lose(len(b.numbers)-kept, fmt.Errorf("%w; %w", refused, err))
	}
}

func (d *deliverer) wasRefused(id, path string, cause error) {
	d.t.Complain(fmt.Errorf("batch %s was refused and is set aside in %s: %w", id, path, cause))
}

// lose counts lines that are neither delivered nor kept, and says at once that it
// comes to that, once until the store is back.
func (d *deliverer) lose(lines int, why error) {
	if !d.saidLost && d.spool != nil {
		d.saidLost = true
		d.t.Warn("%v", why)
	}
	d.lost += lines
	d.whyLost = why
}

// retry sends the spool where it is time for that.
func (d *deliverer) retry() {
	if d.behind && !time.Now().Before(d.retryAt) {
		d.sendSpool(glance)
	}
}

// readToken takes on a token that has changed, such as with a store that is new: with
// the one before, nothing would be taken any more.
func (d *deliverer) readToken() {
	if d.token == "" {
		return
	}
	if token, err := cli.ReadToken(d.token); err == nil {
		d.store.Token = token
	}
}

func (d *deliverer) sendSpool(patience time.Duration) {
	d.readToken()
	err := d.spool.Send(patience, d.sendKept)
	if err != nil {
		d.failed(err)
		return
	}
	switch {
	case d.late > 0:
		d.t.Warn("%s kept in %s: delivered", counted(d.late, "", ""), d.spool.Dir)
	case d.told:
		d.t.Warn("what was kept in %s: delivered", d.spool.Dir)
	}
	d.behind, d.backoff, d.kept, d.late, d.told, d.saidLost = false, 0, 0, 0, false, false
}

// sendKept delivers a batch of the spool. One whose lines the store does not
// account for is sent again: logd knows the id by then, stores nothing twice
// and says so. A store that still does not account for them would hold up all
// that waits behind, so the batch is set aside as a refused one is.
func (d *deliverer) sendKept(f *spool.File) error {
	kept, err := f.Read()
	if err != nil {
		return err
	}
	b := &batch{Batch: *kept}
	own := 0
	if d.ids.Own(b.ID) {
		own = b.Lines()
	}
	if err = d.send(b); errors.Is(err, client.ErrMiscounted) {
		err = d.send(b)
	}
	var refused *client.RefusedError
	switch {
	case err == nil:
		d.kept, d.late = d.kept-own, d.late+own
		return f.Remove()
	case !errors.As(err, &refused) && !errors.Is(err, client.ErrMiscounted):
		return err
	}
	path, failed := d.spool.SetAside(f)
	if failed != nil {
		return failed
	}
	d.kept -= own
	d.wasRefused(b.ID, path, err)
	return nil
}

// failed notes why the store cannot be had now.
func (d *deliverer) failed(err error) {
	d.why = err
	if d.spool == nil {
		d.readToken()
		return
	}
	if !d.behind {
		d.behind, d.since = true, time.Now()
	}
	d.backoff = min(max(2*d.backoff, minRetry), maxRetry)
	wait := d.backoff
	var later *client.LaterError
	if errors.As(err, &later) { // the store knows better
		wait = min(max(later.After, minRetry), maxRetry)
	}
	d.retryAt = time.Now().Add(wait)
}
