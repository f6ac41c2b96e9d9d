package cgroup

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// What is read stays open until a sample does without it, as far as there is room.
func TestKept(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(path, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at, err := openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer at.close()
	k := &kept{make(map[keptName]*keptFile), new(atomic.Int64)}
	k.room.Store(2)
	read := func(names ...string) {
		t.Helper()
		for range 2 {
			for _, name := range names {
				if text, err := at.keeping(k).read(name); err != nil || string(text) != name {
					t.Errorf("%q, %v", text, err)
				}
			}
		}
	}
	check := func(files int) {
		t.Helper()
		if len(k.files) != files || k.room.Load() != int64(2-files) {
			t.Errorf("%d are open, with room for %d", len(k.files), k.room.Load())
		}
	}
	read("a", "b", "c")
	check(2)
	k.close(false)
	check(2)
	read("a")
	fd := k.files[keptName{at.fd, "b"}].fd
	k.close(false)
	check(1)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("is open: %v", err)
	}
	read("c")
	check(2)
	k.close(true)
	check(0)
}
