package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

	cmdlines time.Duration // to wait for them

	cgroups  *cgroups // nil for a document
	document string   // its path
	module   bool     // the document is the module's, made anew at each read
	auto     bool     // the cgroup files serve where that is not to be had
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
		src.document, src.module, src.auto = modulePath, true, true
		// Opening it takes a snapshot.
		if err := unix.Faccessat(unix.AT_FDCWD, modulePath, unix.R_OK, unix.AT_EACCESS); err != nil {
			return src, src.fallBack(&fs.PathError{Op: "open", Path: modulePath, Err: err})
		}
		return src, nil
	case "cgroup":
		src.cgroups, err = findCgroups(proc)
		return src, err
	default:
		src.document = from
		return src, nil
	}
}

func (s *source) close() { s.cgroups.close() }

// fallBack makes the cgroup files the source, from now on.
func (s *source) fallBack(why error) (err error) {
	if !errors.Is(why, fs.ErrNotExist) {
		s.tool.Warn("reading the cgroup files instead of the module's: %v", why)
	}
	s.document, s.module, s.auto = "", false, false
	s.cgroups, err = findCgroups(s.proc)
	return err
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

// take takes one sample: whole, or what rates are taken from.
func (s *source) take(whole bool) (now *sample, err error) {
	now = &sample{time: time.Now(), atNS: boottime()}
	if s.document != "" {
		if err = s.readDocument(now); err == nil || !s.auto {
			return now, err
		}
		if err = s.fallBack(err); err != nil {
			return nil, err
		}
		return s.take(whole)
	}
	now.source = s.cgroups.source
	if now.memory, err = s.proc.memory(&reader{}); err != nil {
		return nil, err
	}
	if err := s.cgroups.take(now, s.processes, whole); err != nil {
		return nil, err
	}
	if whole {
		s.proc.readCmdlines(now.containers, s.cmdlines)
	}
	return now, nil
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
	return d.complete(s.proc, now)
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
	for {
		base := kept
		if s.document == "" || s.module {
			if base, err = s.base(ctx, kept); err != nil {
				return nil, nil, err
			}
		}
		asked := s.key()
		if now, err = s.take(true); err != nil {
			return nil, nil, err
		}
		if s.key() == asked {
			s.warn(now)
			return now, base.usable(s.bootID, asked, now.atNS, s.span), nil
		} // else it fell back, and no rate can be taken from what the module counted
	}
}

// base makes sure of a sample that is old enough to take rates from, by waiting
// until the oldest of those kept, or one taken now, is.
func (s *source) base(ctx context.Context, kept state) (state, error) {
	asked := s.key()
	samples := kept.usable(s.bootID, asked, boottime(), s.span)
	if len(samples) == 0 {
		first, err := s.take(false)
		if err != nil {
			return state{}, err
		}
		if s.key() != asked { // fell back: the state may be of the cgroup files
			samples = kept.usable(s.bootID, s.key(), boottime(), s.span)
		}
		if len(samples) == 0 {
			samples = []counters{newCounters(first)}
		}
	}
	age := time.Duration(boottime() - samples[0].AtNS)
	return state{s.bootID, s.key(), samples}, sleep(ctx, s.span-max(age, 0))
}

// keep writes the samples that later runs need to path.
func (s *source) keep(path string, now *sample, before []counters) error {
	samples := thin(append(before, newCounters(now)), now.atNS, s.span)
	return state{s.bootID, s.key(), samples}.write(path)
}

// warn tells what the sample's lines do not.
func (s *source) warn(now *sample) {
	for _, double := range now.doubles[:min(len(now.doubles), maxDoubles)] {
		s.tool.Warn("%s", double)
	}
	if more := len(now.doubles) - maxDoubles; more > 0 {
		s.tool.Warn("%d more ids are those of several cgroups", more)
	}
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
