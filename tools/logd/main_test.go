package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/cli"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"logd": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

func TestUsage(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "not", "there")
	tests := []struct {
		args  []string
		usage bool // the call is wrong, not the world
		want  string
	}{
		{[]string{"--nope"}, true, "unknown flag: --nope"},
		{[]string{"stray"}, true, `unexpected argument: "stray"`},
		{[]string{"--listen", ":7070"}, true, ":7070 can be reached from other machines: say --token-file, or --open"},
		{[]string{"--listen", "0.0.0.0:0"}, true, "0.0.0.0:0 can be reached from other machines"},
		{[]string{"--listen", "[::]:0"}, true, "[::]:0 can be reached from other machines"},
		{[]string{"--retain", "abc"}, true, "--retain: "},
		{[]string{"--retain", "-1d"}, true, "--retain: "},
		{[]string{"--retain-bytes", "abc"}, true, `--retain-bytes: not a size such as 64MB: "abc"`},
		{[]string{"--min-free", "-5"}, true, "--min-free: not a size"},
		{[]string{"--compress=maybe"}, true, "--compress: not true or false"},
		{[]string{"--dir", nowhere}, false, nowhere},
		{[]string{"--token-file", nowhere}, false, nowhere},
		{[]string{"--tls-cert", nowhere, "--tls-key", nowhere}, false, nowhere},
		{[]string{"--listen", "127.0.0.1:99999"}, false, "99999"},
	}
	for _, test := range tests {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // should it serve after all
		args := append([]string{"--listen", "127.0.0.1:0", "--dir", t.TempDir()}, test.args...)
		var stdout, stderr bytes.Buffer
		err := run(ctx, args, nil, &stdout, &stderr)
		var usage *cli.UsageError
		if err == nil || errors.As(err, &usage) != test.usage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v; said %s", test.args, err, stderr.String())
		}
		cancel()
	}
}

func TestATokenThatOthersCanReadIsSaid(t *testing.T) {
	t.Parallel()
	path := tokenFile(t)
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ctx, []string{"--listen", "127.0.0.1:0", "--dir", t.TempDir(), "--token-file", path}, nil, io.Discard, &said); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(said.String(), fmt.Sprintf("logd: %s: anyone on this machine can read it: chmod 600", path)); got != want || strings.Contains(said.String(), testToken) {
			t.Errorf("%o: said %s", mode, said.String())
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	l.mustPost(t, "a", `{"n":1}`)
	verify := func() (string, error) {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), []string{"--verify", dir}, nil, &stdout, &stderr)
		return stdout.String() + stderr.String(), err
	}
	if said, err := verify(); err != nil || !strings.Contains(said, "all is as it was committed: 2 commits") {
		t.Errorf("beside a logd: %v, %s", err, said)
	}
	l.stop()
	path := filepath.Join(dir, "2026-11-21.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(`{"n":1}`), []byte(`{"n":2}`), 1), 0o640); err != nil {
		t.Fatal(err)
	}
	if said, err := verify(); err == nil || !strings.Contains(err.Error(), "1 faults in 2 commits") || !strings.Contains(said, "lines 2 to 3, bytes") {
		t.Errorf("of a changed day: %v, %s", err, said)
	}
}
