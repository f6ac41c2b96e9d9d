package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/internal/record"

	"github.com/valyala/fasthttp"
)

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

func TestFollow(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", `{"type":"kill","n":1}`)
	l.mustPost(t, "", `{"type":"host","n":2}`)
	next, _ := follow(t, l.url+"/logs?follow=1&type=kill")
	if got := next(); got != `{"type":"kill","n":1}` {
		t.Errorf("began with %q", got)
	}
	for i := range 5 {
		l.mustPost(t, "", fmt.Sprintf(`{"type":"host","n":%d}`, i)+"\n"+fmt.Sprintf(`{"type":"kill","n":%d}`, 10+i))
		if got, want := next(), fmt.Sprintf(`{"type":"kill","n":%d}`, 10+i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	l.clock.add(24 * time.Hour) // on to the next file
	l.mustPost(t, "", `{"type":"kill","n":99}`)
	if got := next(); got != `{"type":"kill","n":99}` {
		t.Errorf("over midnight: %q", got)
	}
	limited, _ := follow(t, l.url+"/logs?follow=1&type=kill&limit=8")
	for range 7 {
		limited()
	}
	l.mustPost(t, "", `{"type":"kill","n":100}`+"\n"+`{"type":"kill","n":101}`)
	if got := limited(); got != `{"type":"kill","n":100}` {
		t.Errorf("the eighth is %q", got)
	}
	if got := limited(); got != "end: <nil>" {
		t.Errorf("after the limit: %q", got)
	}
	go l.stop()
	if got := next(); got != `{"type":"kill","n":100}` {
		t.Errorf("got %q", got)
	}
	if got := next(); got != `{"type":"kill","n":101}` {
		t.Errorf("got %q", got)
	}
	if got := next(); got != "end: <nil>" {
		t.Errorf("at the stop: %q", got)
	}
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}

// container makes a container line of a snapshot.
func container(snapshot, at, id, name, class, verdict string, rank int) string {
	return fmt.Sprintf(`{"type":"container","time":%q,"host":"vm","snapshot":%q,"id":%q,"memory_kb":2048,"memory_percent":1.5,"cpu_ns":5000000000,`+
		`"cpu_percent":12.5,"processes":3,"name":%q,"image":"img","labels":{"a":"b"},"created":"2026-11-21T10:00:00Z","class":%q,"verdict":%q,"rank":%d,"reason":"because %s"}`,
		at, snapshot, id, name, class, verdict, rank, verdict) + "\n"
}

func hostLine(snapshot, at string, containers int) string {
	return fmt.Sprintf(`{"type":"host","time":%q,"host":"vm","snapshot":%q,"source":"cgroup2","containers":%d,"cpus":2,"interval_ms":500,"total_memory_kb":1000000,`+
		`"free_memory_kb":400000,"used_memory_kb":600000,"available_memory_kb":500000,"cpu_pressure_percent":2.5,"memory_pressure_percent":null,"io_pressure_percent":0}`,
		at, snapshot, containers) + "\n"
}

// twoSnapshots is a small log: web is condemned in the second snapshot, and
// killed.
func twoSnapshots() string {
	return hostLine("s1", "2026-11-21T11:59:30Z", 2) +
		container("s1", "2026-11-21T11:59:30Z", "aaaa11112222", "web", "low", "keep", 1) +
		container("s1", "2026-11-21T11:59:30Z", "bbbb11112222", "db", "low", "keep", 2) +
		hostLine("s2", "2026-11-21T11:59:40Z", 3) +
		container("s2", "2026-11-21T11:59:40Z", "aaaa11112222", "web", "high", "kill", 2) +
		container("s2", "2026-11-21T11:59:40Z", "bbbb11112222", "db", "high", "keep", 1) +
		container("s2", "2026-11-21T11:59:40Z", "cccc11112222", "other", "low", "keep", 1) +
		`{"type":"kill","time":"2026-11-21T11:59:41Z","host":"vm","snapshot":"s2","id":"aaaa11112222","name":"web","image":"img","class":"high",` +
		`"reason":"because kill","result":"killed","signal":"SIGTERM","took_ms":120,"error":""}` + "\n"
}

func TestWhy(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", container("s0", "2026-11-20T11:59:30Z", "dddd11112222", "web", "low", "keep", 1))
	l.mustPost(t, "", twoSnapshots())
	for _, name := range []string{"web", "aaaa11112222", "aaaa"} {
		status, text := l.get(t, "/why/"+name)
		var st story
		if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 {
			t.Fatalf("%s: status %d, %s: %v", name, status, text, err)
		}
		if st.ID != "aaaa11112222" || st.Name != "web" || st.Image != "img" || st.Host != "vm" || st.Labels["a"] != "b" || st.Count != 2 || len(st.Samples) != 2 {
			t.Errorf("%s: %s", name, text)
		}
		if s := st.Samples[1]; s.Verdict != "kill" || s.Reason != "because kill" || s.Class != "high" || s.Rank != 2 {
			t.Errorf("%s: the second sample is %+v", name, s)
		}
		if len(st.Considered) != 3 || st.Considered[1].Name != "db" || st.Considered[1].Verdict != "keep" {
			t.Errorf("%s: considered %+v", name, st.Considered)
		}
		if st.End == nil || st.End.Signal != "SIGTERM" || len(st.Kills) != 1 {
			t.Errorf("%s: its end is %+v", name, st.End)
		}
		if fmt.Sprint(st.Others) != "[dddd11112222]" {
			t.Errorf("%s: others are %v", name, st.Others)
		}
	}
	for _, name := range []string{"nobody", "ffff", "%22%3E", "..%2f..%2fetc"} {
		if status, text := l.get(t, "/why/"+name); status != 404 || !strings.Contains(text, `{"error"`) {
			t.Errorf("%s: status %d, %s", name, status, text)
		}
	}
}

// What is asked for is a whole id, or else an exact name, or else an id's
// beginning.
// The clock went back after it was created.
func TestWhyOfAContainerThatIsYetToBeCreated(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", strings.ReplaceAll(twoSnapshots(), `"created":"2026-11-21T10:00:00Z"`, `"created":"2026-11-21T13:00:00Z"`))
	if status, text := l.get(t, "/why/db"); status != 200 || !strings.Contains(text, `"sample_count":2`) {
		t.Errorf("status %d, %s", status, text)
	}
}

func TestWhyWhich(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	long := strings.Repeat("beef", 16)
	for i, c := range [][2]string{
		{"aaaa11112222", "cafe"}, {"cafe11112222", "other"}, // a name like the beginning of another's id
		{long, "victim"}, {"bbbb11112222", long}, {"cccc11112222", "aaaa11112222"}, // names that are others' ids
		{"dddd11112222", "100%"}, {"eeee11112222", "a%20b"}, {"ffff11112222", "a b"}, {"9999", "short"},
	} {
		l.mustPost(t, "", container("s", noon.Add(time.Duration(i)*time.Second).Format(time.RFC3339), c[0], c[1], "low", "keep", 1))
	}
	for asked, want := range map[string]string{
		"cafe": "aaaa11112222", "cafe1": "cafe11112222", "cafe11112222": "cafe11112222", long: long, "beefbeef": long, "aaaa11112222": "aaaa11112222",
		"100%25": "dddd11112222", "a%2520b": "eeee11112222", "a%20b": "ffff11112222", "9999": "9999",
	} {
		status, text := l.get(t, "/why/"+asked)
		var st story
		if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 || st.ID != want {
			t.Errorf("%s: status %d, %.60s, want %s", asked, status, text, want)
		}
	}
}

// A client of HTTP/1.0 knows no chunks.
func TestHTTP10(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	body := bigDay(noon, 2000) // over many chunks
	l.mustPost(t, "", body)
	for _, test := range []struct{ request, want string }{
		{"GET /logs HTTP/1.0", body}, {"GET /logs?follow=1&limit=2000 HTTP/1.0", body}, {"GET /logs HTTP/1.0\r\nConnection: keep-alive", body},
		{"HEAD /logs HTTP/1.0", ""}, {"GET /healthz HTTP/1.0", "{\"status\":\"ok\"}\n"},
	} {
		conn, err := net.Dial("tcp", l.addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, test.request+"\r\nHost: localhost\r\n\r\n")
		answer, err := io.ReadAll(conn)
		head, got, _ := strings.Cut(string(answer), "\r\n\r\n")
		if err != nil || got != test.want || !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.Contains(head, "\r\nConnection: close") || strings.Contains(head, "chunked") {
			t.Errorf("%s: %v, %s, a body of %d bytes, want %d", test.request, err, head, len(got), len(test.want))
		}
	}
	eventually(t, "all streams have ended", func() bool { return l.streams.Load() == 0 })
	eventually(t, "all connections have ended", func() bool { return l.conns.Load() <= 1 })
}

// A body that breaks off is not taken for whole: there is no last chunk, or,
// for a client of HTTP/1.0, there is a reset.
func TestABodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	said := new(messages)
	s := newServer(time.Now, said.warn)
	l, err := listen("127.0.0.1:0", "", "")
	if err != nil {
		t.Fatal(err)
	}
	broken := &fasthttp.Server{Logger: quiet{}, Handler: func(ctx *fasthttp.RequestCtx) {
		s.stream(ctx, "text/plain", false, func(w *bufio.Writer) error {
			w.WriteString("half of it")
			if string(ctx.Path()) == "/panic" {
				panic("broke")
			}
			return errors.Join(w.Flush(), errors.New("broke"))
		})
	}}
	go broken.Serve(l)
	defer broken.Shutdown()
	for _, version := range []string{"1.0", "1.1"} {
		for _, path := range []string{"/", "/panic"} {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(conn, "GET "+path+" HTTP/"+version+"\r\nHost: localhost\r\n\r\n")
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				_, err = io.ReadAll(response.Body)
			}
			if err == nil {
				t.Errorf("HTTP/%s, %s: taken for whole", version, path)
			}
		}
	}
	eventually(t, "all streams have ended", func() bool { return s.streams.Load() == 0 })
	if got := strings.Count(said.String(), "broke"); got != 4 {
		t.Errorf("said %s", said)
	}
}

func TestWhyOfAContainerThatLivedLong(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	var b strings.Builder
	for i := range 5000 {
		verdict := "keep"
		if i == 2500 {
			verdict = "warn"
		}
		b.WriteString(container(fmt.Sprint("s", i), noon.Add(time.Duration(i-5000)*time.Second).Format(time.RFC3339), "aaaa11112222", "web", "low", verdict, 1))
	}
	l.mustPost(t, "", b.String())
	_, text := l.get(t, "/why/web")
	var st story
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatal(err)
	}
	warned := 0
	for _, s := range st.Samples {
		if s.Verdict == "warn" {
			warned++
		}
	}
	if st.Count != 5000 || len(st.Samples) > 2*maxSamples || len(st.Samples) < maxSamples/2 || warned != 1 {
		t.Errorf("%d samples of %d, %d warned", len(st.Samples), st.Count, warned)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.Name() != ".logd" {
			names = append(names, entry.Name())
		}
	}
	return names
}

// bigDay is lines over some blocks, from 00:00 on, one a second.
func bigDay(day time.Time, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"type":"container","time":%q,"id":"%04d","pad":%q}`+"\n", day.Add(time.Duration(i)*time.Second).Format(time.RFC3339), i, strings.Repeat("p", 200))
	}
	return b.String()
}

func TestClosedDaysAreCompressedAndStayQueryable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := startLog(t, dir)
	day := noon.Truncate(24 * time.Hour)
	for i := range 8 {
		l.mustPost(t, fmt.Sprint("b", i), bigDay(day.Add(time.Duration(i)*1000*time.Second), 1000))
	}
	l.clock.add(24 * time.Hour)
	l.mustPost(t, "", `{"type":"host","n":1}`)
	queries := []string{"", "order=desc", "id=0400", "since=2026-11-21T01:00:00Z&until=2026-11-21T01:00:10Z", "order=desc&limit=3", "type=commit"}
	var before []string
	for _, q := range queries {
		before = append(before, l.find(t, q))
	}
	if before[5] != "" || strings.Contains(before[0], `"type":"commit"`) {
		t.Errorf("answers commits: %q", before[5])
	}
	for _, when := range []string{"compressed", "started again"} {
		l.stop()
		l = startLog(t, dir, func(s *server) { s.options.Compress = true })
		l.clock.add(24 * time.Hour)
		eventually(t, "the day is compressed", func() bool { return fmt.Sprint(names(t, dir)) == "[2026-11-21.jsonl.zst 2026-11-22.jsonl]" })
		for i, q := range queries {
			if got := l.find(t, q); got != before[i] {
				t.Errorf("%s: %q has %d bytes, not %d", when, q, len(got), len(before[i]))
			}
		}
		if _, a := l.post(t, "b0", `{}`); !a.Duplicate {
			t.Errorf("%s: the batch is not known", when)
		}
	}
}

// TestAClientThatLeaves is none of logd's errors, whatever it asked for.
func TestAClientThatLeaves(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for range 5 {
		l.mustPost(t, "", bigDay(noon, 20_000)) // more than the sockets take
	}
	for _, query := range []string{"", "?type=container", "?order=desc"} {
		response, err := http.Get(l.url + "/logs" + query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(response.Body, make([]byte, 1000)); err != nil {
			t.Errorf("%q: %v", query, err)
		}
		response.Body.Close()
	}
	eventually(t, "all streams have ended", func() bool { return l.streams.Load() == 0 })
	if said := l.said.String(); said != "" {
		t.Errorf("said %s", said)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir(), func(s *server) { s.options.token = []byte("0123456789abcdef") })
	for _, test := range []struct {
		header string
		want   int
	}{
		{"", 401}, {"Bearer ", 401}, {"Bearer 0123456789abcdeX", 401}, {"Bearer 0123456789abcdef0", 401}, {"Digest 0123456789abcdef", 401},
		{"Basic !", 401}, {"Basic eDowMTIz", 401}, {"Bearer 0123456789abcdef", 200}, {"Basic d2lubm93OjAxMjM0NTY3ODlhYmNkZWY=", 200},
	} {
		for _, path := range []string{"/", "/logs", "/metrics", "/why/x", "/healthz"} {
			request, _ := http.NewRequest(http.MethodGet, l.url+path, nil)
			if test.header != "" {
				request.Header.Set("Authorization", test.header)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			want := test.want
			switch {
			case path == "/healthz":
				want = 200
			case want == 200 && path == "/why/x":
				want = 404
			}
			if response.StatusCode != want {
				t.Errorf("%q for %s: status %d, want %d", test.header, path, response.StatusCode, want)
			}
		}
	}
}

func TestPagesOfOthersAreKeptOut(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	for _, test := range []struct {
		name, header, value string
		want                int
	}{
		{"another page", "Origin", "http://evil.example", 403}, {"its own page", "Origin", l.url, 200},
		{"a name rebound", "Host", "evil.example:7070", 421}, {"localhost", "Host", "localhost:7070", 200}, {"IPv6", "Host", "[::1]:7070", 200},
		{"no page", "X-None", "", 200},
	} {
		request, _ := http.NewRequest(http.MethodPost, l.url+"/logs", strings.NewReader("{}"))
		request.Header.Set(test.header, test.value)
		if test.header == "Host" {
			request.Host = test.value
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: status %d, want %d", test.name, response.StatusCode, test.want)
		}
	}
	for _, path := range []string{"/", "/why/x", "/logs", "/nope", "/page/live.js", "/charts/memory.svg", "/events"} {
		response, err := http.Get(l.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if csp := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("%s: the policy is %q", path, csp)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listen("127.0.0.1:0", cert, ""); err == nil {
		t.Error("took a certificate without its key")
	}
	listener, err := listen("127.0.0.1:0", cert, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(time.Now, new(messages).warn)
	s.options.Dir = dir
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.serve(ctx, listener) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	client := &http.Client{Transport: transport}
	response, err := client.Get("https://" + listener.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	transport.CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPanicIsAnsweredAndLived(t *testing.T) {
	t.Parallel()
	var on atomic.Bool
	l := startLog(t, t.TempDir(), func(s *server) {
		s.now = func() time.Time {
			if on.Load() {
				panic("no idea")
			}
			return noon
		}
	})
	on.Store(true)
	if status, text := l.get(t, "/logs"); status != 500 || strings.Contains(text, "no idea") {
		t.Errorf("status %d, %s", status, text)
	}
	on.Store(false)
	if status, _ := l.get(t, "/logs"); status != 200 {
		t.Errorf("after a panic: status %d", status)
	}
	if !strings.Contains(l.said.String(), "panic: no idea") || l.panics.Load() != 1 {
		t.Errorf("said %q of %d panics", l.said, l.panics.Load())
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "x", twoSnapshots())
	l.post(t, "x", twoSnapshots())
	l.post(t, "", "garbage\n")
	l.mustPost(t, "", container("s2", "2026-11-21T11:59:40Z", "eeee", `ev"il`+"\n\\", "low", "keep", 1))
	var text string
	wanted := []string{
		"winnow_logd_lines_total 9\n", "winnow_logd_duplicate_batches_total 1\n", "winnow_logd_refused_lines_total 1\n",
		`winnow_kills_total{class="high",result="killed"} 1` + "\n", "winnow_logd_write_seconds_count 2\n", `winnow_logd_write_seconds_bucket{le="+Inf"} 2` + "\n",
		`winnow_host_memory_bytes{host="vm",state="total"} 1.024e+09`, `winnow_host_pressure_ratio{host="vm",resource="cpu"} 0.025`,
		`winnow_container_memory_bytes{host="vm",id="bbbb11112222",name="db",image="img",class="high"} 2.097152e+06`,
		`winnow_container_cpu_cores{host="vm",id="bbbb11112222",name="db",image="img",class="high"} 0.125`,
		`winnow_host_containers{host="vm",class="low",verdict="keep"} 1`, "winnow_logd_stored_bytes ", "winnow_logd_disk_free_bytes ",
	}
	defer func() {
		if t.Failed() {
			t.Log(text)
		}
	}()
	missing := func(want string) bool { return !strings.Contains(text, want) }
	eventually(t, "metrics have "+strings.Join(wanted, ", "), func() bool {
		_, text = l.get(t, "/metrics")
		return !slices.ContainsFunc(wanted, missing)
	})
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "winnow_") {
			t.Errorf("a line is %q", line)
		}
	}
	l.clock.add(time.Hour)
	if _, text := l.get(t, "/metrics"); strings.Contains(text, "winnow_host_memory_bytes{") {
		t.Error("still has figures of a host that is silent")
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", twoSnapshots())
	next, _ := follow(t, l.url+"/events")
	var state struct {
		Hosts      []string
		Shown      string
		Containers []record.Container
		Kills      []record.Kill
	}
	for len(state.Containers) != 3 || len(state.Kills) != 1 {
		text := next()
		if strings.HasPrefix(text, "end:") {
			t.Fatalf("%s; last %+v", text, state)
		}
		if data, ok := strings.CutPrefix(text, "data: {"); ok {
			if err := json.Unmarshal([]byte("{"+data), &state); err != nil {
				t.Fatal(err)
			}
		}
	}
	if state.Shown != "vm" || state.Kills[0].Name != "web" || state.Containers[0].Verdict != "kill" {
		t.Errorf("%+v", state)
	}
	// What comes late does not replace what is newer.
	l.mustPost(t, "", hostLine("s0", "2026-11-21T09:00:00Z", 0))
	l.mustPost(t, "", hostLine("s3", "2026-11-21T11:59:50Z", 1)+container("s3", "2026-11-21T11:59:50Z", "bbbb11112222", "db", "low", "keep", 1))
	for len(state.Containers) != 1 {
		text := next()
		if strings.HasPrefix(text, "end:") {
			t.Fatalf("%s; last %+v", text, state)
		}
		if data, ok := strings.CutPrefix(text, "data: {"); ok {
			json.Unmarshal([]byte("{"+data), &state)
			if len(state.Containers) == 0 {
				t.Error("shows the late snapshot")
			}
		}
	}
}

// TestADayThatCannotBeReadKeepsNoOtherBack has a compressed day with a hole: what
// follows it is answered, and then the answer breaks off; a follower follows.
func TestADayThatCannotBeReadKeepsNoOtherBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "2026-11-20.jsonl.zst"), []byte("no zstd"), 0o640); err != nil {
		t.Fatal(err)
	}
	l := startLog(t, dir)
	l.mustPost(t, "", container("s", "2026-11-21T11:59:40Z", "aaaa", "web", "low", "keep", 1))
	response, err := http.Get(l.url + "/logs")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err == nil || strings.Count(string(text), `"name":"web"`) != 1 {
		t.Errorf("answers %q, and ends with %v", text, err)
	}
	for path, want := range map[string]int{"/why/web": 200, "/why/nobody": 404, "/charts/memory.svg?since=30d": 200} {
		if status, text := l.get(t, path); status != want {
			t.Errorf("%s: status %d, %s", path, status, text)
		}
	}
	next, _ := follow(t, l.url+"/logs?follow=1")
	if line := next(); !strings.Contains(line, `"name":"web"`) {
		t.Errorf("a follower gets %q", line)
	}
	l.mustPost(t, "", `{"n":2}`)
	if line := next(); line != `{"n":2}` {
		t.Errorf("then a follower gets %q", line)
	}
}
