package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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
	BootID     string             `json:"boot_id"`
	Source     string             `json:"source"` // sources count differently
	BoottimeNS int64              `json:"boottime_ns"`
	Containers map[string]counter `json:"containers"`
	Processes  map[int]counter    `json:"processes,omitempty"`
}

// counter is CPU time, when it was read, and what of: the process itself or
// the first process of the container, which is another after a restart.
type counter struct {
	CPUNS   uint64 `json:"cpu_ns"`
	AtNS    int64  `json:"at_ns"`
	PID     int    `json:"pid"`
	StartNS uint64 `json:"start_ns"`
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

func parseState(text []byte) (*state, error) {
	var st *state
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, fmt.Errorf("not a state of readsysinfo: %w", err)
	}
	return st, nil
}

// write replaces path, or leaves it as it is.
func (st *state) write(path string) error {
	text, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(text, '\n'), 0o600, renameio.WithTempDir(filepath.Dir(path)))
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
