// Command readsysinfo prints one snapshot: a host line and a line for each
// running container, with its memory, CPU time and CPU rate. It needs neither
// root nor Docker's socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `
Prints a snapshot as JSON lines: one of type host, then one of type container
for each running container and, with --processes, those of type process that
belong to it.

--source is where the containers are read:
  auto    module where its file is there and can be read, else cgroup
  module  /proc/sysinfo_winnow, the file of winnow's kernel module
  cgroup  the cgroup files, of version 1 or 2, and /proc
  PATH    a file with a document as the module prints it, or one as the
          sysinfo modules of the Linux course projects print it. Those measure
          each container's shim, so memory and CPU time are then taken from the
          container's cgroup files; where it has none here, the shim's resident
          memory and CPU time stand in, and there is no CPU rate.

Memory is counted as docker stats counts it: a cgroup's usage less its inactive
file cache. A CPU rate is the counter's growth since the sample in --state.
Without one, or if it is of another boot or source, or over 10 minutes old, two
samples are taken half a second apart; of a PATH only one is, and the rates are
null.
`

// gap is between the two samples that are taken where there is no state.
const gap = 500 * time.Millisecond

func main() { cli.Main("readsysinfo", run) }

func run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("readsysinfo", "[--source auto|module|cgroup|PATH] [--state FILE] [--processes]", summary, stderr)
	from := t.String("source", "auto", "where to read: auto, module, cgroup or a file's PATH")
	statePath := t.String("state", "", "file that keeps the counters for the next run's rates")
	processes := t.Bool("processes", false, "print the containers' processes too")
	root := t.String("proc-root", "/proc", "where the host's procfs is mounted")
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if *from == "" {
		return t.Misused("--source is empty")
	}
	at, err := openDir(*root)
	if err != nil {
		return err
	}
	defer at.close()
	proc := procfs{at}
	src, err := open(*from, proc, *processes, t)
	if err != nil {
		return err
	}
	defer src.close()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	bootID, err := (&reader{}).read(proc.dir, "sys/kernel/random/boot_id", noLimit)
	if err != nil {
		return err
	}
	m := meter{src, strings.TrimSpace(string(bootID)), *statePath, t}
	now, before, err := m.sample(ctx)
	if err != nil {
		return err
	}
	p := printer{proc, host, *processes, src.document == ""}
	if err := p.print(stdout, now, before); err != nil {
		return err
	}
	for _, err := range now.failed {
		t.Complain(err)
	}
	if *statePath != "" {
		if err := newState(m.bootID, src.key(), now).write(*statePath); err != nil {
			t.Complain(fmt.Errorf("state not kept: %w", err))
		}
	}
	return t.Done(nil)
}

// source is where samples are taken: the cgroup files, or a document.
type source struct {
	proc      procfs
	processes bool

	cgroups  *cgroups // nil for a document
	document string   // its path
	module   bool     // it is the module's, made anew at each read
}

// open finds the source that was asked for.
func open(from string, proc procfs, processes bool, t *cli.Tool) (*source, error) {
	src := &source{proc: proc, processes: processes}
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
	var err error
	src.cgroups, err = findCgroups(proc)
	return src, err
}

func (s *source) close() {
	if s.cgroups != nil {
		s.cgroups.close()
	}
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
func (s *source) take() (*sample, error) {
	if s.document != "" {
		return s.takeDocument()
	}
	now := &sample{source: s.cgroups.source, time: time.Now(), atNS: boottime()}
	var err error
	if now.memory, err = s.proc.memory(&reader{}); err != nil {
		return nil, err
	}
	now.containers, now.failed, err = s.cgroups.take(s.processes)
	return now, err
}

func (s *source) takeDocument() (*sample, error) {
	now := &sample{source: record.SourceFile, time: time.Now(), atNS: boottime()}
	if s.module {
		now.source = record.SourceModule
	}
	text, err := readBounded(s.document, maxDocument)
	if s.module && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: is the kernel module loaded?", err)
	}
	if err != nil {
		return nil, err
	}
	d, err := parseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.document, err)
	}
	if d.boottimeNS != 0 {
		now.atNS = d.boottimeNS
	}
	now.memory = d.memory
	now.containers, err = d.complete(s.proc)
	if !s.processes {
		for i := range now.containers {
			now.containers[i].processes = nil
		}
	}
	return now, err
}

// meter takes the samples that rates need.
type meter struct {
	*source
	bootID string
	state  string // path, "" for none
	tool   *cli.Tool
}

// sample takes the sample to print, and before are the counters that its rates
// are taken from, nil where there are none.
func (m meter) sample(ctx context.Context) (now *sample, before *state, err error) {
	if m.state != "" {
		if before, err = readState(m.state); err != nil {
			m.tool.Warn("passing over the state: %v", err)
		}
	}
	live := m.document == "" || m.module
	if live {
		if before, err = m.base(ctx, before); err != nil {
			return nil, nil, err
		}
	}
	if now, err = m.take(); err != nil {
		return nil, nil, err
	}
	if !before.serves(m.bootID, m.key(), now.atNS) {
		before = nil
	}
	m.warnOfHidden(now)
	return now, before, nil
}

// base makes sure of counters that are old enough to take rates from: those
// kept, or of a sample taken for it.
func (m meter) base(ctx context.Context, kept *state) (*state, error) {
	at := boottime()
	if kept.serves(m.bootID, m.key(), at) {
		return kept, nil
	}
	if kept.from(m.bootID, m.key(), at) && time.Duration(at-kept.BoottimeNS) < minInterval {
		return kept, sleep(ctx, minInterval-time.Duration(at-kept.BoottimeNS))
	}
	first, err := m.take()
	if err != nil {
		return nil, err
	}
	return newState(m.bootID, m.key(), first), sleep(ctx, gap)
}

func (m meter) warnOfHidden(s *sample) {
	hidden := 0
	for i := range s.containers {
		if s.containers[i].hidden {
			hidden++
		}
	}
	if hidden > 0 {
		m.tool.Warn("%s does not show the processes of containers (%d of %d): their names and resident memory are not known", m.proc.path, hidden, len(s.containers))
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
