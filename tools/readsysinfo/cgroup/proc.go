package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/record"
)

// nsPerTick is USER_HZ, which is 100 on all that Go runs on.
const nsPerTick = 1e9 / 100

// Process is what is known of one process, in the fields that its line has: its CPU time is nil where it is not known,
// and its command line until that has been read.
type Process struct {
	record.Process
	StartNS uint64 // when it began, since the host's boot
	Group   int    // its process group; not above 0 where this procfs tells none
}

// Proc is a mounted procfs.
type Proc struct{ dir }

// OpenProc opens the one that is mounted at root.
func OpenProc(root string) (Proc, error) {
	at, err := openDir(root)
	return Proc{at}, err
}

// Close closes it. Nothing that was read is lost.
func (p Proc) Close() { p.close() }

// process reads one process; live is false for one that has ended but is not reaped yet.
func (p Proc) process(pid int) (found Process, live bool, err error) {
	name := strconv.Itoa(pid) + "/stat"
	text, err := p.read(name)
	if err != nil {
		return Process{}, false, err
	}
	found, live, err = parseStat(text)
	found.PID = pid
	if err != nil {
		err = fmt.Errorf("%s/%s: %w", p.path, name, err)
	}
	return found, live, err
}

// parseStat reads /proc/PID/stat, see proc_pid_stat(5). The name in it may hold any byte, so it ends at the last
// closing parenthesis.
func parseStat(text []byte) (p Process, live bool, err error) {
	from, to := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return Process{}, false, errors.New("has no name in parentheses")
	}
	const state, group, utime, stime, threads, start, vsize, rss = 3, 5, 14, 15, 20, 22, 23, 24
	fields := strings.Fields(string(text[to+1:]))
	if len(fields) <= rss-state {
		return Process{}, false, errors.New("ends too early")
	}
	var numbers [rss + 1]uint64
	for _, field := range []int{utime, stime, threads, start, vsize, rss} {
		if numbers[field], err = strconv.ParseUint(fields[field-state], 10, 64); err != nil {
			return Process{}, false, fmt.Errorf("field %d is not a whole number: %.32q", field, fields[field-state])
		}
	}
	p.Name, p.State = string(text[from+1:to]), fields[0]
	p.CPUNS = new((numbers[utime] + numbers[stime]) * nsPerTick)
	p.StartNS = numbers[start] * nsPerTick
	p.Group, _ = strconv.Atoi(fields[group-state])
	p.VSZKB = numbers[vsize] >> 10
	p.RSSKB = numbers[rss] * uint64(os.Getpagesize()) >> 10
	// A process whose first thread has ended looks like a zombie while its other threads work on.
	dead := (p.State == "Z" || p.State == "X" || p.State == "x") && numbers[threads] <= 1
	return p, !dead, nil
}

// mount is one line of mountinfo.
type mount struct {
	root, point   string // what of the file system is mounted, and where
	kind, options string
}

func (p Proc) mounts() ([]mount, error) {
	text, err := p.read("self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var mounts []mount
	for line := range strings.Lines(string(text)) {
		place, system, _ := strings.Cut(line, " - ")
		a, b := strings.Fields(place), strings.Fields(system)
		if len(a) >= 5 && len(b) >= 3 {
			mounts = append(mounts, mount{a[3], filepath.Clean(unescape.Replace(a[4])), b[0], b[2]})
		}
	}
	return mounts, nil
}

// Boottime is the time since the host's boot, sleep included, in ns.
func Boottime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every kernel that Go runs on has this clock
	}
	return t.Nano()
}
