package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

const (
	// maxAhead is how far in the future a sample may be, for clocks that are
	// being set.
	maxAhead = 5 * time.Second
	// sayDate is the age of a sample, or how far it is ahead, from which its
	// date says more than the figure.
	sayDate = 48 * time.Hour
	// pause lies between two tries.
	pause = 250 * time.Millisecond
)

// outcome is how a kill ends; the names are those of record.Kill, why its Error.
type outcome struct{ result, signal, why, follows string }

// target is what is to be killed.
type target struct {
	id      string
	sampled time.Time     // without a time the sample is as old as can be
	grace   time.Duration // from the stop signal to SIGKILL
}

func failed(why string) outcome { return outcome{result: record.ResultFailed, why: why} }

// attempt kills the container, or says why not.
func (k *killer) attempt(t target) outcome {
	if end := k.tooLate(t.sampled); end.result != "" {
		return end
	}
	docker, err := k.docker.get()
	if err != nil {
		return failed(err.Error())
	}
	end := k.attemptOver(docker, t)
	if end.result == record.ResultFailed {
		k.docker.renew(docker)
	}
	return end
}

// attemptOver is attempt over a connection.
func (k *killer) attemptOver(docker *client.Client, t target) outcome {
	if a := k.met.dry(t); a != nil {
		return k.notOnly(a.follows)
	}
	if a := k.endMet(t); a != nil {
		defer a.forget()
		end := k.stop(docker, t, nil)
		if end.result == record.ResultFailed && a.ended() { // whatever Docker knows
			end = outcome{result: record.ResultKilled, signal: "SIGKILL"}
		}
		return k.stopped(docker, t, end, a)
	}
	found, end := k.examine(k.ctx, docker, t.id, t.sampled)
	if end.result != "" {
		return end
	}
	follows := k.whatFollows(found)
	if k.dryRun {
		return outcome{result: record.ResultDryRun, follows: follows}
	}
	if !k.only.on(found.Config.Labels) {
		return k.notOnly(follows)
	}
	end = k.stop(docker, t, found)
	return k.stopped(docker, t, end, &acquaintance{signal: found.Config.StopSignal, follows: follows})
}

// notOnly is of a container that --only spares.
func (k *killer) notOnly(follows string) outcome {
	return outcome{result: record.ResultDryRun, why: "not labelled " + k.only.String() + ", as --only wants it", follows: follows}
}

// endMet ends a container without a grace that was met, before it is asked to stop.
func (k *killer) endMet(t target) *acquaintance {
	if t.grace > 0 {
		return nil
	}
	return k.met.end(t)
}

// stopped tells of a stop that came to this end.
func (k *killer) stopped(docker *client.Client, t target, end outcome, of *acquaintance) outcome {
	if end.result != record.ResultKilled {
		return end
	}
	end.signal, end.follows = cmp.Or(end.signal, stopSignal(of.signal)), of.follows
	if k.remove {
		k.removeContainer(docker, t.id)
	}
	return end
}

// look asks about a container that is not condemned. One that may be killed, and
// without Docker, is held.
func (k *killer) look(ctx context.Context, id string) (a acquaintance, answered bool) {
	docker, err := k.docker.get()
	if err != nil {
		return a, false
	}
	found, end := k.examine(ctx, docker, id, time.Now())
	switch {
	case end.result == record.ResultFailed:
		k.docker.renew(docker)
		return a, false
	case end.result != "":
		return a, end.result != record.ResultGone
	}
	a.started, _ = time.Parse(time.RFC3339, found.State.StartedAt) // as spared has read it
	a.signal, a.follows = found.Config.StopSignal, k.whatFollows(found)
	if a.dry = !k.only.on(found.Config.Labels); !a.dry {
		a.process = hold(found)
	}
	return a, true
}

// whatFollows tells what else the end of a container brings with it, as far as
// Docker told of it.
func (k *killer) whatFollows(found *container.InspectResponse) string {
	var all []string
	for _, of := range []struct{ label, what string }{
		{"com.docker.swarm.service.name", "Swarm starts another task of the service "},
		{"com.docker.compose.service", "it is the Compose service "},
	} {
		if name := found.Config.Labels[of.label]; name != "" {
			all = append(all, of.what+record.Shorten(name, 80))
		}
	}
	if found.HostConfig != nil {
		if policy := found.HostConfig.RestartPolicy.Name; policy == container.RestartPolicyAlways && !k.remove {
			all = append(all, "it comes back when Docker starts anew, by its restart policy always")
		}
		if mode := found.HostConfig.NetworkMode; mode.IsContainer() {
			all = append(all, "it shared the network of the container "+record.Shorten(mode.ConnectedContainer(), 12))
		}
	}
	return strings.Join(all, "; ")
}

// tooLate says why no stop may begin any more. Once one has begun it is carried
// through.
func (k *killer) tooLate(sampled time.Time) outcome {
	if k.ctx.Err() != nil {
		return failed(notBegun(k.ctx))
	}
	if err := k.while.Check(); err != nil {
		return failed(err.Error())
	}
	// Times are compared here, not ages: the age of a sample without a time is
	// more than the 292 years that a Duration holds.
	now := time.Now()
	if sampled.Before(now.Add(-k.maxAge)) || sampled.After(now.Add(maxAhead)) {
		return outcome{result: record.ResultStale, why: staleness(sampled, now, k.maxAge)}
	}
	return outcome{}
}

// notBegun is why the end of ctx kept a stop from beginning.
func notBegun(ctx context.Context) string {
	cause := context.Cause(ctx)
	if errors.Is(cause, errInterrupted) {
		return "interrupted before it began"
	}
	return cause.Error()
}

func staleness(sampled, now time.Time, maxAge time.Duration) string {
	age := now.Sub(sampled)
	far := age > sayDate || age < -sayDate
	switch {
	case sampled.IsZero():
		return "the sample has no time"
	case far && age < 0:
		return fmt.Sprintf("the sample is of %s, which is in the future", sampled.UTC().Format(time.RFC3339))
	case far:
		return fmt.Sprintf("the sample is of %s, which is too old, more than %v", sampled.UTC().Format(time.RFC3339), maxAge)
	case age < 0:
		return fmt.Sprintf("the sample is %v in the future", -age.Round(time.Second))
	}
	return fmt.Sprintf("the sample is %v old, more than %v", age.Round(time.Second), maxAge)
}

// examine asks Docker about the container. It may be killed where the outcome
// has no result, and then what was found has all its parts; of a container that
// is gone there may be nothing to be found.
func (k *killer) examine(ctx context.Context, docker *client.Client, id string, sampled time.Time) (*container.InspectResponse, outcome) {
	asking, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	found, err := docker.ContainerInspect(asking, id)
	switch {
	case errdefs.IsNotFound(err):
		return nil, outcome{result: record.ResultGone, why: "there is no such container"}
	case err != nil && ctx.Err() != nil: // ended from outside, not by the timeout
		return nil, failed(notBegun(ctx))
	case err != nil:
		return nil, failed(inWords(err, k.timeout))
	case found.ContainerJSONBase == nil || found.State == nil || found.Config == nil || found.ID != id:
		return nil, failed("Docker's answer is not about the container")
	case !found.State.Running:
		return &found, outcome{result: record.ResultGone, why: "it is not running"}
	}
	return &found, k.spared(&found, sampled)
}

// inWords is what Docker's client says of a question that was given that long,
// without Go's own words and addresses.
func inWords(err error, limit time.Duration) string {
	var broken *url.Error
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer from Docker within %v", limit)
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &broken):
		return fmt.Sprintf("the connection to Docker broke: %v", broken.Err)
	}
	return err.Error()
}

// spared says why a running container may not be killed.
func (k *killer) spared(found *container.InspectResponse, sampled time.Time) outcome {
	started, err := time.Parse(time.RFC3339, found.State.StartedAt)
	if err != nil {
		return outcome{result: record.ResultStale, why: fmt.Sprintf("Docker does not say when it started: %q", found.State.StartedAt)}
	}
	if started.After(sampled) {
		return outcome{result: record.ResultStale, why: "started since the sample, at " + found.State.StartedAt}
	}
	if why := unkillable(found.Config.Labels, k.all); why != "" {
		return outcome{result: record.ResultProtected, why: why}
	}
	return outcome{}
}

// unkillable says why the labels forbid it to kill a container. One that cannot
// be read protects.
func unkillable(labels map[string]string, all bool) string {
	var consent record.Consent
	for name, value := range labels {
		consent.Label(name, value)
	}
	return forbidden(consent, all)
}

// forbidden says why a container of that consent may not be killed.
func forbidden(consent record.Consent, all bool) string {
	switch {
	case consent.Unread != "":
		return "its label " + consent.Unread + " cannot be read"
	case consent.Protected:
		return "labelled " + record.LabelProtect + "=true"
	case !consent.Managed && !all:
		return "not labelled " + record.LabelManaged + "=true"
	}
	return ""
}

// stop stops the container and sees that it has stopped; signal is left empty
// where its stop signal was enough. Docker may fail meanwhile, such as while it
// restarts: then it is tried again. The grace runs from the first try that
// Docker may have had.
// It has begun where before is nil: the container was ended without Docker.
func (k *killer) stop(docker *client.Client, t target, before *container.InspectResponse) outcome {
	start := time.Now()
	deadline := start.Add(k.patience)
	var begun time.Time // of the first try that Docker may have had
	if before == nil {
		begun = start
	}
	for {
		if end := k.noMoreTries(begun, t.sampled); end.result != "" {
			return end
		}
		if t.grace == 0 && begun.IsZero() && endNow(before) {
			begun = time.Now()
			deadline = begun.Add(k.patience)
		}
		sent, left := time.Now(), t.grace
		if !begun.IsZero() {
			left = max(0, t.grace-time.Since(begun))
		}
		reached, err := k.askToStop(docker, t.id, left)
		if reached && begun.IsZero() {
			begun = sent
			deadline = begun.Add(t.grace + k.patience)
		}
		found, end := k.examine(k.under, docker, t.id, t.sampled)
		switch {
		case end.result == record.ResultGone && !begun.IsZero():
			return outcome{result: record.ResultKilled, signal: forced(found, time.Since(begun) >= t.grace)}
		case end.result != "" && end.result != record.ResultFailed:
			return end
		case !time.Now().Before(deadline):
			why := cmp.Or(end.why, "it still runs")
			if said := inWords(err, left+k.patience); said != "" && said != why {
				why += ": " + said
			}
			return failed(fmt.Sprintf("gave up after %v: %s", time.Since(start).Round(time.Second), why))
		}
		select {
		case <-k.under.Done():
		case <-time.After(pause):
		}
	}
}

// noMoreTries says why the stop is not tried, or not tried again.
func (k *killer) noMoreTries(begun, sampled time.Time) outcome {
	switch {
	case begun.IsZero():
		return k.tooLate(sampled)
	case k.under.Err() != nil:
		return failed(context.Cause(k.under).Error())
	}
	return outcome{}
}

// askToStop is one try. It tells whether Docker may have had it, and so may
// have begun.
func (k *killer) askToStop(docker *client.Client, id string, left time.Duration) (reached bool, err error) {
	ctx, cancel := context.WithTimeout(k.under, left+k.patience)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	seconds := int(math.Ceil(left.Seconds())) // Docker counts whole ones
	err = docker.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	return sent.Load() && !errdefs.IsNotFound(err), err
}

// forced is SIGKILL where that ended the container. One that Docker has removed
// tells no exit code; then whether the grace was over decides.
func forced(found *container.InspectResponse, graceOver bool) string {
	if found == nil && graceOver || found != nil && found.State.ExitCode == 128+int(unix.SIGKILL) {
		return "SIGKILL"
	}
	return ""
}

// stopSignal is the full name of a signal that a container is configured with:
// SIGTERM for "", "15", "term" and "SIGTERM".
func stopSignal(configured string) string {
	if number, err := strconv.Atoi(configured); err == nil {
		return cmp.Or(unix.SignalName(syscall.Signal(number)), configured)
	}
	return "SIG" + strings.TrimPrefix(cmp.Or(strings.ToUpper(configured), "SIGTERM"), "SIG")
}

// removeContainer removes what is left of a stopped container. Docker may be at
// it already.
func (k *killer) removeContainer(docker *client.Client, id string) {
	ctx, cancel := context.WithTimeout(k.under, k.patience)
	defer cancel()
	err := docker.ContainerRemove(ctx, id, container.RemoveOptions{})
	if err == nil || errdefs.IsNotFound(err) || strings.Contains(err.Error(), "already in progress") {
		return
	}
	k.out.complaint(fmt.Errorf("container %s: killed, but not removed: %s", id[:12], inWords(err, k.patience)))
}
