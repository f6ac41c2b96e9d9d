package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"winnow/tools/readsysinfo/cgroup"
)

// maxState is the longest state that is read or written, in bytes: the dozen samples that are kept at most, of tens of
// thousands of containers.
const maxState = 64 << 20

// state is what is kept for the next run to take rates from: the counters of samples of one boot and source, oldest
// first.
type state struct {
	BootID  string
	Source  string // sources count differently
	Samples []counters
}

// counters are those of one sample.
type counters struct {
	AtNS       int64 // when the last of them was read
	Containers map[string]counter
	Processes  map[int]counter
	Stalls     stalls // of the host
}

// counter is CPU time, when it was read, and what of: the process itself or the first process of the container, which
// is another after a restart.
type counter struct {
	CPUNS   uint64
	AtNS    int64
	PID     int
	StartNS uint64
}

// counterOf is the counter of the container, or of one of its processes where p is not nil. There is none where its CPU
// time is not known, or when that was read.
func counterOf(c *cgroup.Container, p *cgroup.Process) (n counter, known bool) {
	switch {
	case c.AtNS == nil || p != nil && p.CPUNS == nil:
		return counter{}, false
	case p != nil:
		return counter{*p.CPUNS, *c.AtNS, p.PID, p.StartNS}, true
	default:
		return counter{c.CPUNS, *c.AtNS, c.PID, c.StartNS}, true
	}
}

func newCounters(s *sample) counters {
	n := counters{s.atNS, make(map[string]counter), make(map[int]counter), s.stalls}
	for i := range s.Containers {
		c := &s.Containers[i]
		if one, known := counterOf(c, nil); known {
			n.Containers[c.ID] = one
			n.AtNS = max(n.AtNS, one.AtNS)
		}
		for j := range c.Listed {
			if one, known := counterOf(c, &c.Listed[j]); known {
				n.Processes[one.PID] = one
			}
		}
	}
	return n
}

var (
	// errNewer is a state that a newer winnow wrote, which is left as it is.
	errNewer = errors.New("a newer winnow wrote the state")
	errOlder = errors.New("an older winnow wrote the state")
)

// readState reads the state in path; an empty one where there is none.
func readState(path string) (state, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	if !info.Mode().IsRegular() {
		return state{}, fmt.Errorf("%s: not a regular file", path)
	}
	text, err := readBounded(path, maxState)
	if err != nil {
		return state{}, err
	}
	st, err := parseState(text)
	if err != nil {
		return state{}, fmt.Errorf("%s: %w", path, err)
	}
	return st, nil
}

// A state is kept as lines of text, which take a tenth of the time that JSON takes: one of its boot and source, then
// for each sample one of its time and one of each counter, which begins with the container's id, or with a dash where
// it is a process's. A line of the host's stalls looks like one of a container, which is what the releases before take
// it for.
const (
	stateVersion = 2
	stateLine    = "readsysinfo %d %q %q\n"
	ofSample     = "at"
	ofProcess    = "-"
	ofStalls     = "stalls"
)

func parseState(text []byte) (state, error) {
	var st state
	head, rest, _ := strings.Cut(string(text), "\n")
	var version int
	if n, err := fmt.Sscanf(head+"\n", stateLine, &version, &st.BootID, &st.Source); n > 0 && version != stateVersion {
		kind := errOlder
		if version > stateVersion {
			kind = errNewer
		}
		return state{}, fmt.Errorf("%w: it is of version %d, and this one keeps version %d", kind, version, stateVersion)
	} else if err != nil {
		return state{}, errors.New("not a state of readsysinfo")
	}
	for line := range strings.Lines(rest) {
		if err := st.parseLine(line); err != nil {
			return st, fmt.Errorf("not a state of readsysinfo: %.128q: %w", line, err)
		}
	}
	return st, nil
}

func (st *state) parseLine(line string) error {
	line, whole := strings.CutSuffix(line, "\n")
	words := strings.Split(line, " ")
	of, numbers := words[0], words[1:]
	var n [4]uint64
	want := len(n)
	if of == ofSample {
		want = 1
	}
	if !whole || len(numbers) != want {
		return errors.New("cut short, or too long")
	}
	for i, number := range numbers {
		var err error
		if n[i], err = strconv.ParseUint(number, 10, 63); err != nil {
			return fmt.Errorf("not a whole number: %.32q", number)
		}
	}
	last := len(st.Samples) - 1
	switch c := (counter{n[0], int64(n[1]), int(n[2]), n[3]}); {
	case of == ofSample && last >= 0 && int64(n[0]) <= st.Samples[last].AtNS:
		return errors.New("older than the sample before it")
	case of == ofSample:
		st.Samples = append(st.Samples, counters{AtNS: int64(n[0]), Containers: make(map[string]counter), Processes: make(map[int]counter)})
	case last < 0:
		return errors.New("of no sample")
	case of == ofStalls:
		st.Samples[last].Stalls = stalls{int64(n[0]), [3]uint64(n[1:])}
	case of == ofProcess:
		st.Samples[last].Processes[c.PID] = c
	default:
		st.Samples[last].Containers[of] = c
	}
	return nil
}

func (st state) text() []byte {
	b := fmt.Appendf(nil, stateLine, stateVersion, st.BootID, st.Source)
	for _, s := range st.Samples {
		b = fmt.Appendf(b, "%s %d\n", ofSample, s.AtNS)
		if t := s.Stalls; t != (stalls{}) {
			b = fmt.Appendf(b, "%s %d %d %d %d\n", ofStalls, t.atNS, t.total[0], t.total[1], t.total[2])
		}
		for id, c := range s.Containers {
			b = c.appendLine(b, id)
		}
		for _, c := range s.Processes {
			b = c.appendLine(b, ofProcess)
		}
	}
	return b
}

func (c counter) appendLine(b []byte, of string) []byte {
	b = append(b, of...)
	for _, n := range [...]uint64{c.CPUNS, uint64(c.AtNS), uint64(c.PID), c.StartNS} {
		b = strconv.AppendUint(append(b, ' '), n, 10)
	}
	return append(b, '\n')
}

// write replaces path, or leaves it as it is. It never takes the place of a device or the like, such as /dev/null.
func (st state) write(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
		return fmt.Errorf("%s: not a regular file", path)
	}
	text := st.text()
	if len(text) > maxState {
		return fmt.Errorf("%s: would be longer than %d bytes", path, maxState)
	}
	return renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}
