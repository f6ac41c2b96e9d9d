package cgroup

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dir is an open directory. Names are looked up from it, which spares the kernel the way there: a third of the work of
// reading a small file.
type dir struct {
	fd    int
	path  string
	kept  *kept // what of it stays open; nil for nothing
	keeps bool  // it does itself
}

func openDir(path string) (dir, error) { return dir{fd: unix.AT_FDCWD}.open(path) }

// keeping is d where what is read stays open in k.
func (d dir) keeping(k *kept) dir {
	d.kept = k
	return d
}

func (d dir) open(name string) (dir, error) {
	path := filepath.Join(d.path, name)
	fd, keeps, err := d.kept.open(d.fd, name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return dir{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return dir{fd, path, d.kept, keeps}, nil
}

func (d dir) close() {
	if d.path != "" && !d.keeps {
		unix.Close(d.fd)
	}
}

// children names the directories in d. Most have none, which their link count tells without reading them.
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

// read returns what one of the kernel's files holds.
func (d dir) read(name string) ([]byte, error) { return d.readUpTo(name, math.MaxInt) }

// readUpTo returns what the file holds, up to limit bytes of it, and reads no more.
func (d dir) readUpTo(name string, limit int) (text []byte, err error) {
	fd, keeps, err := d.kept.open(d.fd, name, unix.O_RDONLY)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(d.path, name), Err: err}
	}
	read := func(into []byte) (int, error) { return unix.Pread(fd, into, int64(len(text))) }
	if !keeps {
		defer unix.Close(fd)
		read = func(into []byte) (int, error) { return unix.Read(fd, into) } // which a pipe takes, too
	}
	var page [4096]byte
	for {
		got, err := read(page[:min(len(page), limit-len(text))])
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: filepath.Join(d.path, name), Err: err}
		}
		text = append(text, page[:got]...)
		// Where there is more to come the kernel gives a page, less what of its last line does not fit. So most files
		// take one read.
		if got < len(page)/2 || len(text) >= limit {
			return text, nil
		}
	}
}

// gone tells whether err is what reading a process or cgroup that has ended gives.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
}
