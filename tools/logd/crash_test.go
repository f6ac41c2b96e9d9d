package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

// killRounds is how often logd is killed.
const killRounds = 200

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
		for line := range strings.Lines(testkit.WithoutCommits(string(text))) {
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

func TestKilledAtAnyMomentItLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), testkit.FreeAddr(t)
	writers := make([]*resender, 32)
	for i := range writers {
		writers[i] = &resender{name: i, url: "http://" + addr, http: &http.Client{Transport: &http.Transport{}, Timeout: 5 * time.Second}}
	}
	rounds := killRounds
	if testing.Short() {
		rounds = 20
	}
	quarantined, dice := 0, testkit.Dice(t)
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
