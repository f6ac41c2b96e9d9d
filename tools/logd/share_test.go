package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/logd/chart"
	"winnow/tools/logd/door"
	"winnow/tools/testkit"
)

// containerMemory is what logd's container has.
const containerMemory = 128 << 20

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
		b.WriteString(strings.ReplaceAll(testkit.HostLine(fmt.Sprint("big", i), at, 3000), `"vm"`, `"big"`))
		for j := range 3000 {
			b.WriteString(strings.ReplaceAll(testkit.ContainerLine(fmt.Sprint("big", i), at, fmt.Sprintf("%064x", 0xabc0000+j), fmt.Sprintf("c-%d-%s", j, name[:400]), "low", "keep", j), `"host":"vm"`, `"host":"big"`))
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
	client := &http.Client{Timeout: testkit.Patience}
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
		for range longOfClient {
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
		b.WriteString(testkit.ContainerLine(fmt.Sprint("s", i), at, fmt.Sprintf("%064x", 0xabc0000+i%4), fmt.Sprint("web-", i%4), "low", "keep", 1))
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

// crowdJobs has as many stories and charts being made and waiting as there can be, until leave is called.
func crowdJobs(t *testing.T, share *door.Share) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var crowded atomic.Bool
	for !crowded.Load() {
		all.Go(func() {
			j, err := share.Job(ctx, &share.Jobs, nil)
			if err != nil {
				crowded.Store(crowded.Load() || ctx.Err() == nil)
				return
			}
			j.End() // it holds no processor
			<-ctx.Done()
			j.Close()
		})
		time.Sleep(time.Millisecond)
	}
	return func() { cancel(); all.Wait() }
}

func TestJobsAreBounded(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", twoSnapshots())
	leave := crowdJobs(t, l.share)
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
	leave()
	for range 5 { // more often than there are slots: each gives back its own, whatever became of it
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			for path, want := range map[string]int{"/why/web": 200, "/why/nobody": 404, "/charts/memory.svg": 200, "/metrics": 200} {
				request, _ := http.NewRequest(method, l.url+path, nil)
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != want {
					t.Errorf("%s %s: status %d", method, path, response.StatusCode)
				}
			}
		}
	}
}
