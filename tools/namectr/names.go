package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"winnow/tools/internal/record"
)

// namer names the containers of one snapshot after the other.
type namer struct {
	timeout  time.Duration
	complain func(error)

	docker   *client.Client // nil until there is a container to name
	failed   bool           // said once a run
	asked    bool           // for the snapshot at hand
	snapshot string
	known    map[string][]record.Member // by id: what to set
}

// appendLine appends the line to dst, a container's with what Docker knows.
func (n *namer) appendLine(ctx context.Context, dst []byte, line *record.Line) []byte {
	switch line.Type() {
	case record.TypeHost:
		n.asked = false
	case record.TypeContainer:
		if snapshot := line.Get("snapshot").Str; !n.asked || snapshot != n.snapshot {
			n.asked, n.snapshot = true, snapshot
			n.ask(ctx)
		}
		return line.AppendWith(dst, n.known[line.Get("id").Str]...)
	}
	return append(dst, line.Text()...)
}

// ask fills known with the containers that run now. Without an answer it is
// empty.
func (n *namer) ask(ctx context.Context) {
	var err error
	n.known, err = n.list(ctx)
	if err != nil && !n.failed {
		n.failed = true
		n.complain(fmt.Errorf("lines pass unnamed: %w", err))
	}
}

func (n *namer) list(ctx context.Context) (map[string][]record.Member, error) {
	if n.docker == nil {
		docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
		if err != nil {
			return nil, err
		}
		n.docker = docker
	}
	ctx, cancel := context.WithTimeout(ctx, n.timeout)
	defer cancel()
	running, err := n.docker.ContainerList(ctx, container.ListOptions{})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer from Docker within %v", n.timeout)
	}
	if err != nil {
		return nil, err
	}
	known := make(map[string][]record.Member, len(running))
	for _, c := range running {
		if known[c.ID], err = members(c); err != nil {
			return nil, fmt.Errorf("container %s: %w", c.ID, err)
		}
	}
	return known, nil
}

// members are what namectr sets in the line of c.
func members(c container.Summary) ([]record.Member, error) {
	labels := c.Labels
	if labels == nil {
		labels = map[string]string{} // known to be none
	}
	var set []record.Member
	for _, field := range []struct {
		name  string
		value any
	}{
		{"name", name(c.Names)},
		{"image", c.Image},
		{"labels", labels},
		{"created", time.Unix(c.Created, 0).UTC()},
	} {
		m, err := record.Set(field.name, field.value)
		if err != nil {
			return nil, err
		}
		set = append(set, m)
	}
	return set, nil
}

// name is the container's own among its names: those given to it by links
// ("/web/db") have a second slash.
func name(names []string) string {
	for _, name := range names {
		if own := strings.TrimPrefix(name, "/"); !strings.Contains(own, "/") {
			return own
		}
	}
	return ""
}

func (n *namer) close() {
	if n.docker != nil {
		n.docker.Close()
	}
}
