package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
	"winnow/tools/logd/store"
	"winnow/tools/testkit"
)

// killSoon posts kills until ctx is done.
func (l *testLog) killSoon(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		line := `{"type":"kill","time":"` + time.Now().Add(time.Minute).UTC().Format(time.RFC3339) + `","host":"vm","name":"web","result":"killed"}`
		if err := l.store.Append(newBatch(line)); err != nil {
			return
		}
	}
}

// testLog is a logd within the test.
type testLog struct {
	*server
	dir   string
	url   string
	clock *testkit.Clock
	said  *testkit.Messages
	stop  func() error
}

func (l *testLog) addr() string { return strings.TrimPrefix(l.url, "http://") }

func (l *testLog) post(t *testing.T, id, body string) (int, record.Delivery) {
	t.Helper()
	status, text := l.postRaw(t, id, body)
	var a record.Delivery
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("answered %q: %v", text, err)
	}
	return status, a
}

func (l *testLog) postRaw(t *testing.T, id, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, l.url+"/logs", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		request.Header.Set(record.BatchHeader, id)
	}
	response, text := l.do(t, request)
	if response.StatusCode >= 500 && response.Header.Get("Retry-After") == "" {
		t.Error("does not say when to come again")
	}
	return response.StatusCode, text
}

// do sends a request, with the token where there is one.
func (l *testLog) do(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	if l.guard.Token != nil {
		request.Header.Set("Authorization", "Bearer "+string(l.guard.Token))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %v", request.URL, err)
	}
	return response, string(text)
}

// mustPost posts what has to be stored.
func (l *testLog) mustPost(t *testing.T, id, body string) {
	t.Helper()
	if status, a := l.post(t, id, body); status != http.StatusOK || len(a.Refused) > 0 {
		t.Fatalf("status %d, %+v; said %s", status, a, l.said)
	}
}

func (l *testLog) get(t *testing.T, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, l.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, text := l.do(t, request)
	return response.StatusCode, text
}

// find is what GET /logs?query answers.
func (l *testLog) find(t *testing.T, query string) string {
	t.Helper()
	status, text := l.get(t, "/logs?"+query)
	if status != http.StatusOK {
		t.Fatalf("%s: status %d: %s", query, status, text)
	}
	return text
}

// file is what a day file holds, without the commits.
func (l *testLog) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return testkit.WithoutCommits(string(text))
}

// startLog serves the log in dir until the test ends.
func startLog(t *testing.T, dir string, options ...func(*server)) *testLog {
	t.Helper()
	l := &testLog{dir: dir, clock: testkit.NewClock(), said: new(testkit.Messages)}
	l.server = newServer(l.clock.Now, l.said.Warn)
	l.options.Dir = dir
	l.server.clock = store.Clock{Wall: l.clock.Now, Boot: l.clock.Boot}
	for _, set := range options {
		set(l.server)
	}
	listener, err := door.Listen("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	l.url = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.serve(ctx, listener) }()
	l.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { l.stop() })
	return l
}

// newBatch is a batch without an id.
func newBatch(text string) *store.Batch {
	return store.NewBatch("", "", []byte(text), func(int, error) {}, func(_, _, _ []byte) {})
}

// send sends a request as it stands, and returns the answer and its body.
func send(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer to %q: %v", request, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return response, string(text)
}

// ask asks for path with these headers, and returns the status.
func ask(t *testing.T, addr, path string, headers ...string) int {
	t.Helper()
	response, _ := send(t, addr, "GET "+path+" HTTP/1.1\r\n"+strings.Join(headers, "\r\n")+"\r\n\r\n")
	return response.StatusCode
}

// follow reads lines as they come.
func follow(t *testing.T, url string) (next func() string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	return func() string {
		if !lines.Scan() {
			return fmt.Sprint("end: ", lines.Err())
		}
		return lines.Text()
	}, cancel
}

// twoSnapshots is a small log: web is condemned in the second snapshot, and
// killed.
func twoSnapshots() string {
	return testkit.HostLine("s1", "2026-11-21T11:59:30Z", 2) +
		testkit.ContainerLine("s1", "2026-11-21T11:59:30Z", "aaaa11112222", "web", "low", "keep", 1) +
		testkit.ContainerLine("s1", "2026-11-21T11:59:30Z", "bbbb11112222", "db", "low", "keep", 2) +
		testkit.HostLine("s2", "2026-11-21T11:59:40Z", 3) +
		testkit.ContainerLine("s2", "2026-11-21T11:59:40Z", "aaaa11112222", "web", "high", "kill", 2) +
		testkit.ContainerLine("s2", "2026-11-21T11:59:40Z", "bbbb11112222", "db", "high", "keep", 1) +
		testkit.ContainerLine("s2", "2026-11-21T11:59:40Z", "cccc11112222", "other", "low", "keep", 1) +
		`{"type":"kill","time":"2026-11-21T11:59:41Z","host":"vm","snapshot":"s2","id":"aaaa11112222","name":"web","image":"img","class":"high",` +
		`"reason":"because kill","result":"killed","signal":"SIGTERM","took_ms":120,"error":""}` + "\n"
}

// bigDay is lines over some blocks, from 00:00 on, one a second.
func bigDay(day time.Time, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"type":"container","time":%q,"id":"%04d","pad":%q}`+"\n", day.Add(time.Duration(i)*time.Second).Format(time.RFC3339), i, strings.Repeat("p", 200))
	}
	return b.String()
}
