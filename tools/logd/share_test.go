package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/internal/full"

	"winnow/tools/logd/chart"
)

// containerMemory is what logd's container has.
const containerMemory = 128 << 20

// startBuilt starts a logd as it is shipped: what the race detector adds would
// be measured with it otherwise.
func startBuilt(t *testing.T) (p *process, url string) {
	t.Helper()
	full.Needs(t, "some seconds and 500 MB of disk")
	path := filepath.Join(t.TempDir(), "logd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	addr := freeAddr(t)
	p = &process{Cmd: exec.Command(path, "--listen", addr, "--dir", t.TempDir())}
	p.Stderr = &p.said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p, "http://" + addr
}

// peak is the most memory that a process had, in bytes.
func (p *process) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatalf("%v; said %s", err, p.said.String())
	}
	kb := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if kb == nil {
		t.Fatalf("it is gone; said %s", p.said.String())
	}
	n, _ := strconv.Atoi(string(kb[1]))
	return n << 10
}

// postOnce posts what must be stored.
func postOnce(t *testing.T, url, body string) {
	t.Helper()
	response, err := http.Post(url+"/logs", "", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"refused":[]`)) {
		t.Errorf("status %d: %.300s", response.StatusCode, text)
	}
}

// ago is a time as a line has it.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339Nano) }

// postHostile fills a log with what is right but far too long.
func postHostile(t *testing.T, p *process, url string) {
	t.Helper()
	step := func(what string) { t.Logf("after %s: %d MB", what, p.peak(t)>>20) }
	long := strings.Repeat(`<\u0001"`[:7]+"é", 3<<20/9)
	for i := range 60 {
		postOnce(t, url, fmt.Sprintf(`{"type":"kill","time":%q,"host":"h%d","snapshot":"s","id":"cafe%060d","name":"n","class":"high","result":"failed","reason":%q,"error":"%s"}`,
			ago(time.Minute), i%20, i, "r", long))
	}
	step("long kills")
	name := strings.Repeat("n", 50_000)
	for i := range 60 {
		var b strings.Builder
		for j := range 50 {
			fmt.Fprintf(&b, `{"type":"container","time":%q,"host":"long","snapshot":"s%d","id":"%064x","memory_kb":5,"cpu_percent":%d,"name":"%d%s","class":"low","verdict":"keep"}`+"\n",
				ago(time.Minute), i, i*50+j, j, i*50+j, name)
		}
		postOnce(t, url, b.String())
	}
	step("long names")
	for i := range 40 { // one container's story
		postOnce(t, url, fmt.Sprintf(`{"type":"container","time":%q,"host":"vm","snapshot":"s%d","id":"%064x","labels":{"a":"%s"},"name":"story","class":"c%d","verdict":"keep","reason":"%s"}`,
			ago(time.Hour-time.Duration(i)*time.Second), i, 0xbeef, long[:len(long)/9/4*9], i%2, long[:len(long)/9/2*9]))
	}
	step("a long story")
	for i := range 5 {
		at := ago(50*time.Second - time.Duration(i)*10*time.Second)
		var b strings.Builder
		b.WriteString(strings.ReplaceAll(hostLine(fmt.Sprint("big", i), at, 3000), `"vm"`, `"big"`))
		for j := range 3000 {
			b.WriteString(strings.ReplaceAll(container(fmt.Sprint("big", i), at, fmt.Sprintf("%064x", 0xabc0000+j), fmt.Sprintf("c-%d-%s", j, name[:400]), "low", "keep", j), `"host":"vm"`, `"host":"big"`))
		}
		postOnce(t, url, b.String())
	}
	step("large snapshots")
}

func TestAllThatReadersAskForFitsInTheContainer(t *testing.T) {
	p, url := startBuilt(t)
	postHostile(t, p, url)
	var all sync.WaitGroup
	var answered [6]atomic.Int64
	client := &http.Client{Timeout: patience}
	ask := func(times int, path string) {
		all.Go(func() {
			for range times {
				response, err := client.Get(url + path)
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				answered[response.StatusCode/100].Add(1)
				if response.StatusCode != 200 && response.StatusCode != 503 {
					t.Errorf("%s: status %d", path, response.StatusCode)
				}
				if response.StatusCode == 503 && response.Header.Get("Retry-After") == "" {
					t.Errorf("%s: does not say when to come again", path)
				}
			}
		})
	}
	for i, host := range []string{"long", "big", "vm", "h1"} {
		for _, name := range chart.Names() {
			ask(1, "/charts/"+name+".svg?host="+host)
			ask(1, "/charts/"+name+".png?since=30d&host="+host)
		}
		ask(1, "/why/story")
		ask(1, fmt.Sprintf("/why/c-%d-%s", i, strings.Repeat("n", 400)))
		ask(5, "/metrics")
		ask(1, "/logs?order=desc&type=kill&limit=20")
		ask(1, "/logs?since=1d&host=h2")
	}
	c := &crowd{stop: make(chan struct{})}
	for i := range 40 { // pages and queries of those who read nothing
		path := []string{"/events?host=big", "/events?host=long", "/logs?order=desc&type=kill", "/logs?type=kill"}[i%4]
		c.dial(t, strings.TrimPrefix(url, "http://"), "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	large := strings.Repeat(`{"type":"x","pad":"`+strings.Repeat("x", 3_500_000)+"\"}\n", 2)
	for range 4 { // as many bodies as are taken at once
		all.Go(func() {
			for range 5 {
				postOnce(t, url, large)
			}
		})
	}
	all.Wait()
	for range 3 { // while lines come in
		postOnce(t, url, twoSnapshots())
		time.Sleep(time.Second)
	}
	c.leave()
	peak := p.peak(t)
	t.Logf("at most %d MB; answered 2xx %d, 5xx %d", peak>>20, answered[2].Load(), answered[5].Load())
	if peak > containerMemory {
		t.Errorf("had %d MB", peak>>20)
	}
}

// Lines as long as can be, asked for by many who read all of the log, one way
// or the other, and do not read on.
func TestLongLinesOfWholeLogsFitInTheContainer(t *testing.T) {
	p, url := startBuilt(t)
	line := `{"type":"note","x":"` + strings.Repeat("y", 4<<20-100) + "\"}\n"
	postOnce(t, url, line+line)
	c := &crowd{stop: make(chan struct{})}
	defer c.leave()
	addr := strings.TrimPrefix(url, "http://")
	for i, path := range []string{"/logs", "/logs?order=desc", "/logs?follow=1"} {
		for range maxLongOfClient {
			c.dialFrom(t, fmt.Sprintf("127.0.1.%d", 1+i), addr, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
	}
	for range 30 {
		postOnce(t, url, line+line)
	}
	if peak := p.peak(t); peak > containerMemory {
		t.Errorf("took %d MB", peak>>20)
	}
}

func TestAPostDoesNotWaitForReaders(t *testing.T) {
	p, url := startBuilt(t)
	var b strings.Builder
	for i := range 4000 {
		at := ago(time.Hour - time.Duration(i)*500*time.Millisecond)
		b.WriteString(container(fmt.Sprint("s", i), at, fmt.Sprintf("%064x", 0xabc0000+i%4), fmt.Sprint("web-", i%4), "low", "keep", 1))
	}
	postOnce(t, url, b.String())
	var all sync.WaitGroup
	var told, refused atomic.Int64
	for i := range 600 {
		all.Go(func() {
			response, err := http.Get(fmt.Sprintf("%s/why/web-%d", url, i%4))
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			switch response.StatusCode {
			case 200:
				told.Add(1)
			case 503:
				refused.Add(1)
			default:
				t.Errorf("status %d", response.StatusCode)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	var longest time.Duration
	posts := 0
	for more := true; more; posts++ {
		begun := time.Now()
		postOnce(t, url, `{"type":"x"}`)
		longest = max(longest, time.Since(begun))
		select {
		case <-done:
			more = false
		default:
		}
	}
	t.Logf("%d posts beside %d stories and %d refused ones: the longest took %v; at most %d MB", posts, told.Load(), refused.Load(), longest, p.peak(t)>>20)
	if longest > 2*time.Second || told.Load() == 0 {
		t.Errorf("a POST took %v beside %d stories", longest, told.Load())
	}
}

func TestAJobIsGivenUp(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	s := newShare()
	j, err := s.job(t.Context(), &s.jobs, conn{Conn: accepted})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.next(); err != nil {
		t.Errorf("while the client is there: %v", err)
	}
	client.Close()
	eventually(t, "it is given up when the client is gone", func() bool { return errors.Is(j.next(), errHungUp) })
	j.end()

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if j, err = s.job(t.Context(), &s.jobs, nil); err != nil {
		t.Fatal(err)
	}
	j.ctx = ctx
	eventually(t, "it is given up when it takes too long", func() bool { return errors.Is(j.next(), errTooLong) })
	j.end()
	if !s.jobs.slots.TryAcquire(maxJobs) || !s.processors.TryAcquire(1) {
		t.Error("what the jobs had is not given back")
	}
}

func TestJobsAreBounded(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", twoSnapshots())
	if !l.share.jobs.slots.TryAcquire(maxJobs) {
		t.Fatal("some are being made")
	}
	l.share.jobs.waiting.Store(maxWaiting)
	for path, want := range map[string]int{"/why/web": 503, "/charts/memory.svg": 503, "/metrics": 200, "/logs?type=kill": 200} {
		response, err := http.Get(l.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want || want == 503 && response.Header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, %v", path, response.StatusCode, response.Header)
		}
	}
	l.share.jobs.waiting.Store(0)
	l.share.jobs.slots.Release(maxJobs)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		for _, path := range []string{"/why/web", "/why/nobody", "/charts/memory.svg", "/metrics"} {
			request, _ := http.NewRequest(method, l.url+path, nil)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}
	eventually(t, "all is given back", func() bool {
		all := l.share.jobs.slots.TryAcquire(maxJobs)
		if all {
			l.share.jobs.slots.Release(maxJobs)
		}
		return all && l.share.jobs.waiting.Load() == 0
	})
}

// An answer that is not fetched counts until its time is over.
func TestAnAnswerIsHeldUntilItIsFetched(t *testing.T) {
	t.Parallel()
	s := newShare()
	j, err := s.job(t.Context(), &s.jobs, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &product{[]byte("an answer"), time.Now().Add(-time.Second), j}
	if _, err := p.Read(make([]byte, 4)); !errors.Is(err, errTooLong) || s.jobs.slots.TryAcquire(maxJobs) {
		t.Errorf("read too late: %v", err)
	}
	p.until = time.Now().Add(time.Minute)
	if text, err := io.ReadAll(p); string(text) != "an answer" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	p.Close()
	if !s.jobs.slots.TryAcquire(maxJobs) {
		t.Error("is still held")
	}
}

// A search that waits for its client lets others search.
func TestASlowReaderHoldsNoProcessor(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for i := range 10 {
		l.mustPost(t, fmt.Sprint("b", i), bigDay(noon, 8000))
	}
	c := gather(t, strings.TrimPrefix(l.url, "http://"), 0, 0, 0)
	defer c.leave()
	for range 20 { // more than half of any test machine's processors
		c.dial(t, strings.TrimPrefix(l.url, "http://"), "GET /logs?type=container HTTP/1.1\r\nHost: localhost\r\n\r\n")
	}
	eventually(t, "20 streams are open", func() bool { return l.streams.Load() == 20 })
	if got := l.find(t, "id=0007&limit=3"); strings.Count(got, "\n") != 3 {
		t.Errorf("found %q", got)
	}
}

func TestAStoryHoldsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	const others, samples, attempts = 3000, 1500, 300
	long := strings.Repeat("<", 700) // each is six bytes in JSON
	var b strings.Builder
	line := func(i int, id string) {
		at := noon.Add(-time.Hour + time.Duration(min(i, samples))*time.Second).Format(time.RFC3339)
		fmt.Fprintf(&b, `{"type":"container","time":%q,"host":"vm","snapshot":"s%d","id":%q,"name":"web","memory_kb":1.6e7,"class":"c%d","verdict":"keep","reason":%q,"labels":{"a":%[5]q}}`+"\n",
			at, min(i, samples), id, i%2, long)
	}
	for i := range samples {
		line(i, "beef")
	}
	for i := range attempts {
		fmt.Fprintf(&b, `{"type":"kill","time":"2026-11-21T11:59:59Z","host":"vm","id":"beef","name":"web","result":"failed","reason":%q,"error":"%d"}`+"\n", long, i)
	}
	l.mustPost(t, "", b.String())
	b.Reset()
	line(samples, "beef")
	for i := range others {
		line(samples, fmt.Sprintf("%064x", i))
	}
	l.mustPost(t, "", b.String())
	status, text := l.get(t, "/why/beef")
	var st story
	if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 {
		t.Fatalf("status %d: %v", status, err)
	}
	if len(text) > 4<<20 || len(st.Kills) != maxAttempts || st.Kills[maxAttempts-1].Error != fmt.Sprint(attempts-1) {
		t.Errorf("has %d bytes, %d attempts", len(text), len(st.Kills))
	}
	if n := len(st.Considered); n == 0 || n+st.ConsideredMore != others+1 || st.Considered[0].MemoryKB != 16_000_000 {
		t.Errorf("%d were considered, and %d more", n, st.ConsideredMore)
	}
	if st.Count != samples+1 || len(st.Samples) < maxSamples/2 || len(st.Others) != maxOthers {
		t.Errorf("%d samples of %d, %d others", len(st.Samples), st.Count, len(st.Others))
	}
}
