package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

// gap is between the two samples that are taken where there is no state.
const gap = 500 * time.Millisecond

// source is where samples are taken: the cgroup files, or a document.
type source struct {
	proc      procfs
	bootID    string
	processes bool
	tool      *cli.Tool

	cgroups  *cgroups // nil for a document
	document string   // its path
	module   bool     // the document is the module's, made anew at each read
}

// open finds the source that was asked for.
func open(from string, proc procfs, processes bool, t *cli.Tool) (*source, error) {
	bootID, err := (&reader{}).read(proc.dir, "sys/kernel/random/boot_id", noLimit)
	if err != nil {
		return nil, err
	}
	src := &source{proc: proc, bootID: strings.TrimSpace(string(bootID)), processes: processes, tool: t}
	modulePath := filepath.Join(proc.path, "sysinfo_winnow")
	switch from {
	case "module":
		src.document, src.module = modulePath, true
		return src, nil
	case "auto":
		f, err := os.Open(modulePath)
		if err == nil {
			src.document, src.module = modulePath, true
			return src, f.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Warn("reading the cgroup files instead of the module's: %v", err)
		}
	case "cgroup":
	default:
		src.document = from
		return src, nil
	}
	src.cgroups, err = findCgroups(proc)
	return src, err
}

// key names the source in a state.
func (s *source) key() string {
	switch {
	case s.module:
		return record.SourceModule
	case s.cgroups != nil:
		return s.cgroups.source
	default:
		return record.SourceFile + ":" + s.document
	}
}

func (s *source) counters(now *sample) *state { return newState(s.bootID, s.key(), now) }

// take takes one sample.
func (s *source) take() (now *sample, err error) {
	now = &sample{time: time.Now(), atNS: boottime()}
	if s.document != "" {
		return now, s.readDocument(now)
	}
	now.source = s.cgroups.source
	if now.memory, err = s.proc.memory(&reader{}); err != nil {
		return nil, err
	}
	now.containers, now.failed, err = s.cgroups.take(s.processes)
	return now, err
}

func (s *source) readDocument(now *sample) error {
	text, err := readBounded(s.document, maxDocument)
	if s.module && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: is the kernel module loaded?", err)
	}
	if err != nil {
		return err
	}
	d, err := parseDocument(text, s.processes)
	if err != nil {
		return fmt.Errorf("%s: %w", s.document, err)
	}
	now.source = record.SourceFile
	if s.module {
		now.source = record.SourceModule
	}
	if d.boottimeNS != 0 {
		now.atNS = d.boottimeNS
	}
	now.memory = d.memory
	now.containers, err = d.complete(s.proc)
	return err
}

// sample takes the sample to print. before are the counters that its rates are
// taken from, nil where there are none: those kept at statePath, which may be
// "", or of a sample taken for it.
func (s *source) sample(ctx context.Context, statePath string) (now *sample, before *state, err error) {
	if statePath != "" {
		if before, err = readState(statePath); err != nil {
			s.tool.Warn("passing over the state: %v", err)
		}
	}
	if s.document == "" || s.module {
		if before, err = s.base(ctx, before); err != nil {
			return nil, nil, err
		}
	}
	if now, err = s.take(); err != nil {
		return nil, nil, err
	}
	if !before.serves(s.bootID, s.key(), now.atNS) {
		before = nil
	}
	s.warnOfHidden(now)
	return now, before, nil
}

// base makes sure of counters that are old enough to take rates from.
func (s *source) base(ctx context.Context, kept *state) (*state, error) {
	at := boottime()
	if kept.serves(s.bootID, s.key(), at) {
		return kept, nil
	}
	if kept.from(s.bootID, s.key(), at) && time.Duration(at-kept.BoottimeNS) < minInterval {
		return kept, sleep(ctx, minInterval-time.Duration(at-kept.BoottimeNS))
	}
	first, err := s.take()
	if err != nil {
		return nil, err
	}
	return s.counters(first), sleep(ctx, gap)
}

func (s *source) warnOfHidden(now *sample) {
	hidden := 0
	for i := range now.containers {
		if now.containers[i].hidden {
			hidden++
		}
	}
	if hidden > 0 {
		s.tool.Warn("%s does not show the processes of containers (%d of %d): their names and resident memory are not known",
			s.proc.path, hidden, len(now.containers))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
