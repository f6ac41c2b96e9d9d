package test

import (
	"errors"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGuestParameters: the file's name, its mode, and whether processes are listed.
func TestGuestParameters(t *testing.T) {
	if err := insert("name=sysinfo_201700633 mode=0444 processes=0"); err != nil {
		t.Fatal(err)
	}
	defer remove(t)
	box := newCgroup(t, "docker/"+id(1))
	first := box.start(t, "/bin/sleep", "sleep", "100000")
	for range 5 {
		box.start(t, "/bin/sleep", "sleep", "100000")
	}
	info, err := os.Stat("/proc/sysinfo_201700633")
	if err != nil || info.Mode().Perm() != 0o444 {
		t.Fatalf("%v, %v", info, err)
	}
	container1 := func() container {
		text, err := os.ReadFile("/proc/sysinfo_201700633")
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, text).find(t, id(1))
	}
	var few container
	eventually(t, "six of sleep", func() bool { few = container1(); return few.Count == 6 && few.VSZKB == 6*few.Processes[0].VSZKB })
	box.freeze(t)
	few = container1()
	set(t, "processes", "1")
	all := container1()
	rss, vsz := all.sums()
	if all.Count != 6 || len(all.Processes) != 6 || rss != all.RSSKB || vsz != all.VSZKB {
		t.Errorf("processes=1: %+v", all)
	}
	if few.Count != 6 || few.RSSKB != rss || few.VSZKB != vsz || len(few.Processes) != 1 ||
		!reflect.DeepEqual(few.Processes[0], all.process(t, first)) {
		t.Errorf("processes=0: %+v, not process %d of %+v", few, first, all)
	}
}

// set sets a parameter of the module while it is loaded.
func set(t testing.TB, parameter, value string) {
	t.Helper()
	if err := os.WriteFile("/sys/module/winnow/parameters/"+parameter, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

func TestGuestParametersRefused(t *testing.T) {
	for _, test := range []struct {
		params string
		want   error
	}{
		{"name=", unix.EINVAL},
		{"name=a/b", unix.EINVAL},
		{"name=../x", unix.EINVAL},
		{"name=..", unix.EINVAL},
		{"name=1", unix.EINVAL},
		{"name=a%sb", unix.EINVAL},
		{"name=" + strings.Repeat("a", 64), unix.EINVAL},
		{"name=meminfo", unix.EBUSY},
		{"name=self", unix.EBUSY},
		{"mode=0600", unix.EINVAL},
		{"mode=0500", unix.EINVAL},
		{"mode=444", unix.EINVAL}, // decimal
		{"mode=x", unix.EINVAL},
		{"processes=maybe", unix.EINVAL},
		{"cmdline_max=-1", unix.EINVAL},
		{"cmdline_max=all", unix.EINVAL},
	} {
		if err := insert(test.params); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, not %v", test.params, err, test.want)
			remove(t)
		}
	}
}

// TestGuestHeld: the module can go while its file is open; who holds it reads an error, and no memory that was freed.
func TestGuestHeld(t *testing.T) {
	newCgroup(t, "docker/"+id(1)).start(t, "/bin/sleep", "sleep", "100000")
	for range 20 {
		if err := insert(""); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(procFile)
		if err != nil {
			t.Fatal(err)
		}
		read(t)
		remove(t)
		if _, err := file.Read(make([]byte, 100)); !errors.Is(err, unix.EIO) {
			t.Errorf("reading after the module has gone: %v", err)
		}
		if _, err := os.Stat(procFile); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", procFile, err)
		}
		file.Close()
	}
}

// TestGuestLeaks: thousands of snapshots leave the kernel's memory as it was.
func TestGuestLeaks(t *testing.T) {
	for n := range 50 {
		newCgroup(t, "docker/"+id(n)).start(t, "/bin/sh", "sh", "-c", "while :; do sleep 1000; done", strings.Repeat("x", 20000))
	}
	load(t, "")
	size := 0
	use := func(times int) uint64 {
		for range times {
			text, err := os.ReadFile(procFile)
			if err != nil {
				t.Fatal(err)
			}
			size = len(text)
		}
		return meminfo(t, "Slab:") + meminfo(t, "VmallocUsed:")
	}
	// Each CPU has caches of its own, which grow meanwhile.
	before := use(10 * runtime.NumCPU())
	times := 100 * runtime.NumCPU()
	after := use(times)
	t.Logf("kernel memory %d kB before, %d kB after %d documents of %d bytes", before, after, times, size)
	// A leak of one process's piece in each would be times * 50 * 32 bytes.
	if after > before+uint64(times)*50*32*3/4/1024 {
		t.Errorf("%d snapshots: kernel memory grew from %d to %d kB", times, before, after)
	}
}
