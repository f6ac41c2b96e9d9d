package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
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
	// pause lies between two tries.
	pause = 250 * time.Millisecond
)

// outcome is how a kill ends; the names are those of record.Kill, why its Error.
type outcome struct{ result, signal, why string }

// attempt kills the container, or says why not.
func (k *killer) attempt(ctx context.Context, id string, sampled time.Time) outcome {
	if age := time.Since(sampled); age > k.maxAge || age < -maxAhead {
		return outcome{result: record.ResultStale, why: staleness(sampled, age, k.maxAge)}
	}
	docker, err := k.connect()
	if err != nil {
		return outcome{result: record.ResultFailed, why: err.Error()}
	}
	found, end := k.examine(ctx, docker, id, sampled)
	if end.result != "" {
		return end
	}
	if k.dryRun {
		return outcome{result: record.ResultDryRun}
	}
	end = k.stop(ctx, docker, id, sampled)
	if end.result != record.ResultKilled {
		return end
	}
	end.signal = cmp.Or(end.signal, stopSignal(found.Config.StopSignal))
	if k.remove {
		k.removeContainer(ctx, docker, id)
	}
	return end
}

func staleness(sampled time.Time, age, maxAge time.Duration) string {
	switch {
	case sampled.IsZero():
		return "the sample has no time"
	case age < 0:
		return fmt.Sprintf("the sample is %v in the future", -age.Round(time.Second))
	}
	return fmt.Sprintf("the sample is %v old, more than %v", age.Round(time.Second), maxAge)
}

// examine asks Docker about the container. With an empty result it may be
// killed; with that or gone, what was found is whole or nil.
func (k *killer) examine(ctx context.Context, docker *client.Client, id string, sampled time.Time) (*container.InspectResponse, outcome) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	found, err := docker.ContainerInspect(ctx, id)
	switch {
	case errdefs.IsNotFound(err):
		return nil, outcome{result: record.ResultGone, why: "there is no such container"}
	case ctx.Err() != nil:
		return nil, outcome{result: record.ResultFailed, why: fmt.Sprintf("no answer from Docker within %v", k.timeout)}
	case err != nil:
		return nil, outcome{result: record.ResultFailed, why: err.Error()}
	case found.ContainerJSONBase == nil || found.State == nil || found.Config == nil || found.ID != id:
		return nil, outcome{result: record.ResultFailed, why: "Docker's answer is not about the container"}
	case !found.State.Running:
		return &found, outcome{result: record.ResultGone, why: "it is not running"}
	}
	return &found, k.spared(&found, sampled)
}

// spared says why a running container may not be killed.
func (k *killer) spared(found *container.InspectResponse, sampled time.Time) outcome {
	started, err := time.Parse(time.RFC3339, found.State.StartedAt)
	labels := found.Config.Labels
	switch {
	case err != nil || started.After(sampled):
		return outcome{result: record.ResultStale, why: "started since the sample, at " + found.State.StartedAt}
	case labels[record.LabelProtect] == "true":
		return outcome{result: record.ResultProtected, why: "labelled " + record.LabelProtect + "=true"}
	case labels[record.LabelManaged] != "true" && !k.all:
		return outcome{result: record.ResultProtected, why: "not labelled " + record.LabelManaged + "=true"}
	}
	return outcome{}
}

// stop stops the container and sees that it has stopped; signal is left empty
// where its stop signal was enough. Docker may fail meanwhile, such as while it
// restarts: then it is tried again.
func (k *killer) stop(ctx context.Context, docker *client.Client, id string, sampled time.Time) outcome {
	start := time.Now()
	stopCtx, cancel := context.WithTimeout(ctx, k.grace+k.patience)
	defer cancel()
	for {
		left := max(0, k.grace-time.Since(start))
		seconds := int(math.Ceil(left.Seconds())) // Docker counts whole ones
		err := docker.ContainerStop(stopCtx, id, container.StopOptions{Timeout: &seconds})
		found, end := k.examine(ctx, docker, id, sampled)
		switch end.result {
		case record.ResultGone:
			return outcome{result: record.ResultKilled, signal: forced(found, time.Since(start) >= k.grace)}
		case record.ResultStale, record.ResultProtected:
			return end
		}
		select {
		case <-stopCtx.Done():
			why := cmp.Or(end.why, "it still runs")
			if err != nil {
				why += ": " + err.Error()
			}
			return outcome{result: record.ResultFailed,
				why: fmt.Sprintf("gave up after %v: %s", time.Since(start).Round(time.Second), why)}
		case <-time.After(pause):
		}
	}
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
func (k *killer) removeContainer(ctx context.Context, docker *client.Client, id string) {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	err := docker.ContainerRemove(ctx, id, container.RemoveOptions{})
	if err == nil || errdefs.IsNotFound(err) || strings.Contains(err.Error(), "already in progress") {
		return
	}
	k.out.complaint(fmt.Errorf("container %s: killed, but not removed: %w", id[:12], err))
}
