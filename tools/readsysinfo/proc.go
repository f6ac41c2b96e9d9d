package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nsPerTick is USER_HZ, which is 100 on all that Go runs on.
const nsPerTick = 1e9 / 100

// dir is an open directory. Names are looked up from it, which spares the
// kernel the way there: a third of the work of reading a small file.
type dir struct {
	fd   int
	path string
}

func openDir(path string) (dir, error) { return dir{unix.AT_FDCWD, ""}.open(path) }

func (d dir) open(name string) (dir, error) {
	path := filepath.Join(d.path, name)
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return dir{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return dir{fd, path}, nil
}

func (d dir) close() { unix.Close(d.fd) }

// children names the directories in d. Most have none, which their link count
// tells without reading them.
func (d dir) children() ([]string, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(d.fd, &stat); err == nil && stat.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(d.path)
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// reader reads the kernel's small files into one buffer that it keeps: a
// snapshot reads thousands of them. It is not for concurrent use.
type reader struct{ buf []byte }

// read returns what the file called name holds, up to limit bytes of it. The
// bytes are good until the next call.
func (r *reader) read(in dir, name string, limit int) ([]byte, error) {
	fd, err := unix.Openat(in.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(in.path, name), Err: err}
	}
	defer unix.Close(fd)
	if r.buf == nil {
		r.buf = make([]byte, 16<<10)
	}
	for n := 0; ; {
		if n == len(r.buf) {
			r.buf = append(r.buf, make([]byte, n)...)
		}
		got, err := unix.Read(fd, r.buf[n:min(len(r.buf), limit)])
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: filepath.Join(in.path, name), Err: err}
		}
		n += got
		// Where there is more the kernel gives a page, but for what of its
		// last line does not fit.
		if got < 2048 || n >= limit {
			return r.buf[:min(n, limit)], nil
		}
	}
}

const noLimit = 1 << 40

// gone tells whether err is what reading a process or cgroup that has ended
// gives.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}

// process is one process. Its times count from the host's boot and its start.
type process struct {
	pid            int
	name, state    string
	cmdline        cmdline
	startNS, cpuNS uint64
	cpuUnknown     bool
	vszKB, rssKB   uint64
}

// procfs is the root of a mounted procfs.
type procfs struct{ dir }

// process reads one process; live is false for one that has ended but is not
// reaped yet.
func (p procfs) process(r *reader, pid int) (found process, live bool, err error) {
	name := strconv.Itoa(pid) + "/stat"
	text, err := r.read(p.dir, name, noLimit)
	if err != nil {
		return process{}, false, err
	}
	found, live, err = parseStat(text)
	found.pid = pid
	if err != nil {
		err = fmt.Errorf("%s/%s: %w", p.path, name, err)
	}
	return found, live, err
}

// parseStat reads /proc/PID/stat, see proc_pid_stat(5). The name in it may
// hold any byte, so it ends at the last closing parenthesis.
func parseStat(text []byte) (p process, live bool, err error) {
	from, to := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if from < 0 || to < from {
		return process{}, false, errors.New("has no name in parentheses")
	}
	p.name = string(text[from+1 : to])
	const state, utime, stime, threads, start, vsize, rss = 3, 14, 15, 20, 22, 23, 24
	var numbers [rss + 1]uint64
	field := state
	for text := range bytes.FieldsSeq(text[to+1:]) {
		switch field {
		case state:
			p.state = string(text)
		case utime, stime, threads, start, vsize, rss:
			if numbers[field], err = strconv.ParseUint(string(text), 10, 64); err != nil {
				return process{}, false, fmt.Errorf("field %d is not a whole number: %q", field, cut(string(text), 32))
			}
		}
		if field++; field > rss {
			break
		}
	}
	if field <= rss {
		return process{}, false, errors.New("ends too early")
	}
	p.cpuNS = (numbers[utime] + numbers[stime]) * nsPerTick
	p.startNS = numbers[start] * nsPerTick
	p.vszKB = numbers[vsize] >> 10
	p.rssKB = numbers[rss] * uint64(os.Getpagesize()) >> 10
	// A process whose first thread has ended looks like a zombie while its
	// other threads work on.
	dead := (p.state == "Z" || p.state == "X" || p.state == "x") && numbers[threads] <= 1
	return p, !dead, nil
}

// memory is the host's, in kB.
type memory struct{ total, free, available uint64 }

func (p procfs) memory(r *reader) (memory, error) {
	text, err := r.read(p.dir, "meminfo", noLimit)
	if err != nil {
		return memory{}, err
	}
	total, ok := lineValue(text, "MemTotal:")
	if !ok || total == 0 {
		return memory{}, fmt.Errorf("%s/meminfo: no MemTotal", p.path)
	}
	free, ok := lineValue(text, "MemFree:")
	if !ok || free > total {
		return memory{}, fmt.Errorf("%s/meminfo: no MemFree", p.path)
	}
	available, ok := lineValue(text, "MemAvailable:")
	if !ok {
		available = free // kernels before 3.14
	}
	return memory{total, free, available}, nil
}

// lineValue is the number after key on the line that begins with it.
func lineValue(text []byte, key string) (uint64, bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(key))
		if !ok {
			continue
		}
		rest = bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))
		n, err := strconv.ParseUint(string(rest), 10, 64)
		return n, err == nil
	}
	return 0, false
}

// pressure is the PSI "some avg10" of cpu, memory or io; nil without PSI.
func (p procfs) pressure(r *reader, resource string) *float64 {
	text, err := r.read(p.dir, "pressure/"+resource, noLimit)
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(text), "some avg10=")
	number, _, _ := strings.Cut(rest, " ")
	percent, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return nil
	}
	return &percent
}

// cpus counts the cores that are online.
func (p procfs) cpus(r *reader) (int, error) {
	text, err := r.read(p.dir, "stat", noLimit)
	if err != nil {
		return 0, err
	}
	return bytes.Count(text, []byte("\ncpu")), nil // the first line, "cpu", is their sum
}

// mount is one line of mountinfo.
type mount struct {
	root, point   string // what of the file system is mounted, and where
	kind, options string
}

func (p procfs) mounts(r *reader) ([]mount, error) {
	text, err := r.read(p.dir, "self/mountinfo", noLimit)
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

// boottime is the time since the host's boot, sleep included, in ns.
func boottime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // every kernel that Go runs on has this clock
	}
	return t.Nano()
}
