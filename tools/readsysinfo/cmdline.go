package main

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// maxCmdline is how much of a process's command line is shown, in bytes of
	// its memory: the module shows as much.
	maxCmdline = 4096

	// cmdlineBudget is how long a snapshot waits for all command lines, and
	// cmdlineHelpers how many at most read them, and may hang in it.
	cmdlineBudget  = 50 * time.Millisecond
	cmdlineHelpers = 16
)

// cmdline is a process's arguments joined by spaces, "" where it has none. The
// zero cmdline is not known.
type cmdline struct {
	text             string
	known, truncated bool
}

// pointer is as in the records.
func (c *cmdline) pointer() *string {
	if !c.known {
		return nil
	}
	return &c.text
}

// cmdline reads a process's.
func (p procfs) cmdline(r *reader, pid int) cmdline {
	text, err := r.read(p.dir, strconv.Itoa(pid)+"/cmdline", maxCmdline+1)
	if err != nil {
		return cmdline{}
	}
	truncated := len(text) > maxCmdline
	if truncated {
		text = trimPart(text[:maxCmdline])
	}
	text = bytes.TrimRight(text, "\x00")
	for i, c := range text {
		if c == 0 {
			text[i] = ' '
		}
	}
	return cmdline{string(text), true, truncated}
}

// trimPart takes off a character that a cut has left a part of.
func trimPart(text []byte) []byte {
	for i := len(text) - 1; i >= 0 && i > len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			return text[:i]
		}
	}
	return text
}

// shorten cuts a command line that is UTF-8 already: U+FFFD is there for a byte
// that was none.
func shorten(text string) cmdline {
	if len(text) <= maxCmdline {
		return cmdline{text, true, false}
	}
	size := 0
	for at, c := range text {
		if c == utf8.RuneError {
			size++
		} else {
			size += utf8.RuneLen(c)
		}
		if size > maxCmdline {
			return cmdline{text[:at], true, true}
		}
	}
	return cmdline{text, true, false}
}

// readCmdlines reads the containers' command lines: those of their first
// processes, and then those of the others that are kept. The kernel reads them
// under a lock of the process's, which a container can hold for seconds. So
// helpers read, and one that hangs is left behind with its container: what is
// late, or takes too much room, stays unknown. Not even the exit waits for them.
func (p procfs) readCmdlines(containers []container, budget time.Duration) {
	var (
		mutex sync.Mutex    // of the containers' command lines, and of room
		room  = maxDocument // they are held until they are printed
		late  atomic.Bool   // set under the mutex: from now on they are printed
		next  atomic.Int64
		rest  = make(chan *container, len(containers)) // those whose first process did not hang
		done  = make(chan struct{}, cmdlineHelpers)
	)
	// read reads one that takes no more than share, and tells what is left of it.
	read := func(r *reader, into *process, share int) (left int) {
		line := p.cmdline(r, into.pid)
		mutex.Lock()
		defer mutex.Unlock()
		if share -= len(line.text); share >= 0 && !late.Load() {
			into.cmdline = line
			room -= len(line.text)
		}
		return share
	}
	others := func(r *reader, c *container) {
		mutex.Lock()
		share := room / 64 // so that none takes all of it
		mutex.Unlock()
		for i := 0; i < len(c.processes) && share >= 0 && !late.Load(); i++ {
			share = read(r, &c.processes[i], share)
		}
	}
	help := func() {
		defer func() { done <- struct{}{} }()
		var r reader
		for i := next.Add(1) - 1; i < int64(len(containers)) && !late.Load(); i = next.Add(1) - 1 {
			read(&r, &containers[i].first, maxCmdline)
			rest <- &containers[i]
		}
		for !late.Load() {
			select {
			case c := <-rest:
				others(&r, c)
			default:
				return
			}
		}
	}
	helpers := min(cmdlineHelpers, len(containers))
	for range helpers {
		go help()
	}
	end := time.After(budget)
	for helpers > 0 {
		select {
		case <-done:
			helpers--
		case <-end:
			helpers = 0
		}
	}
	mutex.Lock()
	late.Store(true)
	mutex.Unlock()
}
