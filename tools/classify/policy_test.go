package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
)

// In a long stream the policy's file is read again when it has changed; one that
// is wrong, or gone, leaves the one before in force and is said once.
func TestPolicyIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.toml")
	write := func(rule string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(path, []byte("version = 1\n[[rule]]\n"+rule), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	write("keep = 1\n", 50*time.Second)
	in, feed := io.Pipe()
	results, stdout := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		err := run(t.Context(), []string{"--policy", path}, in, stdout, &stderr)
		stdout.Close()
		ended <- err
	}()
	lines := bufio.NewReader(results)
	// judge gives the number of kills in a snapshot of two containers.
	judge := func(name string) int {
		t.Helper()
		go io.WriteString(feed, host(name, 2)+sampled(name, 1, 10, 10, `"labels":{"winnow.managed":"true","owner":"x"}`)+
			sampled(name, 2, 20, 10, `"labels":{"winnow.managed":"true","owner":"y"}`)+end(name, 3))
		kills := 0
		for range 4 {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			kills += strings.Count(line, `"verdict":"kill"`)
		}
		return kills
	}
	steps := []struct {
		change func()
		kills  int
	}{
		{func() {}, 1},
		{func() { write("keep = 0\n", 40*time.Second) }, 2},
		{func() { write("keep = \"x\"\n", 30*time.Second) }, 2},
		{func() {}, 2},
		{func() { os.Remove(path) }, 2},
		{func() { write("keep = 1\nper = \"label=owner\"\n", 20*time.Second) }, 0},
	}
	for i, step := range steps {
		step.change()
		if got := judge(fmt.Sprint("s", i)); got != step.kills {
			t.Errorf("step %d: %d kills, want %d", i, got, step.kills)
		}
	}
	feed.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := strings.ReplaceAll(`classify: the policy was read again: PATH has changed
classify: the policy before stays in force: PATH:3:1: keep: "x" is not a number from 0 up
classify: the policy before stays in force: open PATH: no such file or directory
classify: the policy was read again: PATH has changed
`, "PATH", path)
	if said := stderr.String(); said != want {
		t.Errorf("said %s", said)
	}
}

// The same stream in one go and cut into its snapshots gives the same lines, and
// the same again where they have verdicts already.
func TestCutUp(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "p.toml")
	text := "version = 1\n[[rule]]\nname=\"a\"\ncpu=\"> 50%\"\nfor=\"20s\"\nnotice=\"10s\"\n[[rule]]\nper=\"label=owner\"\nkeep=1\nmost=\"1/30s\"\nforgive=\"10s\"\nnotice=\"5s\"\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var snapshots []string
	for n := range 12 {
		at := time.Date(2026, 11, 24, 12, 0, 10*n, 0, time.UTC).Format(time.RFC3339)
		name := fmt.Sprint("s", n)
		head := fmt.Sprintf(`"time":%q,"host":"h","snapshot":%q`, at, name)
		s := fmt.Sprintf(`{"type":"host",%s,"boot_id":"b","containers":4,"interval_ms":10000,"total_memory_kb":1000000}`+"\n", head)
		for c := range 4 {
			s += fmt.Sprintf(`{"type":"container",%s,"id":%q,"pid":5,"at_ns":%d,"cpu_ns":%d,"cpu_percent":%d,"memory_kb":10,"labels":{"winnow.managed":"true","owner":"%d"}}`+"\n",
				head, filtertest.ID(c), int64(n+1)*10_000_000_000, n, 40+(n*(c+3))%30, c%2)
		}
		snapshots = append(snapshots, s+fmt.Sprintf(`{"type":"end",%s,"lines":5}`+"\n", head))
	}
	whole, stderr, err := filtertest.Run(t, run, strings.NewReader(strings.Join(snapshots, "")), "--policy", policy)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	for _, word := range []string{`"verdict":"warn"`, `"verdict":"kill"`, `"event":"withdrawn"`, `"event":"limited"`} {
		if !strings.Contains(whole, word) {
			t.Errorf("there is no %s in what is compared", word)
		}
	}
	state := filepath.Join(t.TempDir(), "state")
	cut := ""
	for _, s := range snapshots {
		out, stderr, err := filtertest.Run(t, run, strings.NewReader(s), "--policy", policy, "--state", state)
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		cut += out
	}
	if cut != whole {
		t.Errorf("cut up:\n%s\nin one go:\n%s", cut, whole)
	}
}
