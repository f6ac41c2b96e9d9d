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

// source is where samples are taken: the cgroup files, or a document.
type source struct {
	proc      procfs
	bootID    string
	processes bool
	span      time.Duration // of the rates, at least
	tool      *cli.Tool

	cgroups  *cgroups // nil for a document
	document string   // its path
	module   bool     // the document is the module's, made anew at each read
}

// open finds the source that was asked for.
func open(from string, proc procfs, processes bool, span time.Duration, t *cli.Tool) (*source, error) {
	bootID, err := (&reader{}).read(proc.dir, "sys/kernel/random/boot_id", noLimit)
	if err != nil {
		return nil, err
	}
	src := &source{proc: proc, bootID: strings.TrimSpace(string(bootID)), processes: processes, span: span, tool: t}
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

// sample takes the sample to print. before are those that its rates are taken
// from, oldest first: what is kept at statePath, which may be "", or else one
// taken for it.
func (s *source) sample(ctx context.Context, statePath string) (now *sample, before []counters, err error) {
	kept := state{BootID: s.bootID, Source: s.key()}
	if statePath != "" {
		if kept, err = readState(statePath); err != nil {
			s.tool.Warn("passing over the state: %v", err)
		}
	}
	if s.document == "" || s.module {
		if kept, err = s.base(ctx, kept); err != nil {
			return nil, nil, err
		}
	}
	if now, err = s.take(); err != nil {
		return nil, nil, err
	}
	s.warnOfHidden(now)
	return now, kept.usable(s.bootID, s.key(), now.atNS, s.span), nil
}

// base makes sure of a sample that is old enough to take rates from, by waiting
// until the oldest of those kept, or one taken now, is.
func (s *source) base(ctx context.Context, kept state) (state, error) {
	samples := kept.usable(s.bootID, s.key(), boottime(), s.span)
	if len(samples) == 0 {
		first, err := s.take()
		if err != nil {
			return state{}, err
		}
		samples = []counters{newCounters(first)}
	}
	age := time.Duration(boottime() - samples[0].AtNS)
	return state{s.bootID, s.key(), samples}, sleep(ctx, s.span-max(age, 0))
}

// keep writes the samples that later runs need to path.
func (s *source) keep(path string, now *sample, before []counters) error {
	samples := thin(append(before, newCounters(now)), now.atNS, s.span)
	return state{s.bootID, s.key(), samples}.write(path)
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
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
