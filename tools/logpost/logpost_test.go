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
	lose    int // answers that get lost after the batch was stored
	headers http.Header
}

func newFakeStore(t *testing.T) *fakeStore {
	t.Helper()
	f := &fakeStore{seen: make(map[string]bool)}
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
	if !f.seen[id] {
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
	json.NewEncoder(w).Encode(map[string]any{"stored": stored, "refused": refused, "duplicate": false})
}

func (f *fakeStore) set(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
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
	var out, errs bytes.Buffer
	err = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), err
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
	if store.posts != 3 {
		t.Errorf("%d posts for 2500 lines", store.posts)
	}
	if id := store.headers.Get("Winnow-Batch"); !strings.HasSuffix(id, "-3") {
		t.Errorf("the third batch is called %q", id)
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
	for _, args := range [][]string{{}, {"--to", "127.0.0.1:7070"}, {"--to", "ftp://x"}, {"--nope"}, {"--to", "http://x", "y"},
		{"--to", "http://x", "--timeout", "0"}} {
		_, _, err := post(t, "", args...)
		var usage interface{ Unwrap() error }
		if err == nil || !errors.As(err, &usage) {
			t.Errorf("%v: %v", args, err)
		}
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
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := post(t, records(1, 1), "--to", store.URL, "--token-file", file); err != nil {
		t.Fatal(err)
	}
	if got := store.headers.Get("Authorization"); got != "Bearer s3cret" {
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
	// One that never was in the spool is set aside too.
	if _, _, err := post(t, records(2, 1), args...); err == nil {
		t.Error("exit status 0")
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*"+refusedExt)); len(aside) != 2 {
		t.Errorf("set aside: %v", aside)
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
	args := []string{"--to", store.URL, "--spool", dir, "--spool-max", "60kB"}
	store.set(http.StatusServiceUnavailable)
	in := records(1, 3000)
	out, errs, err := post(t, in, args...)
	if err == nil || !strings.Contains(errs, "1000 lines were not delivered") || !strings.Contains(errs, "the spool is full") {
		t.Errorf("%v, said %q", err, errs)
	}
	if out != in {
		t.Error("not all was passed on")
	}
	store.set(0)
	post(t, "", args...)
	if want := split(records(1, 2000)); !reflect.DeepEqual(store.got(), want) {
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
	done := make(chan error)
	var out, errs bytes.Buffer
	go func() { done <- run(t.Context(), []string{"--to", store.URL}, r, &out, &errs) }()
	io.WriteString(w, records(1, 1))
	for start := time.Now(); len(store.got()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("was not delivered while the stream was open")
		}
	}
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestStoreThatComesBackWithinTheRun(t *testing.T) {
	store := newFakeStore(t)
	store.set(http.StatusServiceUnavailable)
	r, w := io.Pipe()
	done := make(chan error)
	var out, errs bytes.Buffer
	go func() {
		done <- run(t.Context(), []string{"--to", store.URL, "--spool", t.TempDir()}, r, &out, &errs)
	}()
	io.WriteString(w, records(1, 1001))
	time.Sleep(50 * time.Millisecond)
	store.set(0)
	for start := time.Now(); len(store.got()) < 1001; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("got %d lines", len(store.got()))
		}
	}
	io.WriteString(w, records(1002, 1))
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
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
			done := make(chan error)
			var out, errs bytes.Buffer
			dir := t.TempDir()
			go func() { done <- run(ctx, []string{"--to", store.URL, "--spool", dir}, r, &out, &errs) }()
			io.WriteString(w, records(1, 700))
			io.WriteString(w, records(701, 700))
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			passed := split(out.String())
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
	if err == nil || !strings.Contains(errs.String(), "stdout: broken pipe") {
		t.Errorf("%v, said %q", err, errs.String())
	}
	if len(store.got()) != 5000 {
		t.Errorf("stored %d", len(store.got()))
	}
}
