package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
)

// noon is the time at which tests' logds begin.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
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

// newRandom gives chances that SEED, said when the test fails, repeats.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("SEED=%s: %v", text, err)
		}
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
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
	l.options.dir = dir
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

func (l *testLog) post(t *testing.T, id, body string) (int, answer) {
	t.Helper()
	status, text := l.postRaw(t, id, body)
	var a answer
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
		request.Header.Set(batchHeader, id)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode >= 500 && response.Header.Get("Retry-After") == "" {
		t.Error("does not say when to come again")
	}
	return response.StatusCode, string(text)
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
	response, err := http.Get(l.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return response.StatusCode, string(text)
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

func (l *testLog) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
	for _, query := range []string{"sinc=1", "since=soon", "until=-3m", "limit=0", "limit=x", "order=up", "follow=maybe", "type=a&type=b", "follow=1&order=desc"} {
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
	l.clock.add(-12 * time.Hour) // a clock put back does not reopen a day
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
	// The answer may come before all was sent, which http.Post takes for an error.
	for text, want := range map[string]string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", maxBody+1, strings.Repeat("x", maxBody+1)): "HTTP/1.1 413 ",
		"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n":                               "HTTP/1.1 411 ",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		go io.WriteString(conn, "POST /logs HTTP/1.1\r\nHost: x\r\n"+text)
		answer := make([]byte, len(want))
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != want {
			t.Errorf("%.40q: answered %q, %v, want %q", text, answer, err, want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args  []string
		usage bool
		want  string
	}{
		{[]string{"--nope"}, true, "--nope"},
		{[]string{"stray"}, true, "stray"},
		{[]string{"--listen", ":7070"}, true, "--open"},
		{[]string{"--listen", "0.0.0.0:0"}, true, "--open"},
		{[]string{"--listen", "127.0.0.1:0", "--dir", "/nowhere/at/all"}, false, "/nowhere/at/all"},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), test.args, nil, &stdout, &stderr)
		var usage *cli.UsageError
		if err == nil || errors.As(err, &usage) != test.usage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want a usage error %v that names %s", test.args, err, test.usage, test.want)
		}
	}
}

func TestSecondLogdKeepsOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startLog(t, dir)
	second := newServer(time.Now, new(messages).warn)
	second.options.dir = dir
	if err := second.open(); err == nil || !strings.Contains(err.Error(), "another logd") {
		t.Errorf("opened: %v", err)
	}
}

func TestBodyThatIsNotWholeIsNotStored(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for _, text := range []string{
		"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"n\":1}\n",
		"POST /logs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"n\":1}\n\r\n",
		"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("{\"n\":1}\n", 1500),
		"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\n{\"n\":1}\n",
		"POST /logs HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{\"n\":1}\n",
		"POST /logs HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 10_000) + "\r\n",
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
	eventually(t, "all have stored some", func() bool { return stored.Load() > 50 })
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
