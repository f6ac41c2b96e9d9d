package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"winnow/tools/internal/policy"
)

// maxPolicy and maxState bound how much is read of a file, in bytes.
const (
	maxPolicy = 1 << 20
	maxState  = 64 << 20
)

// decider is the policy in force, and what it remembers.
type decider struct {
	flags    *flags
	policy   *policy.Policy
	memories *policy.Memories
	labels   map[string]bool // that the policy asks for
	path     string          // of the policy's file, "" where the flags are the policy
	seen     os.FileInfo     // the file as it was read last
	state    string          // the file of what is remembered, "" for none
	saved    time.Time       // when that was tried last
	unsaved  bool            // it failed
	warn     func(format string, a ...any)
	complain func(error)
}

// use puts a policy in force.
func (j *decider) use(p *policy.Policy) {
	j.flags.apply(p)
	j.policy, j.labels = p, p.LabelsAsked()
}

// start puts the file's policy in force or, where that is wrong now, the one that
// was in force when its state was kept.
func (j *decider) start() error {
	p, err := j.readPolicy()
	if err == nil {
		j.use(p)
		return nil
	}
	before, parseErr := policy.Parse([]byte(j.memories.Policy), j.flags.class())
	if parseErr != nil {
		return err
	}
	j.warn("the policy before stays in force: %v", err)
	j.use(before)
	return nil
}

// readPolicy reads the policy's file. Each line that is wrong is told.
func (j *decider) readPolicy() (*policy.Policy, error) {
	text, seen, err := readAtMost(j.path, maxPolicy)
	if j.seen = seen; err != nil {
		return nil, err
	}
	p, err := policy.Parse(text, j.flags.class())
	if err != nil {
		lines := strings.Split(err.Error(), "\n")
		return nil, fmt.Errorf("%s:%s", j.path, strings.Join(lines, "; "+j.path+":"))
	}
	j.memories.Policy = string(text)
	return p, nil
}

// readAgain takes on a policy file that has changed. One that is wrong leaves the
// policy before in force, and is said once.
func (j *decider) readAgain() {
	if j.path == "" {
		return
	}
	now, err := os.Stat(j.path)
	same := err == nil && j.seen != nil && os.SameFile(now, j.seen) && now.ModTime().Equal(j.seen.ModTime()) && now.Size() == j.seen.Size()
	if same || err != nil && j.seen == nil { // it is gone, and that was said
		return
	}
	j.seen = nil
	p, err := j.readPolicy()
	if err != nil {
		j.warn("the policy before stays in force: %v", err)
		return
	}
	j.use(p)
	j.warn("the policy was read again: %s has changed", j.path)
}

// load reads what is remembered.
func (j *decider) load() error {
	j.memories = new(policy.Memories)
	if j.state == "" {
		return nil
	}
	text, _, err := readAtMost(j.state, maxState)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	memories, err := policy.Decode(text)
	if errors.Is(err, policy.ErrDamaged) {
		j.warn("%s: %v: patience and notices begin anew", j.state, err)
	} else if err != nil {
		return fmt.Errorf("%s: %w", j.state, err)
	}
	j.memories = memories
	return nil
}

// saveEvery is how long patience may be kept in memory alone. A crash loses it, and
// patience lost only delays.
const saveEvery = 10 * time.Second

// saveBefore keeps what must not be forgotten once the verdicts are out that were
// just judged.
func (j *decider) saveBefore(m *policy.Memory) {
	if before, _ := m.Urgent(); before {
		j.save(true)
	}
}

// saveAfter keeps, once they are out, what they told, or what has waited for long.
func (j *decider) saveAfter(m *policy.Memory) {
	_, after := m.Urgent()
	m.Told()
	if after || time.Since(j.saved) >= saveEvery {
		j.save(true)
	}
}

// save keeps what is remembered; open is in the middle of a stream. Where it cannot,
// it says so once: what is in memory is right, and is kept when that works again.
func (j *decider) save(open bool) {
	if j.state == "" {
		return
	}
	j.memories.Open, j.saved = open, time.Now()
	text, err := j.memories.Encode()
	if err == nil {
		err = renameio.WriteFile(j.state, text, 0o600, renameio.WithTempDir(filepath.Dir(j.state)))
	}
	if err != nil && !j.unsaved {
		j.complain(fmt.Errorf("keeping what the policy remembers: %w", err))
	}
	j.unsaved = err != nil
}

// readAtMost reads a file of so many bytes at most, and tells which it was.
func readAtMost(path string, limit int64) (text []byte, seen os.FileInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if seen, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	text, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	return text, seen, err
}
