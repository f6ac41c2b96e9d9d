package cgroup

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxKept is how many files stay open at most; fewer where the process may have no more than twice as many.
const maxKept = 1 << 15

// KeepOpen lets what is read of a container stay open for the next sample. To look it up again would be most of the work.
func (f *Files) KeepOpen() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	f.kept, f.room = make(map[string]*kept), new(atomic.Int64)
	f.room.Store(int64(min(maxKept, limit.Cur/2)))
}

// kept is what stays open of one container. What has gone says so when it is read, also where something of the same
// name has come: a cgroup by ENODEV, a process by ESRCH. A nil kept keeps nothing.
type kept struct {
	files map[keptName]*keptFile
	room  *atomic.Int64 // for how many more files there is
}

type keptName struct {
	at   int // the directory
	name string
}

type keptFile struct {
	fd   int
	used bool // in the sample at hand
}

// open opens the file, or finds it open. It is to be closed again where it is not kept.
func (k *kept) open(at int, name string, how int) (fd int, keeps bool, err error) {
	if k == nil {
		fd, err = unix.Openat(at, name, how|unix.O_CLOEXEC, 0)
		return fd, false, err
	}
	if file := k.files[keptName{at, name}]; file != nil {
		file.used = true
		return file.fd, true, nil
	}
	if fd, err = unix.Openat(at, name, how|unix.O_CLOEXEC, 0); err != nil {
		return fd, false, err
	}
	if k.room.Add(-1) < 0 {
		k.room.Add(1)
		return fd, false, nil
	}
	k.files[keptName{at, name}] = &keptFile{fd, true}
	return fd, true, nil
}

// any tells whether something stayed open from before.
func (k *kept) any() bool { return k != nil && len(k.files) > 0 }

// close closes what the sample at hand has not used, such as of a process that has ended, or all.
func (k *kept) close(all bool) {
	if k == nil {
		return
	}
	for name, file := range k.files {
		if !all && file.used {
			file.used = false
			continue
		}
		unix.Close(file.fd)
		delete(k.files, name)
		k.room.Add(1)
	}
}

// keepFor makes room for what is kept of these containers, and lets go of the others.
func (f *Files) keepFor(cgroups []Cgroup) {
	if f.kept == nil {
		return
	}
	live := make(map[string]*kept, len(cgroups))
	for _, cg := range cgroups {
		if live[cg.Path] = f.kept[cg.Path]; live[cg.Path] == nil {
			live[cg.Path] = &kept{make(map[keptName]*keptFile), f.room}
		}
		delete(f.kept, cg.Path)
	}
	for _, k := range f.kept {
		k.close(true)
	}
	f.kept = live
}
