package store

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// disk is what the store asks of the file system when it writes days, so that a
// test can have it fail.
type disk interface {
	// Open opens the file to read and write. It must be there.
	Open(path string) (diskFile, error)
	// Create makes a file that must not be there.
	Create(path string) (diskFile, error)
	// Stat is what is at path; a symbolic link is not followed.
	Stat(path string) (os.FileInfo, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir makes durable which files dir has.
	SyncDir(dir string) error
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
	Stat() (os.FileInfo, error)
}

// realDisk makes files that a group may read.
type realDisk struct{ group int }

func (d realDisk) Open(path string) (diskFile, error) {
	return wrap(openOwned(path, os.O_RDWR, d.group))
}

func (d realDisk) Create(path string) (diskFile, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	return wrap(openOwned(path, os.O_CREATE|os.O_RDWR, d.group))
}

func wrap(f *os.File, err error) (diskFile, error) {
	if err != nil {
		return nil, err
	}
	return realFile{f}, nil
}

func (realDisk) Stat(path string) (os.FileInfo, error) { return os.Lstat(path) }
func (realDisk) Rename(from, to string) error          { return os.Rename(from, to) }
func (realDisk) Remove(path string) error              { return os.Remove(path) }

func (realDisk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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

// truncate cuts a file off, durably.
func truncate(f diskFile, size int64) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := f.Datasync(); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	return nil
}

// writer writes to a file from its start on.
type writer struct {
	diskFile
	at int64
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.WriteAt(p, w.at)
	w.at += int64(n)
	return n, err
}
