package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// disk is what the store asks of the file system when it writes, so that a
// test can have it fail.
type disk interface {
	// Append opens the file for appending, made if it is not there.
	Append(path string) (appendFile, error)
	// Free is how many bytes an unprivileged writer can still add in dir.
	Free(dir string) (int64, error)
}

// appendFile is a file that is appended to, and that can be put back to a
// length known to be on disk.
type appendFile interface {
	io.WriteCloser
	Datasync() error
	Truncate(size int64) error
}

type realDisk struct{}

func (realDisk) Append(path string) (appendFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return realFile{f}, nil
}

func (realDisk) Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

type realFile struct{ *os.File }

func (f realFile) Datasync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}
