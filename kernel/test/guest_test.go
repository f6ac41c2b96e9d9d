package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	moduleFile = "winnow.ko"
	procFile   = "/proc/sysinfo_winnow"
	cgroupRoot = "/sys/fs/cgroup"
)

// document is what the module prints. Every field is there, and no other.
type document struct {
	Format      int         `json:"format"`
	Cgroup      int         `json:"cgroup"`
	BoottimeNS  uint64      `json:"boottime_ns"`
	TotalKB     uint64      `json:"total_memory_kb"`
	FreeKB      uint64      `json:"free_memory_kb"`
	UsedKB      uint64      `json:"used_memory_kb"`
	AvailableKB uint64      `json:"available_memory_kb"`
	Containers  []container `json:"containers"`
}

type container struct {
	ID            string    `json:"id"`
	Engine        string    `json:"engine"`
	CgroupID      uint64    `json:"cgroup_id"`
	AtNS          uint64    `json:"at_ns"`
	MemoryKB      *uint64   `json:"memory_kb"`
	MemoryLimitKB *uint64   `json:"memory_limit_kb"`
	CPUNS         *uint64   `json:"cpu_ns"`
	CPULimit      *float64  `json:"cpu_limit_percent"`
	Count         int       `json:"process_count"`
	RSSKB         uint64    `json:"rss_kb"`
	VSZKB         uint64    `json:"vsz_kb"`
	Processes     []process `json:"processes"`
}

type process struct {
	PID           int     `json:"pid"`
	StartNS       uint64  `json:"start_ns"`
	Name          string  `json:"name"`
	State         string  `json:"state"`
	Cmdline       *string `json:"cmdline"`
	Truncated     bool    `json:"cmdline_truncated"`
	VSZKB         uint64  `json:"vsz_kb"`
	RSSKB         uint64  `json:"rss_kb"`
	MemoryPercent float64 `json:"memory_percent"`
	CPUNS         *uint64 `json:"cpu_ns"`
}

func load(t testing.TB, params string) {
	t.Helper()
	if err := insert(params); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t) })
}

func insert(params string) error {
	file, err := os.Open(moduleFile)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), params, 0); err != nil {
		return fmt.Errorf("loading %s %s: %w", moduleFile, params, err)
	}
	return nil
}

func remove(t testing.TB) {
	t.Helper()
	if err := unix.DeleteModule("winnow", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		t.Errorf("unloading: %v", err)
	}
}

// read takes a snapshot and parses it as strictly as can be.
func read(t testing.TB) document {
	t.Helper()
	text, err := os.ReadFile(procFile)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func parse(t testing.TB, text []byte) document {
	t.Helper()
	doc, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func decode(text []byte) (document, error) {
	var doc document
	if !utf8.Valid(text) {
		return doc, fmt.Errorf("not UTF-8: %q", text)
	}
	if !bytes.HasSuffix(text, []byte("}\n")) {
		return doc, fmt.Errorf("cut short: %q", text[max(0, len(text)-80):])
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&doc); err != nil {
		return doc, fmt.Errorf("%w in %q", err, text)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return doc, fmt.Errorf("something follows the document: %v", err)
	}
	if doc.Format != 1 || doc.Containers == nil {
		return doc, fmt.Errorf("not the format: %q", text[:min(len(text), 300)])
	}
	return doc, nil
}

// find returns the document's container of that id.
func (d document) find(t testing.TB, id string) container {
	t.Helper()
	c, ok := d.lookup(id)
	if !ok {
		t.Fatalf("no container %s among %d", id, len(d.Containers))
	}
	return c
}

func (d document) lookup(id string) (container, bool) {
	for _, c := range d.Containers {
		if c.ID == id {
			return c, true
		}
	}
	return container{}, false
}

// process returns the container's process of that pid.
func (c container) process(t testing.TB, pid int) process {
	t.Helper()
	for _, p := range c.Processes {
		if p.PID == pid {
			return p
		}
	}
	t.Fatalf("no process %d among %d of %d of %s", pid, len(c.Processes), c.Count, c.ID)
	return process{}
}

// command is the command line, or null.
func (p process) command() string { return orNull(p.Cmdline) }

// orNull says what a figure is that can be null.
func orNull[T any](value *T) string {
	if value == nil {
		return "null"
	}
	return fmt.Sprint(*value)
}

// sums adds up what the container's processes have, in kB.
func (c container) sums() (rss, vsz uint64) {
	for _, p := range c.Processes {
		rss, vsz = rss+p.RSSKB, vsz+p.VSZKB
	}
	return rss, vsz
}

// id returns a container's id that ends in n.
func id(n int) string { return fmt.Sprintf("%064x", 0xfeed<<40+n) }

// cgroup is a cgroup directory, relative to the hierarchy that names the containers.
type cgroup string

func (c cgroup) path(file string) string {
	root := cgroupRoot
	if onV1() {
		root = filepath.Join(root, "memory")
	}
	return filepath.Join(root, string(c), file)
}

func onV1() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "memory"))
	return err == nil
}

// newCgroup makes a cgroup, and its parents with the controllers on. It and what runs in it go with the test.
func newCgroup(t testing.TB, path string) cgroup {
	t.Helper()
	parts := strings.Split(path, "/")
	for i := range parts {
		dir := cgroup(filepath.Join(parts[:i+1]...))
		switch err := os.Mkdir(dir.path(""), 0o755); {
		case err == nil:
			t.Cleanup(func() { dir.remove(t) })
		case !errors.Is(err, os.ErrExist):
			t.Fatal(err)
		}
		if i+1 < len(parts) && !onV1() {
			dir.write(t, "cgroup.subtree_control", "+memory +cpu +pids")
		}
	}
	return cgroup(path)
}

// child makes a cgroup below one that has processes, where v2 allows no controllers.
func (c cgroup) child(t testing.TB, name string) cgroup {
	t.Helper()
	dir := c + "/" + cgroup(name)
	if err := os.Mkdir(dir.path(""), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.remove(t) })
	return dir
}

func (c cgroup) write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(c.path(file), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func (c cgroup) read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(c.path(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// field reads a number from a file of "key number" lines.
func (c cgroup) field(t testing.TB, file, key string) uint64 {
	t.Helper()
	for line := range strings.Lines(c.read(t, file)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == key {
			return number(t, value)
		}
	}
	t.Fatalf("no %s in %s", key, c.path(file))
	return 0
}

func number(t testing.TB, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// inode is the number of the cgroup's directory, by which it is known.
func (c cgroup) inode(t testing.TB) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(c.path(""), &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

func (c cgroup) pids() []int {
	text, _ := os.ReadFile(c.path("cgroup.procs"))
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// remove ends what runs in the cgroup and takes it away; a cgroup stays busy until the last has been reaped.
func (c cgroup) remove(t testing.TB) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		os.WriteFile(c.path("cgroup.freeze"), []byte("0"), 0)
		for _, pid := range c.pids() {
			unix.Kill(pid, unix.SIGKILL)
		}
		if err = unix.Rmdir(c.path("")); err == nil || errors.Is(err, unix.ENOENT) {
			return
		}
	}
	t.Errorf("removing %s: %v", c, err)
}

// freeze stops everything in the cgroup, so that its figures stand still.
func (c cgroup) freeze(t testing.TB) {
	t.Helper()
	c.write(t, "cgroup.freeze", "1")
	eventually(t, "frozen", func() bool { return c.field(t, "cgroup.events", "frozen") == 1 })
	// A process counts as frozen, and one that exits not at all, a little before it runs no more.
	time.Sleep(50 * time.Millisecond)
}

// start runs a program in the cgroup and reaps it when it has ended.
func (c cgroup) start(t testing.TB, path string, args ...string) int {
	t.Helper()
	return c.startAs(t, 0, path, args...)
}

// startAs is start as a user.
func (c cgroup) startAs(t testing.TB, uid uint32, path string, args ...string) int {
	t.Helper()
	cmd := &exec.Cmd{Path: path, Args: args}
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	c.launch(t, cmd)
	go cmd.Wait()
	return cmd.Process.Pid
}

// launch starts a command in the cgroup.
func (c cgroup) launch(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if !onV1() {
		dir, err := os.Open(c.path(""))
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s in %s: %v", cmd.Path, c, err)
	}
	if onV1() {
		c.write(t, "cgroup.procs", strconv.Itoa(cmd.Process.Pid))
	}
}

// shell runs a script of busybox's in the cgroup.
func (c cgroup) shell(t testing.TB, script string) int {
	t.Helper()
	return c.start(t, "/bin/sh", "sh", "-c", script)
}

// crowd has a shell run in the cgroup, and n more processes that share its arguments, all at rest.
func (c cgroup) crowd(t testing.TB, n int, args ...string) (shell int) {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "fifo") // opening it waits for a writer
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do (read x <%s) & i=$((i+1)); done; wait", n, fifo)
	shell = c.start(t, "/bin/sh", append([]string{"sh", "-c", script}, args...)...)
	for last, begun := 0, time.Now(); last <= n; time.Sleep(50 * time.Millisecond) {
		now := len(c.pids())
		if now > last {
			begun = time.Now()
		}
		if last = now; time.Since(begun) > time.Minute {
			t.Fatalf("a crowd of %d, not %d", last, n+1)
		}
	}
	return shell
}

// hostile is an argument that makes a command line as long in the document as can be.
var hostile = strings.Repeat("\x01", 4096)

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not %s after five minutes", what)
}
