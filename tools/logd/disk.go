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
	// Open opens the file to read and write, made if it is not there.
	Open(path string) (diskFile, error)
	// Free is how many bytes an unprivileged writer can still add in dir.
	Free(dir string) (int64, error)
}

// diskFile is a file of which it is known what is on disk.
type diskFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Datasync() error
	Truncate(size int64) error
}

type realDisk struct{}

func (realDisk) Open(path string) (diskFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
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

func writeSynced(f diskFile, p []byte, at int64) error {
	if _, err := f.WriteAt(p, at); err != nil {
		return err
	}
	if err := f.Datasync(); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	return nil
}
