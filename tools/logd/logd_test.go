package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/logd/store"

	"winnow/tools/internal/record"
)

// noon is the time at which tests' logds begin.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// clock is a clock that a test sets.
type clock struct {
	mu   sync.Mutex
	at   time.Time
	boot time.Duration
}

func newClock() *clock { return &clock{at: noon} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.boot += d
}

// jump sets the clock.
func (c *clock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *clock) sinceBoot() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// patience is how long a test waits for what a busy machine does late.
const patience = time.Minute

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// messages is what a logd said.
type messages struct {
	mu   sync.Mutex
	text strings.Builder
}

func (m *messages) warn(format string, a ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(&m.text, format+"\n", a...)
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.String()
}

// testLog is a logd within the test.
type testLog struct {
	*server
	dir   string
	url   string
	clock *clock
	said  *messages
	stop  func() error
}

// startLog serves the log in dir until the test ends.
func startLog(t *testing.T, dir string, options ...func(*server)) *testLog {
	t.Helper()
	l := &testLog{dir: dir, clock: newClock(), said: new(messages)}
	l.server = newServer(l.clock.now, l.said.warn)
	l.options.Dir = dir
	l.server.clock = store.Clock{Wall: l.clock.now, Boot: l.clock.sinceBoot}
	for _, set := range options {
		set(l.server)
	}
	listener, err := listen("127.0.0.1:0", "", "")
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
	if l.options.token != nil {
		request.Header.Set("Authorization", "Bearer "+string(l.options.token))
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
	return withoutCommits(string(text))
}

// newBatch is a batch without an id.
func newBatch(text string) *store.Batch {
	return store.NewBatch("", []byte(text), func(int, error) {}, func(_, _, _ []byte) {})
}

func withoutCommits(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `{"type":"commit",`) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestStoresWhatWasPosted(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	body := "{\"b\": 1}\r\n\nnot one\n [] \n{\"a\":\"\xff\"}\n{\"a\":1,\"a\":2}\n{ \"z\" :\t2}"
	status, a := l.post(t, "", body)
	if status != http.StatusOK || a.Stored != 2 || a.Duplicate {
		t.Errorf("status %d, %+v", status, a)
	}
	var numbers []int
	for _, r := range a.Refused {
		numbers = append(numbers, r.Line)
	}
	if fmt.Sprint(numbers) != "[3 4 5 6]" {
		t.Errorf("refused %+v", a.Refused)
	}
	want := "{\"b\": 1}\n{ \"z\" :\t2}\n"
	if got := l.file(t, "2026-11-21.jsonl"); got != want {
		t.Errorf("the day file holds %q", got)
	}
	if got := l.find(t, ""); got != want {
		t.Errorf("answers %q", got)
	}
}

func TestBatchIsStoredOnceAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	l.mustPost(t, "one", `{"n":1}`)
	l.mustPost(t, "", `{"n":2}`)
	l.mustPost(t, "two", `{"n":3}`)
	for range 2 {
		for _, id := range []string{"one", "two"} {
			if status, a := l.post(t, id, `{"n":1}`); status != http.StatusOK || !a.Duplicate || a.Stored != 0 {
				t.Errorf("%s: status %d, %+v", id, status, a)
			}
		}
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		l = startLog(t, dir)
	}
	if got := l.find(t, ""); got != "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("holds %q", got)
	}
	if status, _ := l.post(t, "bad id", `{}`); status != http.StatusBadRequest {
		t.Errorf("took a bad id: %d", status)
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for i, line := range []string{
		`{"type":"host","time":"2026-11-21T11:00:00Z","host":"a","n":0}`,
		`{"type":"container","time":"2026-11-21T11:00:00Z","host":"a","id":"abcdef","name":"web","class":"low","verdict":"keep","n":1}`,
		`{"type":"container","time":"2026-11-21T11:30:00+00:00","host":"b","id":"abc999","name":"w\u0065b","class":"high","verdict":"kill","n":2}`,
		`{"type":"kill","time":"2026-11-21T11:50:00.5Z","host":"b","id":"abc999","name":"web","class":"high","n":3}`,
		`{"n":4,"labels":{"type":"kill"}}`,
	} {
		l.mustPost(t, fmt.Sprint("b", i), line)
	}
	tests := []struct{ query, want string }{
		{"", "01234"}, {"order=desc", "43210"}, {"limit=2", "01"}, {"limit=2&order=desc", "43"},
		{"type=kill", "3"}, {"type=container", "12"}, {"host=b", "23"}, {"id=abcdef", "1"}, {"id=abc", "123"}, {"name=web", "123"},
		{"class=high&type=container", "2"}, {"verdict=keep", "1"}, {"name=we", ""}, {"name=", ""},
		{"since=15m", "3"}, {"since=40m", "23"}, {"since=2026-11-21T11:00:00Z&until=2026-11-21T11:30:00Z", "01"},
		{"until=2026-11-21T11:00:00Z", ""}, {"since=2026-11-21", "0123"}, {"since=2d&order=desc&limit=1", "3"}, {"since=1h&type=host", "0"},
		// No line is of such a time: they are no bounds.
		{"until=9999-12-31", "01234"}, {"since=0001-01-01", "01234"}, {"since=0001-01-01&until=9999-12-31T23:59:59Z&order=desc", "43210"}, {"since=2026-11-21&until=2262-01-01", "0123"},
		{"until=1969-12-31", ""}, {"since=2262-01-01", ""},
	}
	for _, test := range tests {
		var got strings.Builder
		for _, line := range strings.Split(l.find(t, test.query), "\n") {
			if _, n, ok := strings.Cut(line, `"n":`); ok {
				got.WriteByte(n[0])
			}
		}
		if got.String() != test.want {
			t.Errorf("%s: got %q, want %q", test.query, got.String(), test.want)
		}
	}
	for _, query := range []string{"sinc=1", "since=soon", "until=-3m", "since=-213503d", "until=9999-13-31", "limit=0", "limit=x", "order=up", "follow=maybe", "type=a&type=b", "follow=1&order=desc"} {
		status, text := l.get(t, "/logs?"+query)
		var said struct{ Error string }
		if json.Unmarshal([]byte(text), &said); status != http.StatusBadRequest || said.Error == "" {
			t.Errorf("%s: status %d, %q", query, status, text)
		}
	}
}

func TestNewDayNewFile(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "x", `{"n":1}`)
	l.clock.add(12 * time.Hour)
	l.mustPost(t, "y", `{"n":2}`)
	l.clock.jump(-12 * time.Hour) // a clock put back does not reopen a day
	l.mustPost(t, "z", `{"n":3}`)
	if first, second := l.file(t, "2026-11-21.jsonl"), l.file(t, "2026-11-22.jsonl"); first != "{\"n\":1}\n" || second != "{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("%q, %q", first, second)
	}
	if got := l.find(t, "order=desc"); got != "{\"n\":3}\n{\"n\":2}\n{\"n\":1}\n" {
		t.Errorf("answers %q", got)
	}
}

func TestRefusesWhatItDoesNotServe(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for path, want := range map[string]int{"/nope": 404, "/healthz": 200, "/logs/": 404, "/../../etc/passwd": 404} {
		if status, _ := l.get(t, path); status != want {
			t.Errorf("%s: status %d, want %d", path, status, want)
		}
	}
	for _, method := range []string{http.MethodDelete, http.MethodPut} {
		request, _ := http.NewRequest(method, l.url+"/logs", nil)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, response.StatusCode)
		}
	}
	for header, want := range map[string]int{
		fmt.Sprintf("Content-Length: %d", maxBody+1):                                          http.StatusRequestEntityTooLarge,
		"Content-Length: 99999999999":                                                         http.StatusRequestEntityTooLarge,
		"Transfer-Encoding: chunked":                                                          http.StatusLengthRequired,
		"Content-Encoding: gzip\r\nContent-Length: 2":                                         http.StatusUnsupportedMediaType,
		"Winnow-Batch: a b\r\nContent-Length: 2":                                              http.StatusBadRequest,
		"Winnow-Batch: " + strings.Repeat("x", record.MaxBatchID+1) + "\r\nContent-Length: 2": http.StatusBadRequest,
	} {
		body := "{}"
		if want == http.StatusRequestEntityTooLarge {
			body = strings.Repeat("x", 16<<10) // more never follows: what is announced is enough
		}
		if status := l.answerTo(t, "POST /logs HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n\r\n"+body); status != want {
			t.Errorf("%s: status %d, want %d", header, status, want)
		}
	}
	if got := l.find(t, ""); got != "" {
		t.Errorf("stored %q", got)
	}
}

// answerTo is the status with which the log answers a request that is sent as
// it stands, while the connection stays open.
func (l *testLog) answerTo(t *testing.T, request string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
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
		t.Fatalf("no answer to %.100q: %v", request, err)
	}
	response.Body.Close()
	return response.StatusCode
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

func TestSecondLogdKeepsOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startLog(t, dir)
	second := newServer(time.Now, new(messages).warn)
	second.options.Dir = dir
	if err := second.open(); err == nil || !strings.Contains(err.Error(), "another logd") {
		t.Errorf("opened: %v", err)
	}
}

func TestBodyThatIsNotWholeIsNotStored(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for _, text := range []string{
		"POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{\"n\":1}\n",
		"POST /logs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"n\":1}\n\r\n",
		"POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("{\"n\":1}\n", 1500),
		"POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\n{\"n\":1}\n",
		"POST /logs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{\"n\":1}\n",
		"POST /logs HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 10_000) + "\r\n",
		"\x16\x03\x01garbage",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if strings.Contains(string(answer), " 200 ") {
			t.Errorf("%.60q was answered %q", text, answer)
		}
	}
	if got := l.find(t, ""); got != "" {
		t.Errorf("stored %.100q", got)
	}
}

func TestStopStoresWhatWasTakenOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	var stored atomic.Int64
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := 0; ; i++ {
				response, err := http.Post(l.url+"/logs", "", strings.NewReader(fmt.Sprintf(`{"w":%d,"i":%d}`, w, i)))
				if err != nil {
					return
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					return
				}
				stored.Add(1)
			}
		})
	}
	for begun := time.Now(); stored.Load() < 100 && time.Since(begun) < 20*time.Second; time.Sleep(time.Millisecond) {
	}
	begun := time.Now()
	if err := l.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > stopTime {
		t.Errorf("the stop took %v", took)
	}
	all.Wait()
	if got := int64(strings.Count(l.file(t, "2026-11-21.jsonl"), "\n")); got < stored.Load() || stored.Load() == 0 {
		t.Errorf("%d lines are there, %d were acknowledged", got, stored.Load())
	}
}
