package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/full"

	"winnow/tools/internal/record"
)

// process is a logd of its own, to be killed.
type process struct {
	*exec.Cmd
	said bytes.Buffer
}

func startProcess(t *testing.T, dir, addr string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("logd", "--listen", addr, "--dir", dir)}
	p.Stderr = &p.said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

// wait is for the process to end by itself; one that does not is killed.
func (p *process) wait() error {
	defer time.AfterFunc(20*time.Second, func() { p.Process.Kill() }).Stop()
	return p.Wait()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// resender posts batches, each until it is acknowledged.
type resender struct {
	name  int
	next  int // the batch that is not acknowledged yet
	lines []int
	url   string
	http  *http.Client
}

// size is how many lines a batch has; it is the same when it is sent again.
func (r *resender) size(n int) int { return 1 + (n*7+r.name)%5 }

func (r *resender) body(n int) string {
	var b strings.Builder
	for i := range r.size(n) {
		fmt.Fprintf(&b, `{"type":"container","time":"2026-11-21T12:00:00Z","writer":%d,"batch":%d,"line":%d}`+"\n", r.name, n, i)
	}
	return b.String()
}

// once tries to post the next batch, and tells whether it was acknowledged.
func (r *resender) once() bool {
	request, err := http.NewRequest(http.MethodPost, r.url+"/logs", strings.NewReader(r.body(r.next)))
	if err != nil {
		return false
	}
	request.Header.Set(record.BatchHeader, fmt.Sprintf("w%d-%d", r.name, r.next))
	response, err := r.http.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var a struct{ Stored *int }
	if response.StatusCode != http.StatusOK || json.NewDecoder(response.Body).Decode(&a) != nil || a.Stored == nil {
		return false
	}
	r.next++
	return true
}

func (r *resender) until(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
			r.once()
		}
	}
}

// newDice is chance that can be had again: a test that fails says how.
func newDice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("WINNOW_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WINNOW_SEED: %v", err)
		}
	}
	t.Logf("drawn with WINNOW_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// killRounds is how often logd is killed.
const killRounds = 200

func TestKilledAtAnyMomentItLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	writers := make([]*resender, 32)
	for i := range writers {
		writers[i] = &resender{name: i, url: "http://" + addr, http: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}}
	}
	rounds := killRounds
	if testing.Short() {
		rounds = 20
	}
	quarantined, dice := 0, newDice(t)
	for range rounds {
		p := startProcess(t, dir, addr)
		stop := make(chan struct{})
		var all sync.WaitGroup
		for _, w := range writers {
			all.Go(func() { w.until(stop) })
		}
		time.Sleep(time.Duration(dice.IntN(40_000)) * time.Microsecond)
		p.kill()
		close(stop)
		all.Wait()
		quarantined += strings.Count(p.said.String(), "never acknowledged")
	}
	p := startProcess(t, dir, addr)
	for _, w := range writers {
		if !w.once() {
			t.Errorf("writer %d cannot finish; logd said %s", w.name, p.said.String())
		}
	}
	p.Process.Signal(syscall.SIGTERM)
	if err := p.wait(); err != nil {
		t.Errorf("did not stop in order: %v", err)
	}
	checkWritten(t, dir, writers)
	t.Logf("%d of %d starts found a torn end", quarantined, rounds)
}

// checkWritten tells whether each acknowledged line is stored just once, and
// nothing else is.
func checkWritten(t *testing.T, dir string, writers []*resender) {
	t.Helper()
	type key struct{ Writer, Batch, Line int }
	seen := make(map[key]int)
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(withoutCommits(string(text))) {
			var k key
			if err := json.Unmarshal([]byte(line), &k); err != nil {
				t.Fatalf("a stored line does not parse: %q", line)
			}
			seen[k]++
		}
	}
	total := 0
	for _, w := range writers {
		for n := range w.next {
			for i := range w.size(n) {
				total++
				if got := seen[key{w.name, n, i}]; got != 1 {
					t.Fatalf("line %d of batch w%d-%d is stored %d times", i, w.name, n, got)
				}
			}
		}
	}
	if len(seen) != total || total < len(writers) {
		t.Errorf("%d lines are stored, %d were acknowledged", len(seen), total)
	}
	t.Logf("%d lines in %d files", total, len(files))
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, minFree := range []int{0, 256 << 10} {
		t.Run(fmt.Sprint(minFree), func(t *testing.T) {
			full.Needs(t, "root")
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
				t.Skipf("mounting a small tmpfs needs root: %v", err)
			}
			t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
			l := startLog(t, dir, func(s *server) { s.options.MinFree.Set(fmt.Sprint(minFree)) })
			line := `{"n":1,"long":"` + strings.Repeat("x", 50_000) + `"}`
			stored, status := 0, 200
			for status == 200 {
				if status, _ = l.postRaw(t, fmt.Sprint("b", stored), line); status == 200 {
					stored++
				}
			}
			if status != 507 || stored < 10 {
				t.Fatalf("status %d after %d lines", status, stored)
			}
			if free, _ := l.store.Free(); free < int64(minFree) {
				t.Errorf("only %d bytes are free", free)
			}
			if got := strings.Count(l.find(t, ""), "\n"); got != stored {
				t.Errorf("reads %d lines of %d", got, stored)
			}
			if err := syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "size=3m"); err != nil {
				t.Fatal(err)
			}
			l.mustPost(t, fmt.Sprint("b", stored), line)
			if got := strings.Count(l.file(t, "2026-11-21.jsonl"), "\n"); got != stored+1 {
				t.Errorf("holds %d lines", got)
			}
		})
	}
}
