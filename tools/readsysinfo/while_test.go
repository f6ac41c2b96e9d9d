package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const meminfo = "MemTotal: 1000 kB\nMemFree: 300 kB\n"

// Without the file that --while names nothing is printed, whether it is gone from the beginning or went in the end.
func TestWhile(t *testing.T) {
	tests := []struct {
		name  string
		build func(tr tree, remove func()) (args []string)
		kept  bool
	}{
		{"is there", func(tr tree, remove func()) []string { return nil }, true},
		{"gone at the start", func(tr tree, remove func()) []string {
			remove()
			return []string{"--source", filepath.Join(tr.dir, "none")} // nothing is looked at
		}, false},
		{"goes before the wait", func(tr tree, remove func()) []string {
			tr.pipe("proc/meminfo", func() string {
				remove()
				tr.replace("proc/meminfo", meminfo)
				return meminfo
			})
			return []string{"--span=30s"}
		}, false},
		{"goes before it is printed", func(tr tree, remove func()) []string {
			tr.pipe("document", func() string { remove(); return moduleDocument(documentAt, 3e9) })
			return []string{"--source", filepath.Join(tr.dir, "document")}
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tr := newTree(t)
			tr.cgroup2()
			tr.write("governing", "")
			governing, kept := filepath.Join(tr.dir, "governing"), filepath.Join(tr.dir, "kept")
			args := test.build(tr, func() {
				if err := os.Remove(governing); err != nil {
					t.Error(err)
				}
			})
			s := tr.run(append(args, "--while", governing, "--state", kept)...)
			if (s.err == nil) != test.kept || (s.stdout != "") != test.kept {
				t.Errorf("got %v and %q", s.err, s.stdout)
			}
			if !test.kept && (!errors.Is(s.err, fs.ErrNotExist) || !strings.Contains(s.err.Error(), "--while") || !strings.Contains(s.err.Error(), governing)) {
				t.Errorf("said %v", s.err)
			}
			if _, err := os.Stat(kept); (err == nil) != test.kept {
				t.Errorf("state: %v", err)
			}
		})
	}
}

// Stopped while it waits it ends at once, with nothing printed.
func TestStoppedInTheWait(t *testing.T) {
	t.Parallel()
	tr := newTree(t)
	tr.cgroup2()
	ctx, cancel := context.WithCancel(t.Context())
	tr.pipe("proc/meminfo", func() string {
		cancel()
		tr.replace("proc/meminfo", meminfo)
		return meminfo
	})
	var stdout, stderr bytes.Buffer
	err := run(ctx, []string{"--proc-root", filepath.Join(tr.dir, "proc"), "--span=30s"}, nil, &stdout, &stderr)
	if !errors.Is(err, context.Canceled) || stdout.Len() > 0 {
		t.Errorf("got %v and %q", err, &stdout)
	}
}
