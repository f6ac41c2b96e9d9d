package cgroup

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	// maxCmdline is how much of a process's command line is shown, in bytes of its memory: the module shows as much.
	maxCmdline = 4096
	// maxRoom is how much the command lines of a snapshot take in all, in bytes: they are held until they are printed.
	maxRoom = 32 << 20
	// maxHelpers is how many read command lines at most, and may hang in it.
	maxHelpers = 16
)

// cmdline reads a process's: its arguments joined by spaces, "" where it has none, nil where it cannot be had.
func (p Proc) cmdline(pid int) (text *string, truncated bool) {
	raw, err := p.readUpTo(strconv.Itoa(pid)+"/cmdline", maxCmdline+1)
	if err != nil {
		return nil, false
	}
	if truncated = len(raw) > maxCmdline; truncated {
		raw = trimPart(raw[:maxCmdline])
	}
	raw = bytes.ReplaceAll(bytes.TrimRight(raw, "\x00"), []byte{0}, []byte{' '})
	return new(string(raw)), truncated
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

// ShortenCmdline cuts a command line as one that is read from a process's memory is cut, where it is UTF-8 already: in
// it U+FFFD stands for one byte that was none.
func ShortenCmdline(text string) (short string, truncated bool) {
	size := 0
	for at, c := range text {
		if c == utf8.RuneError {
			size++
		} else {
			size += utf8.RuneLen(c)
		}
		if size > maxCmdline {
			return text[:at], true
		}
	}
	return text, false
}

// ReadCmdlines reads the containers' command lines: those of their first processes, and then those of the others that
// are listed. The kernel reads them under a lock of the process's, which a container can hold for seconds. So helpers
// read, and one that hangs is left behind with its container: what is not there within budget, or takes too much room,
// stays nil. Not even the exit waits for them.
func (p Proc) ReadCmdlines(containers []Container, budget time.Duration) {
	var (
		mutex sync.Mutex // of the containers' command lines, and of room
		room  = maxRoom
		late  atomic.Bool // set under the mutex: from now on they are printed
		next  atomic.Int64
		rest  = make(chan *Container, len(containers)) // those whose first process did not hang
		done  = make(chan struct{}, maxHelpers)
	)
	// read reads one that takes no more than share, and tells what is left of it.
	read := func(pid int, cmdline **string, truncated *bool, share int) (left int) {
		text, part := p.cmdline(pid)
		if text == nil {
			return share
		}
		mutex.Lock()
		defer mutex.Unlock()
		if share -= len(*text); share >= 0 && !late.Load() {
			*cmdline, *truncated = text, part
			room -= len(*text)
		}
		return share
	}
	others := func(c *Container) {
		mutex.Lock()
		share := room / 64 // so that none takes all of it
		mutex.Unlock()
		for i := 0; i < len(c.Listed) && share >= 0 && !late.Load(); i++ {
			one := &c.Listed[i]
			share = read(one.PID, &one.Cmdline, &one.CmdlineTruncated, share)
		}
	}
	help := func() {
		defer func() { done <- struct{}{} }()
		for i := next.Add(1) - 1; i < int64(len(containers)) && !late.Load(); i = next.Add(1) - 1 {
			c := &containers[i]
			read(c.PID, &c.Cmdline, &c.CmdlineTruncated, maxCmdline)
			rest <- c
		}
		for !late.Load() {
			select {
			case c := <-rest:
				others(c)
			default:
				return
			}
		}
	}
	helpers := min(maxHelpers, len(containers))
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
