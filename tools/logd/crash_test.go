package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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
	request.Header.Set(batchHeader, fmt.Sprintf("w%d-%d", r.name, r.next))
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
		quarantined += strings.Count(p.said.String(), "not wholly written")
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
	files, _ := filepath.Glob(filepath.Join(dir, "*"+plainExt))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var k key
			if err := json.Unmarshal(line, &k); err != nil {
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

func TestCutAnywhereInTheLastTwoRecords(t *testing.T) {
	t.Parallel()
	lines := []string{`{"n":1,"a":"first"}` + "\n", `{"n":2,"s":"w\u0065b"}` + "\n", `{"n":3,"x":[1,{"y":null}]}` + "\n"}
	for _, ids := range []bool{false, true} {
		tails := []string{""}
		if !ids {
			tails = append(tails, strings.Repeat("\x00", 100_000), "\x00\n", "\x00\x00{\"n\":9}\n")
		}
		for _, tail := range tails {
			whole := strings.Join(lines, "")
			for cut := len(lines[0]); cut <= len(whole); cut += min(stride(), 7) {
				dir := t.TempDir()
				journal := ""
				if ids {
					at := 0
					for i, line := range lines {
						journal += string(extent{int64(at), int64(at + len(line)), fmt.Sprint("b", i)}.appendTo(nil))
						at += len(line)
					}
				}
				writeLog(t, dir, whole[:cut]+tail, journal)
				checkRepaired(t, dir, lines, cut, whole[:cut]+tail, ids)
			}
		}
	}
}

func writeLog(t *testing.T, dir, text, journal string) {
	t.Helper()
	writeFiles(t, dir, map[string]string{"2026-11-21.jsonl": text, ownDir + "/2026-11-21.batches": journal})
}

// writeFiles writes files, by name, into a log's directory.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, ownDir), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// checkRepaired opens a log whose file was cut, and sends all again.
func checkRepaired(t *testing.T, dir string, lines []string, cut int, had string, ids bool) {
	t.Helper()
	said := new(messages)
	s, err := openStore(storeOptions{dir: dir}, realDisk{}, newClock().now, said.warn)
	if err != nil {
		t.Fatalf("cut at %d: %v", cut, err)
	}
	defer s.Close(t.Context())
	kept := ""
	for _, line := range lines {
		if len(kept)+len(line) <= cut {
			kept += line
		}
	}
	if got := readAll(t, s); got != kept {
		t.Fatalf("cut at %d: serves %q, want %q", cut, got, kept)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "*"+quarantineExt))
	if torn := len(had) > len(kept); torn != (len(aside) == 1) || torn != strings.Contains(said.String(), "not wholly written") {
		t.Fatalf("cut at %d: set aside %v, said %q", cut, aside, said)
	}
	if len(aside) == 1 {
		if text, _ := os.ReadFile(aside[0]); string(text) != had[len(kept):] {
			t.Fatalf("cut at %d: quarantined %q", cut, text)
		}
	}
	if !ids {
		return
	}
	for i, line := range lines {
		b := newBatch(fmt.Sprint("b", i), line)
		if err := s.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := readAll(t, s), strings.Join(lines, ""); got != want {
		t.Fatalf("cut at %d and sent again: %q", cut, got)
	}
}

func newBatch(id, text string) *batch {
	b, _ := parseBatch([]byte(text))
	b.id = id
	return b
}

func readAll(t *testing.T, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	all := anyTime(filter{})
	if err := s.Query(&all, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// faultyDisk fails as it is told.
type faultyDisk struct {
	realDisk
	mu   sync.Mutex
	fail func(op, path string) (short int, err error)
}

type faultyFile struct {
	diskFile
	disk *faultyDisk
	path string
	sick bool // a sync failed: what this descriptor says is no longer true
}

func (d *faultyDisk) set(fail func(op, path string) (int, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func (d *faultyDisk) ask(op, path string) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return 0, nil
	}
	return d.fail(op, path)
}

func (d *faultyDisk) Open(path string) (diskFile, error) {
	if _, err := d.ask("open", path); err != nil {
		return nil, err
	}
	f, err := d.realDisk.Open(path)
	return &faultyFile{f, d, path, false}, err
}

func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if f.sick {
		panic("writes to a descriptor whose sync failed")
	}
	short, err := f.disk.ask("write", f.path)
	if err != nil {
		n, _ := f.diskFile.WriteAt(p[:min(short, len(p))], at)
		return n, err
	}
	return f.diskFile.WriteAt(p, at)
}

func (f *faultyFile) Datasync() error {
	if f.sick {
		panic("syncs a descriptor again whose sync failed")
	}
	if _, err := f.disk.ask("sync", f.path); err != nil {
		f.sick = true
		return err
	}
	return f.diskFile.Datasync()
}

func TestDiskFaults(t *testing.T) {
	t.Parallel()
	const small, large = 100, walGroup // large enough to go round the write-ahead log
	tests := []struct {
		name, op, file string
		size           int // of the group
		short          int
		err            error
		status         int
	}{
		{"fsync of the write-ahead log", "sync", "wal", small, 0, syscall.EIO, 503},
		{"short write of the write-ahead log", "write", "wal", small, 30, io.ErrShortWrite, 503},
		{"full within a line that is in the write-ahead log", "write", plainExt, small, 5, syscall.ENOSPC, 507},
		{"short write of the journal after the write-ahead log", "write", ".batches", small, 3, io.ErrShortWrite, 503},
		{"fsync of the day", "sync", plainExt, large, 0, syscall.EIO, 503},
		{"short write of the day", "write", plainExt, large, 17, io.ErrShortWrite, 503},
		{"short write of the journal", "write", ".batches", large, 3, io.ErrShortWrite, 503},
		{"full within a line", "write", plainExt, large, 5, syscall.ENOSPC, 507},
		{"quota", "write", plainExt, large, 0, syscall.EDQUOT, 507},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			disk := new(faultyDisk)
			dir := t.TempDir()
			l := startLog(t, dir, func(s *server) { s.disk = disk })
			l.mustPost(t, "one", `{"n":1}`)
			disk.set(func(op, path string) (int, error) {
				if op == test.op && strings.HasSuffix(path, test.file) {
					return test.short, test.err
				}
				return 0, nil
			})
			for range 3 {
				status, text := l.postRaw(t, "two", `{"n":2,"long":"`+strings.Repeat("x", test.size)+`"}`)
				if status != test.status || !strings.Contains(text, test.err.Error()) {
					t.Errorf("status %d, %s", status, text)
				}
			}
			if got := l.find(t, ""); got != "{\"n\":1}\n" {
				t.Errorf("reads %q", got)
			}
			if !strings.Contains(l.said.String(), test.err.Error()) {
				t.Errorf("said %q", l.said)
			}
			disk.set(nil)
			l.mustPost(t, "two", `{"n":2}`)
			l.mustPost(t, "two", `{"n":2}`)
			want := "{\"n\":1}\n{\"n\":2}\n"
			if got := l.file(t, "2026-11-21.jsonl"); got != want {
				t.Errorf("holds %q", got)
			}
			l.stop()
			again := startLog(t, dir)
			if status, a := again.post(t, "two", `{"n":2}`); status != 200 || !a.Duplicate {
				t.Errorf("after a restart: status %d, %+v", status, a)
			}
			if got := again.find(t, ""); got != want {
				t.Errorf("after a restart: %q", got)
			}
		})
	}
}

func TestDiskThatNeverRecovers(t *testing.T) {
	t.Parallel()
	disk := new(faultyDisk)
	l := startLog(t, t.TempDir(), func(s *server) { s.disk = disk })
	l.mustPost(t, "", `{"n":1}`)
	disk.set(func(op, _ string) (int, error) { return 0, syscall.EIO })
	for range 2 {
		if status, _ := l.postRaw(t, "", `{"n":2}`); status != 503 {
			t.Errorf("status %d", status)
		}
	}
	if status, _ := l.get(t, "/readyz"); status != 503 {
		t.Errorf("is ready: %d", status)
	}
	if status, _ := l.get(t, "/healthz"); status != 200 {
		t.Errorf("is not alive: %d", status)
	}
	if got := l.find(t, ""); got != "{\"n\":1}\n" {
		t.Errorf("reads %q", got)
	}
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
			l := startLog(t, dir, func(s *server) { s.options.minFree.Set(fmt.Sprint(minFree)) })
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
			if free, _ := (realDisk{}).Free(dir); free < int64(minFree) {
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
