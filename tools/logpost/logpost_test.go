package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/full"
)

// fakeStore answers as logd does, unless status says otherwise.
type fakeStore struct {
	*httptest.Server
	mu      sync.Mutex
	status  int // 0 is OK
	refuse  string
	seen    map[string]bool
	lines   []string
	posts   int
	sent    map[string]int // how often a batch came, by its id
	bodies  []string
	lose    int // answers that get lost after the batch was stored
	headers http.Header
}

func newFakeStore(t *testing.T) *fakeStore {
	t.Helper()
	f := &fakeStore{seen: make(map[string]bool), sent: make(map[string]int)}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts++
	f.headers = r.Header
	f.bodies = append(f.bodies, string(body))
	f.sent[r.Header.Get("Winnow-Batch")]++
	if f.status != 0 {
		w.WriteHeader(f.status)
		fmt.Fprint(w, `{"error":"so it was told"}`)
		return
	}
	type refusal struct {
		Line  int    `json:"line"`
		Error string `json:"error"`
	}
	stored, refused := 0, []refusal{}
	id := r.Header.Get("Winnow-Batch")
	duplicate := f.seen[id]
	if !duplicate {
		f.seen[id] = true
		for i, line := range strings.Split(strings.TrimSuffix(string(body), "\n"), "\n") {
			if f.refuse != "" && strings.Contains(line, f.refuse) {
				refused = append(refused, refusal{i + 1, "no good"})
				continue
			}
			stored++
			f.lines = append(f.lines, line)
		}
	}
	if f.lose > 0 {
		f.lose--
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(map[string]any{"stored": stored, "refused": refused, "duplicate": duplicate})
}

func (f *fakeStore) set(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

func (f *fakeStore) came() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.posts
}

func (f *fakeStore) got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.lines...)
}

// records are n lines that begin with their number from first on.
func records(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"n":%d,"type":"container"}`+"\n", first+i)
	}
	return b.String()
}

func split(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

func post(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return begin(t, t.Context(), strings.NewReader(stdin), args...).end(t)
}

// call is a logpost under way.
type call struct {
	out, errs bytes.Buffer
	done      chan error
}

func begin(t *testing.T, ctx context.Context, stdin io.Reader, args ...string) *call {
	c := &call{done: make(chan error, 1)}
	go func() { c.done <- run(ctx, args, stdin, &c.out, &c.errs) }()
	return c
}

// tooLong is when a test gives up.
const tooLong = 30 * time.Second

var errHangs = errors.New("does not end")

func (c *call) end(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	select {
	case err := <-c.done:
		return c.out.String(), c.errs.String(), err
	case <-time.After(tooLong):
		t.Error(errHangs)
		return "", "", errHangs
	}
}

// until waits for what is to come true.
func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	for begun := time.Now(); !true(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > tooLong {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// files are those of a spool with this extension.
func files(t *testing.T, dir, ext string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// textOf is what those files hold.
func textOf(t *testing.T, dir, ext string) string {
	t.Helper()
	var all strings.Builder
	for _, file := range files(t, dir, ext) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func TestDelivers(t *testing.T) {
	store := newFakeStore(t)
	in := records(1, 2500)
	out, errs, err := post(t, in, "--to", store.URL)
	if err != nil || errs != "" {
		t.Fatalf("%v, said %q", err, errs)
	}
	if out != in {
		t.Error("stdout is not what came in")
	}
	if !reflect.DeepEqual(store.got(), split(in)) {
		t.Errorf("the store got %d lines", len(store.got()))
	}
	if store.posts < 3 || store.posts > 25 { // on a slow host a batch goes before it is full
		t.Errorf("%d posts for 2500 lines", store.posts)
	}
	if id := store.headers.Get("Winnow-Batch"); !strings.HasSuffix(id, fmt.Sprintf("-%d", store.posts)) {
		t.Errorf("batch %d is called %q", store.posts, id)
	}
}

func TestBadInputIsReportedAndPassedOver(t *testing.T) {
	store := newFakeStore(t)
	long := `{"long":"` + strings.Repeat("x", 2<<20) + `"}`
	in := "{\"n\":1}\ngarbage\n\n{\"n\":2}\r\n{\"a\":1,\"a\":2}\n{\"x\":\"\xff\"}\n" + long + "\n{\"n\":3"
	out, errs, err := post(t, in, "--to", store.URL)
	if err == nil {
		t.Error("exit status 0")
	}
	want := []string{`{"n":1}`, `{"n":2}`, long}
	if !reflect.DeepEqual(store.got(), want) || !reflect.DeepEqual(split(out), want) {
		t.Errorf("stored %.80q, passed on %.80q", store.got(), out)
	}
	for _, n := range []int{2, 5, 6, 8} {
		if !strings.Contains(errs, fmt.Sprintf("line %d: ", n)) {
			t.Errorf("line %d is not reported: %s", n, errs)
		}
	}
}

func TestNoInput(t *testing.T) {
	store := newFakeStore(t)
	if out, errs, err := post(t, "", "--to", store.URL); err != nil || out != "" || errs != "" || store.posts != 0 {
		t.Errorf("%v, %q, %q, %d posts", err, out, errs, store.posts)
	}
}

func TestUsage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	to := func(url string) []string { return []string{"--to", url, "--spool", dir} }
	good := func(args ...string) []string { return append([]string{"--to", "http://127.0.0.1:1"}, args...) }
	tests := []struct {
		args []string
		want string
	}{
		{nil, "--to: say where the log store is"},
		{to("127.0.0.1:7070"), `--to: not a URL such as http://127.0.0.1:7070: "127.0.0.1:7070"`},
		{to("localhost:7070"), "--to: not a URL"},
		{to("ftp://x"), "--to: not a URL"},
		{to("http://[::1"), "--to: not a URL"},
		{to("http://a b"), "--to: not a URL"},
		{to("http://x:y"), "--to: not a URL"},
		{to("http://x:-1"), "--to: not a URL"},
		{to("http://x:0"), "--to: not a port from 1 to 65535: 0"},
		{to("http://x:00/logs"), "--to: not a port from 1 to 65535: 00"},
		{to("http://x:65536"), "--to: not a port from 1 to 65535: 65536"},
		{to("https://127.0.0.1:99999"), "--to: not a port from 1 to 65535: 99999"},
		{to("http://x:99999999999999999999"), "--to: not a port"},
		{to("http://"), `--to: not a host: ""`},
		{to("http://:7070"), `--to: not a host: ""`},
		{to("http://a..b"), `--to: not a host: "a..b"`},
		{to("http://256.1.1.1"), `--to: not a host: "256.1.1.1"`},
		{to("http://127.1"), `--to: not a host: "127.1"`},
		{to("http://-a"), `--to: not a host: "-a"`},
		{to("http://" + strings.Repeat("a", 64)), "--to: not a host"},
		{to("http://" + strings.Repeat("a.", 130)), "--to: not a host"},
		{to("http://winnow:secret@x"), "--to: a user or password in the URL is of no use"},
		{good("--nope"), "unknown flag: --nope"},
		{good("y"), `unexpected argument: "y"`},
		{good("--timeout", "0"), "--timeout: not a time to wait: 0s"},
		{good("--timeout", "-5s"), "--timeout: not a time to wait: -5s"},
		{good("--timeout", "5"), `--timeout: not a time such as 10s or 1m30s: "5"`},
		{good("--timeout", "abc"), "--timeout: not a time such as"},
		{good("--spool-max", "0"), "--spool-max: 0 keeps nothing"},
		{good("--spool-max", "abc"), `--spool-max: not a size such as 64MB: "abc"`},
		{good("--spool-max", "-5"), "--spool-max: not a size such as"},
		{good("--spool-max", ""), "--spool-max: not a size such as"},
	}
	for _, test := range tests {
		out, _, err := post(t, records(1, 1), test.args...)
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), test.want) || out != "" {
			t.Errorf("%q: %v, passed on %q", test.args, err, out)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("made a spool")
	}
}

func TestHostsThatMayBe(t *testing.T) {
	for _, text := range []string{"http://x", "http://localhost:", "https://logs.example.org:443/winnow/", "http://a.b.", "http://h_1:65535", "http://h:1",
		"http://127.0.0.1:7070", "http://[::1]:7070", "http://[fe80::1%25eth0]:80", "http://münchen.example", "http://1.2.3.example", "http://3com"} {
		if _, err := parseURL(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if to, err := parseURL("http://h/winnow/"); err != nil || to.String() != "http://h/winnow/logs" {
		t.Errorf("%v, %v", to, err)
	}
}

func TestRefusedLinesAreNamedByTheirNumberInTheInput(t *testing.T) {
	store := newFakeStore(t)
	store.refuse = `"n":3`
	_, errs, err := post(t, "bad\n"+records(1, 4), "--to", store.URL)
	if err == nil || !strings.Contains(errs, "line 4 was refused: no good") {
		t.Errorf("%v, said %q", err, errs)
	}
	if len(store.got()) != 3 {
		t.Errorf("stored %d", len(store.got()))
	}
}

func TestWithoutSpoolAStoreThatIsDownFails(t *testing.T) {
	in := records(1, 3)
	out, errs, err := post(t, in, "--to", "http://127.0.0.1:1")
	if err == nil || out != in || !strings.Contains(errs, "3 lines were not delivered") {
		t.Errorf("%v, passed on %q, said %q", err, out, errs)
	}
}

func TestToken(t *testing.T) {
	store := newFakeStore(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("s3cret-of-the-store\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := post(t, records(1, 1), "--to", store.URL, "--token-file", file); err != nil {
		t.Fatal(err)
	}
	if got := store.headers.Get("Authorization"); got != "Bearer s3cret-of-the-store" {
		t.Errorf("sent %q", got)
	}
}

func TestSpoolGoesFirstAndInOrder(t *testing.T) {
	store := newFakeStore(t)
	dir := filepath.Join(t.TempDir(), "made", "spool")
	args := []string{"--to", store.URL, "--spool", dir}
	store.set(http.StatusServiceUnavailable)
	for i := range 2 {
		out, errs, err := post(t, records(1+i*2500, 2500), args...)
		if err != nil || !strings.Contains(errs, "2500 lines of this call wait") {
			t.Fatalf("%v, said %q", err, errs)
		}
		if len(split(out)) != 2500 {
			t.Errorf("passed on %d lines", len(split(out)))
		}
	}
	store.set(0)
	if _, errs, err := post(t, records(5001, 10), args...); err != nil || errs != "" {
		t.Fatalf("%v, said %q", err, errs)
	}
	if want := split(records(1, 5010)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("the store got %d lines, not the %d in their order", len(store.got()), len(want))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*_*")); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
}

func TestLostAnswerIsStoredOnce(t *testing.T) {
	store := newFakeStore(t)
	store.lose = 2
	args := []string{"--to", store.URL, "--spool", t.TempDir()}
	for i := range 4 {
		if _, _, err := post(t, records(1+i, 1), args...); err != nil {
			t.Fatal(err)
		}
	}
	if want := split(records(1, 4)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %v", store.got())
	}
}

func TestSilentStoreIsNotWaitedForTwice(t *testing.T) {
	stop := make(chan struct{})
	var posts atomic.Int32
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posts.Add(1); <-stop }))
	defer silent.Close()
	defer close(stop)
	dir := t.TempDir()
	_, errs, err := post(t, records(1, 5000), "--to", silent.URL, "--spool", dir, "--timeout", "100ms")
	if err != nil || !strings.Contains(errs, "gave no answer for 100ms; 5000 lines of this call wait") {
		t.Errorf("%v, said %q", err, errs)
	}
	if posts.Load() != 1 {
		t.Errorf("tried %d times", posts.Load())
	}
}

func TestPoisonDoesNotBlockTheSpool(t *testing.T) {
	store := newFakeStore(t)
	dir := t.TempDir()
	args := []string{"--to", store.URL, "--spool", dir}
	store.set(http.StatusServiceUnavailable)
	post(t, records(1, 1), args...)
	store.set(http.StatusBadRequest)
	_, errs, err := post(t, "", args...)
	if err == nil || !strings.Contains(errs, "was refused") || !strings.Contains(errs, "so it was told") {
		t.Errorf("%v, said %q", err, errs)
	}
	if aside := files(t, dir, refusedExt); len(aside) != 1 || !strings.Contains(errs, aside[0]) {
		t.Errorf("set aside %v, said %q", aside, errs)
	}
	// One that never was in the spool is set aside too.
	_, errs, err = post(t, records(2, 1), args...)
	if aside := files(t, dir, refusedExt); err == nil || len(aside) != 2 || !strings.Contains(errs, aside[1]) {
		t.Errorf("%v, set aside %v, said %q", err, aside, errs)
	}
	if aside := textOf(t, dir, refusedExt); aside != records(1, 2) {
		t.Errorf("set aside: %q", aside)
	}
	store.set(0)
	if _, errs, err := post(t, records(3, 1), args...); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(3, 1)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %v", store.got())
	}
}

func TestWrongTokenIsMended(t *testing.T) {
	store := newFakeStore(t)
	args := []string{"--to", store.URL, "--spool", t.TempDir()}
	store.set(http.StatusUnauthorized)
	if _, _, err := post(t, records(1, 1), args...); err != nil {
		t.Error(err)
	}
	store.set(0)
	post(t, records(2, 1), args...)
	if want := split(records(1, 2)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %v", store.got())
	}
}

func TestAnotherServerIsNoStore(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer other.Close()
	_, errs, err := post(t, records(1, 1), "--to", other.URL)
	if err == nil || !strings.Contains(errs, "no log store") {
		t.Errorf("%v, said %q", err, errs)
	}
}

func TestSpoolIsBounded(t *testing.T) {
	dir := t.TempDir()
	store := newFakeStore(t)
	const bound = 60 << 10
	args := []string{"--to", store.URL, "--spool", dir, "--spool-max", "60kB"}
	store.set(http.StatusServiceUnavailable)
	in := records(1, 3000)
	out, errs, err := post(t, in, args...)
	kept := strings.Count(in[:bound], "\n") // as many as fit
	for _, want := range []string{fmt.Sprintf("%d lines of this call wait in %s", kept, dir), fmt.Sprintf("%d lines were not delivered", 3000-kept), "bytes are taken: the spool is full"} {
		if !strings.Contains(errs, want) {
			t.Errorf("does not say %q: %q", want, errs)
		}
	}
	if err == nil || out != in {
		t.Errorf("%v, passed on %d bytes", err, len(out))
	}
	if size := len(textOf(t, dir, waitingExt)); size > bound || size < bound-100 {
		t.Errorf("keeps %d bytes", size)
	}
	store.set(0)
	post(t, "", args...)
	if want := split(records(1, kept)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("the store got %d lines", len(store.got()))
	}
}

func TestFullDiskUnderTheSpool(t *testing.T) {
	full.Needs(t, "root")
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	spool := filepath.Join(dir, "spool")
	store := newFakeStore(t)
	args := []string{"--to", store.URL, "--spool", spool}
	store.set(http.StatusServiceUnavailable)
	in := records(1, 8000)
	out, errs, err := post(t, in, args...)
	if err == nil || !strings.Contains(errs, "no space left on device") || out != in {
		t.Errorf("%v, said %q, passed on %d bytes", err, errs, len(out))
	}
	store.set(0)
	if _, errs, err := post(t, records(8001, 1), args...); err != nil {
		t.Errorf("%v, said %q", err, errs)
	}
	got := store.got()
	kept := len(got) - 1
	if kept < 1000 || !reflect.DeepEqual(got[:kept], split(records(1, kept))) || got[kept] != split(records(8001, 1))[0] {
		t.Errorf("the store got %d lines, not a beginning of those spooled and the last", len(got))
	}
}

func TestTwoAtOnceOnASpool(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	args := []string{"--to", store.URL, "--spool", t.TempDir()}
	store.set(http.StatusServiceUnavailable)
	var down sync.WaitGroup
	for i := range 4 {
		down.Go(func() { post(t, records(i*10_000, 3000), args...) })
	}
	down.Wait()
	store.set(0)
	var up sync.WaitGroup
	for i := range 4 {
		up.Go(func() {
			if _, errs, err := post(t, records(i*10_000+3000, 3000), args...); err != nil {
				t.Errorf("%v, said %q", err, errs)
			}
		})
	}
	up.Wait()
	post(t, "", args...)
	next := make(map[int]int)
	for _, line := range store.got() {
		var n int
		fmt.Sscanf(line, `{"n":%d`, &n)
		if writer := n / 10_000 * 2; n%10_000 < 3000 && n%10_000 != next[writer] || n%10_000 >= 3000 && n%10_000 != next[writer+1]+3000 {
			t.Fatalf("%d came out of order", n)
		}
		next[n/10_000*2+n%10_000/3000]++
	}
	for run := range 8 {
		if next[run] != 3000 {
			t.Errorf("of run %d there are %d lines", run, next[run])
		}
	}
}

func TestLiveStreamIsDeliveredWithinASecond(t *testing.T) {
	store := newFakeStore(t)
	r, w := io.Pipe()
	c := begin(t, t.Context(), r, "--to", store.URL)
	io.WriteString(w, records(1, 1))
	until(t, "delivered while the stream is open", func() bool { return len(store.got()) == 1 })
	w.Close()
	if _, errs, err := c.end(t); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
}

// A line waits for others only so long, however often one more comes.
func TestSteadyStreamIsDelivered(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	r, w := io.Pipe()
	c := begin(t, t.Context(), r, "--to", store.URL)
	n := 1
	for ; n < maxLines && len(store.got()) == 0; n++ {
		io.WriteString(w, records(n, 1))
		time.Sleep(10 * time.Millisecond) // far less than a line waits
	}
	if n == maxLines {
		t.Error("nothing was delivered before a batch was full")
	}
	w.Close()
	if _, errs, err := c.end(t); err != nil || errs != "" || len(store.got()) != n-1 {
		t.Errorf("%v, said %q, stored %d of %d", err, errs, len(store.got()), n-1)
	}
}

func TestStoreThatComesBackWithinTheRun(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	store.set(http.StatusServiceUnavailable)
	r, w := io.Pipe()
	dir := t.TempDir()
	c := begin(t, t.Context(), r, "--to", store.URL, "--spool", dir)
	io.WriteString(w, records(1, 1001))
	until(t, "both batches are kept", func() bool { return len(files(t, dir, waitingExt)) == 2 })
	store.set(0)
	until(t, "they are delivered while the stream is open", func() bool { return len(store.got()) == 1001 })
	io.WriteString(w, records(1002, 1))
	w.Close()
	if _, errs, err := c.end(t); err != nil || errs != "logpost: 1001 lines kept in "+dir+": delivered\n" {
		t.Errorf("%v, said %q", err, errs)
	}
	if !reflect.DeepEqual(store.got(), split(records(1, 1002))) {
		t.Errorf("got %d lines, or out of order", len(store.got()))
	}
}

func TestStopDeliversWhatWasRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
	}{{"delivered", 0}, {"spooled", http.StatusServiceUnavailable}} {
		t.Run(test.name, func(t *testing.T) {
			store := newFakeStore(t)
			store.set(test.status)
			ctx, stop := context.WithCancel(t.Context())
			r, w := io.Pipe()
			defer w.Close()
			dir := t.TempDir()
			c := begin(t, ctx, r, "--to", store.URL, "--spool", dir)
			io.WriteString(w, records(1, 700))
			io.WriteString(w, records(701, 700))
			stop()
			out, _, err := c.end(t)
			if err != nil {
				t.Error(err)
			}
			passed := split(out)
			store.set(0)
			post(t, "", "--to", store.URL, "--spool", dir)
			if !reflect.DeepEqual(store.got(), passed) || len(passed) < 700 {
				t.Errorf("passed on %d lines, stored %d", len(passed), len(store.got()))
			}
		})
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestReaderOfStdoutGone(t *testing.T) {
	store := newFakeStore(t)
	var errs bytes.Buffer
	err := run(t.Context(), []string{"--to", store.URL}, strings.NewReader(records(1, 5000)), brokenPipe{}, &errs)
	if err == nil || errs.String() != "logpost: stdout: broken pipe\n" {
		t.Errorf("%v, said %q", err, errs.String())
	}
	if len(store.got()) != 5000 {
		t.Errorf("stored %d", len(store.got()))
	}
}
