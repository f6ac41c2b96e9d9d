package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lookEvery is how often a tool that waits looks for its --while file where the kernel
// does not tell of it, lookSeldom where it does: each look wakes the whole program.
const (
	lookEvery  = 200 * time.Millisecond
	lookSeldom = 5 * time.Second
)

// While is the flag --while: the tool may work as long as the file is there.
// That is how `down` reaches a tool whose parents were killed.
type While struct{ path string }

// WhileFlag declares --while FILE.
func (t *Tool) WhileFlag() *While {
	w := &While{}
	t.Var(w, "while", "stop when this file is gone, and begin nothing more")
	return w
}

// String is the file, "" where none was named.
func (w *While) String() string { return w.path }

// Type is the flag's placeholder in --help.
func (w *While) Type() string { return "file" }

// Set takes the file. An empty name, as of a variable that is not set, would
// quietly mean that nothing stops the tool.
func (w *While) Set(path string) error {
	if path == "" {
		return errors.New("names no file")
	}
	w.path = path
	return nil
}

// Check is nil while the file is there, or where none was named. A file that
// cannot be looked at counts as gone.
func (w *While) Check() error {
	if w.path == "" {
		return nil
	}
	if _, err := os.Lstat(w.path); err != nil {
		return fmt.Errorf("told to stop by --while: %w", err)
	}
	return nil
}

// Context ends with ctx, or soon after the file is gone; its cause is then
// what Check said.
func (w *While) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if err := w.Check(); err != nil {
		cancel(err)
	}
	if w.path != "" {
		go w.watch(ctx, cancel)
	}
	return ctx, func() { cancel(context.Canceled) }
}

// watch has the kernel tell when something becomes of the file. Where it cannot, and for what it does not tell of, such
// as another name for the directory, it looks itself.
func (w *While) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	every, news := lookSeldom, w.news(ctx)
	if news == nil {
		every = lookEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		case <-tick.C:
		}
		if err := w.Check(); err != nil {
			cancel(err)
			return
		}
	}
}

// news are the kernel's of the file, until ctx ends; nil where it gives none.
func (w *While) news(ctx context.Context) <-chan struct{} {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, w.path, unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF); err != nil {
		f.Close()
		return nil
	}
	context.AfterFunc(ctx, func() { f.Close() })
	news := make(chan struct{}, 1)
	go func() {
		events := make([]byte, 4096)
		for {
			if _, err := f.Read(events); err != nil {
				return
			}
			select {
			case news <- struct{}{}:
			default: // there is one that was not heeded yet
			}
		}
	}()
	return news
}
