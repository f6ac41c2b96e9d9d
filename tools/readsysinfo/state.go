package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

const (
	// minInterval is the shortest span to take a rate over: the counters of
	// processes go in steps of 10 ms.
	minInterval = 100 * time.Millisecond
	// maxInterval is the longest: a mean over more says little about now.
	maxInterval = 10 * time.Minute
)

// state is the counters of a sample, kept for the next one to take rates from.
type state struct {
	BootID     string
	Source     string // sources count differently
	BoottimeNS int64
	Containers map[string]counter
	Processes  map[int]counter
}

// counter is CPU time, when it was read, and what of: the process itself or
// the first process of the container, which is another after a restart.
type counter struct {
	CPUNS   uint64
	AtNS    int64
	PID     int
	StartNS uint64
}

func newState(bootID, source string, s *sample) *state {
	st := &state{bootID, source, s.atNS, make(map[string]counter, len(s.containers)), nil}
	for i := range s.containers {
		c := &s.containers[i]
		if c.atNS != 0 {
			st.Containers[c.id] = counter{c.cpuNS, c.atNS, c.first.pid, c.first.startNS}
		}
		for _, p := range c.processes {
			if st.Processes == nil {
				st.Processes = make(map[int]counter)
			}
			st.Processes[p.pid] = counter{p.cpuNS, c.atNS, p.pid, p.startNS}
		}
	}
	return st
}

// readState reads the state in path; nil where there is none.
func readState(path string) (*state, error) {
	text, err := readBounded(path, maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseState(text)
}

// A state is kept as lines of text, which take a tenth of the time that JSON
// takes: one of the sample, then one of each counter, which begins with the
// container's id, or with a dash where it is a process's.
const (
	sampleLine = "readsysinfo 1 %q %q %d\n"
	ofProcess  = "-"
)

func parseState(text []byte) (*state, error) {
	head, counters, _ := strings.Cut(string(text), "\n")
	st := &state{Containers: make(map[string]counter), Processes: make(map[int]counter)}
	if _, err := fmt.Sscanf(head+"\n", sampleLine, &st.BootID, &st.Source, &st.BoottimeNS); err != nil {
		return nil, fmt.Errorf("not a state of readsysinfo: %w", err)
	}
	for line := range strings.Lines(counters) {
		if err := st.parseCounter(line); err != nil {
			return nil, fmt.Errorf("not a state of readsysinfo: %q: %w", cut(line, 128), err)
		}
	}
	return st, nil
}

func (st *state) parseCounter(line string) error {
	line, whole := strings.CutSuffix(line, "\n")
	of, numbers, _ := strings.Cut(line, " ")
	var n [4]uint64
	for i := range n {
		var number string
		var err error
		number, numbers, _ = strings.Cut(numbers, " ")
		if n[i], err = strconv.ParseUint(number, 10, 64); err != nil {
			return err
		}
	}
	if !whole || numbers != "" {
		return errors.New("cut short, or too long")
	}
	c := counter{CPUNS: n[0], AtNS: int64(n[1]), PID: int(n[2]), StartNS: n[3]}
	if of == ofProcess {
		st.Processes[c.PID] = c
	} else {
		st.Containers[of] = c
	}
	return nil
}

func (st *state) text() []byte {
	b := make([]byte, 0, 128*(1+len(st.Containers)+len(st.Processes)))
	b = fmt.Appendf(b, sampleLine, st.BootID, st.Source, st.BoottimeNS)
	for id, c := range st.Containers {
		b = c.append(b, id)
	}
	for _, c := range st.Processes {
		b = c.append(b, ofProcess)
	}
	return b
}

func (c counter) append(b []byte, of string) []byte {
	b = append(b, of...)
	for _, n := range [...]uint64{c.CPUNS, uint64(c.AtNS), uint64(c.PID), c.StartNS} {
		b = strconv.AppendUint(append(b, ' '), n, 10)
	}
	return append(b, '\n')
}

// write replaces path, or leaves it as it is.
func (st *state) write(path string) error {
	return renameio.WriteFile(path, st.text(), 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

// from tells whether the state is of this boot and source, and not of the
// future.
func (st *state) from(bootID, source string, nowNS int64) bool {
	return st != nil && st.BootID == bootID && st.Source == source && st.BoottimeNS > 0 && st.BoottimeNS <= nowNS
}

// serves tells whether rates can be taken from it in a sample at nowNS.
func (st *state) serves(bootID, source string, nowNS int64) bool {
	if !st.from(bootID, source, nowNS) {
		return false
	}
	age := time.Duration(nowNS - st.BoottimeNS)
	return age >= minInterval && age <= maxInterval
}

func (st *state) containerRate(c *container) *float64 {
	if st == nil {
		return nil
	}
	before, ok := st.Containers[c.id]
	return rate(before, ok, counter{c.cpuNS, c.atNS, c.first.pid, c.first.startNS})
}

func (st *state) processRate(c *container, p *process) *float64 {
	if st == nil {
		return nil
	}
	before, ok := st.Processes[p.pid]
	return rate(before, ok, counter{p.cpuNS, c.atNS, p.pid, p.startNS})
}

// rate is in percent of a core; nil for what is new or was started anew.
func rate(before counter, ok bool, now counter) *float64 {
	same := ok && before.PID == now.PID && before.StartNS == now.StartNS
	span := now.AtNS - before.AtNS
	if !same || before.AtNS <= 0 || span <= 0 || now.CPUNS < before.CPUNS {
		return nil
	}
	percent := round(float64(now.CPUNS-before.CPUNS) / float64(span) * 100)
	return &percent
}
