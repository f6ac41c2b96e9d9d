package test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestGuestHost: a host without containers has an empty list, and its memory is what /proc/meminfo says.
func TestGuestHost(t *testing.T) {
	load(t, "")
	doc := read(t)
	if len(doc.Containers) != 0 {
		t.Errorf("%d containers on a host that has none", len(doc.Containers))
	}
	if doc.UsedKB != doc.TotalKB-doc.FreeKB {
		t.Errorf("used %d is not total %d - free %d", doc.UsedKB, doc.TotalKB, doc.FreeKB)
	}
	for _, field := range []struct {
		name  string
		value uint64
		slack uint64
	}{{"MemTotal:", doc.TotalKB, 0}, {"MemFree:", doc.FreeKB, 4096}, {"MemAvailable:", doc.AvailableKB, 4096}} {
		if want := meminfo(t, field.name); max(want, field.value)-min(want, field.value) > field.slack {
			t.Errorf("%s %d, /proc/meminfo has %d", field.name, field.value, want)
		}
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	if age := now.Nano() - int64(doc.BoottimeNS); age < 0 || age > 5e9 {
		t.Errorf("boottime_ns is %d ns old", age)
	}
}

func meminfo(t testing.TB, name string) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == name {
			return number(t, fields[1])
		}
	}
	t.Fatalf("no %s in /proc/meminfo", name)
	return 0
}

// TestGuestReads: one open is one document, however it is read.
func TestGuestReads(t *testing.T) {
	load(t, "")
	for n := range 20 {
		newCgroup(t, "docker/"+id(n)).start(t, "/bin/sleep", "sleep", "100000")
	}
	file, err := os.Open(procFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	whole, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(parse(t, whole).Containers); n != 20 {
		t.Fatalf("%d containers of 20", n)
	}
	single := make([]byte, 1)
	for i := range whole {
		if n, err := unix.Pread(int(file.Fd()), single, int64(i)); n != 1 || err != nil || single[0] != whole[i] {
			t.Fatalf("byte %d: %d, %v", i, n, err)
		}
	}
	for range 500 {
		at, part := rand.IntN(len(whole)), make([]byte, 1+rand.IntN(3000))
		n, err := unix.Pread(int(file.Fd()), part, int64(at))
		if err != nil || !bytes.Equal(part[:n], whole[at:min(at+len(part), len(whole))]) {
			t.Fatalf("%d bytes at %d: %d, %v", len(part), at, n, err)
		}
	}
	if n, err := unix.Pread(int(file.Fd()), single, int64(len(whole))); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if at, err := file.Seek(-3, io.SeekEnd); err != nil || at != int64(len(whole))-3 {
		t.Errorf("seeking: %d, %v", at, err)
	}
	if rest, err := io.ReadAll(file); err != nil || string(rest) != string(whole[len(whole)-3:]) {
		t.Errorf("after seeking: %q, %v", rest, err)
	}
}

// TestGuestBytes: whatever bytes the names and arguments hold, the document is JSON that says them.
func TestGuestBytes(t *testing.T) {
	load(t, "")
	box := newCgroup(t, "docker/"+id(1))
	all := make([]byte, 0, 255)
	for b := 1; b <= 255; b++ {
		all = append(all, byte(b))
	}
	arguments := []string{
		string(all),
		`quote " backslash \ slash / ` + "tab\tline\nreturn\r\x7f\x01\x1f",
		"ü € 𝄞 \U0010ffff \u2028",
		"\xc0\x80 overlong \xe0\x80\x80 \xf0\x80\x80\x80 surrogate \xed\xa0\x80 beyond \xf4\x90\x80\x80 \xff\xfe",
		"cut off \xe2\x82", "\x82\xac begun before", "", "last",
	}
	names := []string{`q"uo\te'`, "\x01\n\t\x1b[31m", "ünïcödé-name-x", "\xff\xfe\x80", `","pid":1,"x":"`, "{}[]"}
	dir := t.TempDir()
	want := map[int][2]string{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.Symlink("/bin/busybox", path); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"sh", "-c", "while :; do sleep 1000; done"}, arguments...)
		want[box.start(t, path, args...)] = [2]string{goString(name[:min(len(name), 15)]), goString(strings.Join(args, " "))}
	}
	ended := time.Now().Add(5 * time.Minute) // a command line that is late is null, and on a busy host many are
	for {
		got := map[int][2]string{}
		for _, p := range read(t).find(t, id(1)).Processes {
			if _, ok := want[p.PID]; ok {
				got[p.PID] = [2]string{p.Name, p.command()}
			}
		}
		if maps.Equal(got, want) {
			break
		}
		if time.Now().After(ended) {
			t.Fatalf("got %v\nnot %v", got, want)
		}
	}
	text, err := os.ReadFile(procFile)
	if err != nil {
		t.Fatal(err)
	}
	// For the other parsers, outside of the machine.
	fmt.Printf("%s%s\n", bytesMark, base64.StdEncoding.EncodeToString(text))
}

// goString has U+FFFD for each byte that isn't UTF-8, as encoding/json does it.
func goString(s string) string { return string([]rune(s)) }

// TestGuestLongArguments: of a command line there are the first 4096 bytes or fewer, and no half of a character.
func TestGuestLongArguments(t *testing.T) {
	load(t, "")
	box := newCgroup(t, "docker/"+id(1))
	const before = "sh -c while :; do sleep 1000; done "
	want := map[int]string{}
	start := func(last string) {
		want[box.start(t, "/bin/sh", "sh", "-c", "while :; do sleep 1000; done", last)] = before + last
	}
	for n := range 8 { // with the cut at each place within a character of 3 and of 4 bytes, and beside what is none
		start(strings.Repeat("x", n) + strings.Repeat("€𝄞", 10000))
		start(strings.Repeat("x", n) + strings.Repeat("€\xe2\x82𝄞\xff", 700))
	}
	start(strings.Repeat("y", 4095-len(before))) // with its NUL it just fits
	start(strings.Repeat("y", 4096-len(before)))
	for _, most := range []int{4096, 100, 0, 4096} {
		set(t, "cmdline_max", strconv.Itoa(most))
		eventually(t, fmt.Sprintf("cut at %d bytes", most), func() bool {
			c := read(t).find(t, id(1))
			for pid, line := range want {
				p, cut := c.process(t, pid), goString(line[:min(len(line), most)])
				// What is left of a character at the cut may be there as one that isn't known.
				if p.Cmdline == nil || strings.TrimRight(*p.Cmdline, "\ufffd") != strings.TrimRight(cut, "\ufffd") ||
					p.Truncated != (len(line)+1 > most) {
					return false
				}
			}
			return true
		})
	}
}

// TestGuestMany: as many containers as there are, wherever they lie, and nothing that only looks like one.
func TestGuestMany(t *testing.T) {
	load(t, "")
	const many = 1000
	pids := map[string]int{}
	for n := range many {
		path := "docker/" + id(n)
		switch n % 3 {
		case 1:
			path = "system.slice/docker-" + id(n) + ".scope"
		case 2:
			path = "tenant/batch/" + id(n)
		}
		pids[id(n)] = newCgroup(t, path).start(t, "/bin/sleep", "sleep", "100000")
	}
	for _, decoy := range []string{
		"docker/" + id(1)[1:], "docker/0" + id(1), "docker/" + strings.ToUpper(id(2)), "other/docker-" + id(3),
		"other/podman-" + id(4) + ".scope", "other/docker-" + id(5) + ".service", "other/docker-" + id(6)[1:] + ".scope",
		"other/" + strings.Repeat("a", 200),
	} {
		newCgroup(t, decoy).start(t, "/bin/sleep", "sleep", "100000")
	}
	newCgroup(t, "docker/"+id(many)) // nothing runs in it
	inner := newCgroup(t, "dind/"+id(many+1)+"/docker/"+id(many+2))
	pids[id(many+1)] = inner.start(t, "/bin/sleep", "sleep", "100000")

	// All at once, so that removing the cgroups one by one needn't wait for each.
	t.Cleanup(func() {
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
	})
	doc := read(t)
	if len(doc.Containers) != len(pids) {
		t.Errorf("%d containers, not %d", len(doc.Containers), len(pids))
	}
	for id, pid := range pids {
		c := doc.find(t, id)
		if c.Count != 1 || len(c.Processes) != 1 || c.Processes[0].PID != pid {
			t.Errorf("%s: %+v, not pid %d", id, c.Processes, pid)
		}
	}
}

// TestGuestMemoryLimit: the document is charged to its reader, and running out gives an errno.
func TestGuestMemoryLimit(t *testing.T) {
	load(t, "")
	for n := range 40 {
		newCgroup(t, "docker/"+id(n)).crowd(t, 15, hostile)
	}
	text, err := os.ReadFile(procFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) < 5<<20 {
		t.Fatalf("only %d bytes long", len(text))
	}
	small := newCgroup(t, "small")
	small.write(t, "memory.max", "5M")
	if said := small.cat(t); !strings.Contains(said, "emory") && !strings.Contains(said, "ENOMEM") {
		t.Errorf("reading %d bytes with a limit of 5 MB: %q", len(text), said)
	}
	if kills := small.field(t, "memory.events", "oom_kill"); kills != 0 {
		t.Errorf("%d processes killed for it", kills)
	}
}

// cat has a process in the cgroup read the module's file, and gives what it says on stderr.
func (c cgroup) cat(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	c.shell(t, fmt.Sprintf("exec </dev/null; (cat %s >/dev/null) 2>%s/errors; : >%[2]s/done", procFile, dir))
	eventually(t, "read", func() bool { _, err := os.Stat(dir + "/done"); return err == nil })
	text, err := os.ReadFile(dir + "/errors")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGuestNobody: the file is for root of the host alone, not for that of a container.
func TestGuestNobody(t *testing.T) {
	load(t, "")
	dir := t.TempDir()
	script := fmt.Sprintf("mount -t proc proc /proc; cat %s 2>%s/errors; echo $? >%[2]s/status", procFile, dir)
	root := cgroup("")
	root.start(t, "/bin/unshare", "unshare", "--fork", "--pid", "--mount", "sh", "-c", script)
	eventually(t, "tried", func() bool { _, err := os.Stat(dir + "/status"); return err == nil })
	if text, _ := os.ReadFile(dir + "/errors"); !bytes.Contains(text, []byte("ermission denied")) {
		t.Errorf("in another pid namespace: %q", text)
	}
	info, err := os.Stat(procFile)
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	file, err := os.OpenFile(procFile, os.O_RDWR, 0)
	if err == nil {
		defer file.Close()
		if _, err = file.WriteString("x"); err == nil {
			t.Error("the file can be written")
		}
	}
	if err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINVAL) {
		t.Errorf("writing: %v", err)
	}
}
