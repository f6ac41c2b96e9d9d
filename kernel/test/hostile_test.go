package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a user of no rights.
const nobody = 65534

// ordinary starts containers as there are many, of one process each.
func ordinary(t testing.TB, first, count int) {
	t.Helper()
	for n := first; n < first+count; n++ {
		pid := newCgroup(t, "docker/"+id(n)).start(t, "/bin/sleep", "sleep", "100000")
		// While it starts it locks its memory, and its command line cannot be had.
		eventually(t, "asleep", func() bool {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return strings.Contains(string(stat), ") S ")
		})
	}
}

// complete checks that such containers have all their figures.
func complete(t testing.TB, doc document, first, count int) {
	t.Helper()
	for n := first; n < first+count; n++ {
		c := doc.find(t, id(n))
		if c.MemoryKB == nil || c.CPUNS == nil || c.Count != 1 || len(c.Processes) != 1 || c.Processes[0].command() != "sleep 100000" {
			t.Errorf("not complete: %+v", c)
		}
	}
}

// TestGuestHostileArguments: however long arguments are, and whatever they are made of, each process has 4096 bytes.
func TestGuestHostileArguments(t *testing.T) {
	load(t, "")
	box := newCgroup(t, "docker/"+id(0))
	box.write(t, "memory.max", "64M")
	raise(t, unix.RLIMIT_STACK, 64<<20) // arguments can be a quarter of that
	args := []string{"sh", "-c", "while :; do sleep 1000; done"}
	for range 50 {
		args = append(args, strings.Repeat("\x01", 100_000))
	}
	pids := []int{box.startAs(t, nobody, "/bin/sh", args...), box.startAs(t, nobody, "/bin/sh", args...)}
	ordinary(t, 1, 3)
	eventually(t, "started", func() bool {
		c := read(t).find(t, id(0))
		return c.Count == 4 && c.process(t, pids[1]).Name == "sh"
	})
	text, err := os.ReadFile(procFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 1<<20 {
		t.Errorf("a document of %d bytes", len(text))
	}
	doc := parse(t, text)
	complete(t, doc, 1, 3)
	c := doc.find(t, id(0))
	if c.Count != 4 {
		t.Errorf("%d processes of two shells and their two sleeps", c.Count)
	}
	want := strings.Join(args, " ")[:4096]
	for _, pid := range pids {
		if p := c.process(t, pid); p.command() != want || !p.Truncated {
			t.Errorf("%d: %.60q of %d bytes, truncated %v", pid, p.command(), len(p.command()), p.Truncated)
		}
	}
}

// raise raises one of the limits of what is started from now on.
func raise(t testing.TB, resource int, limit uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(resource, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: max(limit, before.Max)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Setrlimit(resource, &before) })
}

// TestGuestUntouchedArguments: arguments said to be where nothing is yet are not brought there by reading.
func TestGuestUntouchedArguments(t *testing.T) {
	load(t, "")
	box := newCgroup(t, "docker/"+id(0))
	cmd := box.job(t, "untouched")
	go cmd.Wait()
	ordinary(t, 1, 3)
	box.freeze(t)
	before := number(t, box.read(t, "memory.current"))
	rss := read(t).find(t, id(0)).RSSKB
	for range 50 {
		doc := read(t)
		complete(t, doc, 1, 3)
		c := doc.find(t, id(0))
		if p := c.process(t, cmd.Process.Pid); len(p.command()) > 4096 || c.RSSKB != rss {
			t.Fatalf("a command line of %d bytes, %d kB resident after %d", len(p.command()), c.RSSKB, rss)
		}
	}
	after, slack := number(t, box.read(t, "memory.current")), uint64(100<<10)
	if !since(5, 15) { // has no FOLL_NOFAULT; memory is charged in batches of 32 pages
		slack = 256 << 10
	}
	if after > before+slack {
		t.Errorf("reading took the container from %d to %d bytes", before, after)
	}
}

// TestGuestExecs: what is shown as a process's arguments is never another program's environment, though it lies where
// they did a moment ago.
func TestGuestExecs(t *testing.T) {
	load(t, "")
	const randomize = "/proc/sys/kernel/randomize_va_space"
	if err := os.WriteFile(randomize, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(randomize, []byte("2"), 0) })
	box := newCgroup(t, "docker/"+id(0))
	var pids []int
	for range 3 {
		cmd := box.job(t, "execs", "first")
		go cmd.Wait()
		pids = append(pids, cmd.Process.Pid)
	}
	var few, many, null, mixed int
	begun := time.Now()
	for range 1000 {
		if few > 0 && many > 0 && time.Since(begun) > 2*time.Minute { // a kernel that checks all of itself is slow
			break
		}
		for _, p := range read(t).find(t, id(0)).Processes {
			switch line := p.command(); {
			case strings.ContainsAny(line, secret):
				t.Errorf("a command line with the environment: %.100q of %d bytes", line, len(line))
			case p.Cmdline == nil:
				null++
			case strings.HasSuffix(line, " execs few"):
				few++
			case strings.HasSuffix(line, "a"):
				many++
			case line != "" && !strings.HasSuffix(line, " execs first"): // none yet of a program that is being started
				mixed++
				t.Errorf("a command line of no program: %.100q of %d bytes", line, len(line))
			}
		}
		if len(box.pids()) != len(pids) || t.Failed() {
			break
		}
	}
	t.Logf("%d of few arguments, %d of many, %d null, %d mixed", few, many, null, mixed)
	if few == 0 || many == 0 {
		t.Error("not both programs were met")
	}
}

// TestGuestTitle: where a process has written over its arguments, that is shown, as in /proc.
func TestGuestTitle(t *testing.T) {
	load(t, "")
	box := newCgroup(t, "docker/"+id(0))
	cmd := box.job(t, "title", "busy with 3 of 7", "x")
	go cmd.Wait()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	got, want := read(t).find(t, id(0)).process(t, cmd.Process.Pid), strings.TrimRight(string(text), "\x00")
	if got.command() != want || want != "busy with 3 of 7" {
		t.Errorf("%q, not %q", got.command(), want)
	}
}

// TestGuestCrowd: a container of very many processes has its share of the document, and the others have theirs.
func TestGuestCrowd(t *testing.T) {
	load(t, "")
	many := 3000
	if hasKmemleak(t) {
		many = 300 // a kernel with sanitizers needs minutes for each thousand; these are too many for the document as well
	}
	oldest := newCgroup(t, "docker/"+id(0)).crowd(t, many, hostile)
	ordinary(t, 1, 50)
	text, err := os.ReadFile(procFile)
	if err != nil {
		t.Fatal(err)
	}
	doc := parse(t, text)
	complete(t, doc, 1, 50)
	c := doc.find(t, id(0))
	t.Logf("%d bytes, %d processes of %d", len(text), len(c.Processes), c.Count)
	if len(text) >= 32<<20 {
		t.Errorf("a document of %d bytes", len(text))
	}
	if c.Count != many+1 || len(c.Processes) < 2 || len(c.Processes) > many {
		t.Errorf("%d processes listed of %d, not a few of %d", len(c.Processes), c.Count, many+1)
	}
	c.process(t, oldest)
	if rss, vsz := c.sums(); c.RSSKB <= rss || c.VSZKB <= vsz {
		t.Errorf("rss %d and vsz %d kB are those of the listed processes alone", c.RSSKB, c.VSZKB)
	}
	// Nor does one that isn't told of each process take longer than others can wait.
	set(t, "processes", "0")
	if c := read(t).find(t, id(0)); len(c.Processes) != 1 || c.Processes[0].PID != oldest || c.Count != many+1 {
		t.Errorf("processes=0: %d listed of %d", len(c.Processes), c.Count)
	}
}
