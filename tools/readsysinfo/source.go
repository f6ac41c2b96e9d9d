package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
	"winnow/tools/readsysinfo/document"
)

// source is where samples are taken: the cgroup files, or a document.
type source struct {
	settings
	tool   *cli.Tool
	bootID string
	opened cgroup.Proc

	cgroups  *cgroup.Files // nil for a document
	document string        // its path
	module   bool          // the document is the module's, made anew at each read
	auto     bool          // the cgroup files serve where that is not to be had
}

// settings is how a source is to be read.
type settings struct {
	proc      procfs
	from      string // auto, module, cgroup or a document's path
	processes bool
	span      time.Duration // of the rates, at least
	cmdlines  time.Duration // to wait for the command lines of a sample
	again     bool          // more samples follow, for which the cgroup files stay open
}

// openSource finds the source that was asked for.
func openSource(with settings, t *cli.Tool) (*source, error) {
	s := &source{settings: with, tool: t}
	var err error
	if s.bootID, err = with.proc.bootID(); err != nil {
		return nil, err
	}
	if s.opened, err = cgroup.OpenProc(string(with.proc)); err != nil {
		return nil, err
	}
	switch with.from {
	case "cgroup":
		err = s.openCgroups()
	case "module", "auto":
		s.document, s.module, s.auto = with.proc.path("sysinfo_winnow"), true, with.from == "auto"
		// Opening it would take a snapshot.
		if why := unix.Faccessat(unix.AT_FDCWD, s.document, unix.R_OK, unix.AT_EACCESS); s.auto && why != nil {
			err = s.fallBack(&fs.PathError{Op: "open", Path: s.document, Err: why})
		}
	default:
		s.document = with.from
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	s.cgroups.Close()
	s.opened.Close()
}

func (s *source) openCgroups() (err error) {
	if s.cgroups, err = cgroup.Open(s.opened); err == nil && s.again {
		s.cgroups.KeepOpen()
	}
	return err
}

// fallBack makes the cgroup files the source, from now on.
func (s *source) fallBack(why error) error {
	if !errors.Is(why, fs.ErrNotExist) {
		s.tool.Warn("reading the cgroup files instead of the module's: %v", why)
	}
	s.document, s.module, s.auto = "", false, false
	return s.openCgroups()
}

// key names the source in a state.
func (s *source) key() string {
	switch {
	case s.module:
		return record.SourceModule
	case s.cgroups != nil:
		return s.cgroups.Source
	default:
		return record.SourceFile + ":" + s.document
	}
}

// measure takes one sample: whole, or what rates are taken from.
func (s *source) measure(whole bool) (*sample, error) {
	now := &sample{time: time.Now(), atNS: cgroup.Boottime(), cause: record.CauseClock, pressures: s.proc.pressures()}
	if s.document != "" {
		err := s.readDocument(now)
		if err == nil || !s.auto {
			return now, err
		}
		if err := s.fallBack(err); err != nil {
			return nil, err
		}
		return s.measure(whole)
	}
	now.source = s.cgroups.Source
	var err error
	if now.memory, err = s.proc.memory(); err != nil {
		return nil, err
	}
	want := cgroup.Options{Processes: s.processes, Limits: whole, Until: time.Now().Add(cgroup.Patience)}
	if now.Measured, err = s.cgroups.MeasureAll(want); err != nil {
		return nil, err
	}
	if whole {
		s.opened.ReadCmdlines(now.Containers, s.cmdlines)
	}
	return now, nil
}

func (s *source) readDocument(now *sample) error {
	text, err := readBounded(s.document, document.MaxLength)
	if s.module && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: is the kernel module loaded?", err)
	}
	if err != nil {
		return err
	}
	d, err := document.Parse(text, s.processes)
	if err != nil {
		return fmt.Errorf("%s: %w", s.document, err)
	}
	now.source = record.SourceFile
	if s.module {
		now.source = record.SourceModule
	}
	if d.BoottimeNS != 0 {
		now.atNS = d.BoottimeNS
	}
	now.memory = memory{d.TotalKB, d.FreeKB, d.AvailableKB}
	now.Measured, err = d.Complete(s.opened)
	return err
}

// findStages adds what the processes of this pipeline have cost so far: those of the own process group.
func (s *source) findStages(now *sample) error {
	group, err := s.opened.Group()
	if err != nil {
		return err
	}
	boot := time.Now().Add(-time.Duration(cgroup.Boottime()))
	for _, one := range group {
		now.stages = append(now.stages, record.Stage{
			Name: one.Name, PID: one.PID, Started: boot.Add(time.Duration(one.StartNS)).UTC().Truncate(time.Second),
			CPUNS: *one.CPUNS, MemoryKB: one.RSSKB, MemoryPeakKB: s.opened.PeakKB(one.PID),
		})
	}
	return nil
}

// readBounded reads a file of at most limit bytes; it need not have an end.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd) // the module's file tells it too
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		size = 256 << 10 // a pipe
	}
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), limit)) + bytes.MinRead) // with room to find the end in
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return b.Bytes(), nil
}

// snapshot takes the sample to print. before are those that its rates are taken from, oldest first: what is kept at
// statePath, which may be "", or else one taken for it.
func (s *source) snapshot(ctx context.Context, statePath string) (now *sample, before []counters, err error) {
	kept := state{BootID: s.bootID, Source: s.key()}
	if statePath != "" {
		if kept, err = readState(statePath); errors.Is(err, errNewer) {
			return nil, nil, err
		} else if err != nil {
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
		if now, err = s.measure(true); err != nil {
			return nil, nil, err
		}
		if s.key() == asked {
			return now, base.usable(s.bootID, asked, now.atNS, s.span), nil
		} // else it fell back, and no rate can be taken from what the module counted
	}
}

// base makes sure of a sample that is old enough to take rates from, by waiting until the oldest of those kept, or one
// taken now, is.
func (s *source) base(ctx context.Context, kept state) (state, error) {
	usable := func() []counters { return kept.usable(s.bootID, s.key(), cgroup.Boottime(), s.span) }
	samples := usable()
	if len(samples) == 0 {
		first, err := s.measure(false)
		if err != nil {
			return state{}, err
		}
		if samples = usable(); len(samples) == 0 { // if it fell back, the state may be of the cgroup files
			samples = []counters{newCounters(first)}
		}
	}
	age := time.Duration(cgroup.Boottime() - samples[0].AtNS)
	return state{s.bootID, s.key(), samples}, sleep(ctx, s.span-max(age, 0))
}

// keep is what the next samples need of this one and those before it.
func (s *source) keep(now *sample, before []counters) state {
	return state{s.bootID, s.key(), thin(append(before, newCounters(now)), now.atNS, s.span)}
}

// maxWarned is how many ids that several cgroups have are named: who makes them can make thousands.
const maxWarned = 5

// messages tell what the sample's lines do not.
func (s *source) messages(now *sample) (said []message) {
	warn := func(format string, a ...any) { said = append(said, message{fmt.Sprintf(format, a...), false}) }
	for _, double := range now.Doubles[:min(len(now.Doubles), maxWarned)] {
		warn("%s", double)
	}
	if more := len(now.Doubles) - maxWarned; more > 0 {
		warn("%d more ids are those of several cgroups", more)
	}
	hidden := 0
	for i := range now.Containers {
		if now.Containers[i].Hidden {
			hidden++
		}
	}
	if hidden > 0 {
		warn("%s does not show the processes of containers (%d of %d): their names and resident memory are not known",
			s.proc, hidden, len(now.Containers))
	}
	for _, err := range now.Failed {
		said = append(said, message{err.Error(), !errors.Is(err, cgroup.ErrUncounted)})
	}
	return said
}

// message is for people. A fault fails the tool in the end.
type message struct {
	text  string
	fault bool
}

func (s *source) tell(m message) {
	if m.fault {
		s.tool.Complain(errors.New(m.text))
		return
	}
	s.tool.Warn("%s", m.text)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
