package main

import (
	"bytes"
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
)

func newSpool(dir string, most cli.Size) *spool {
	return &spool{dir: dir, max: most, sync: (*os.File).Sync}
}

func newBatch(id, body string) *batch {
	b := &batch{id: id}
	for i, text := range split(body) {
		b.add(line{number: i + 1, text: text})
	}
	return b
}

// The body is on disk before it has its name, and the name, and those of new
// directories, before put returns.
func TestPutIsOnDiskWhenItReturns(t *testing.T) {
	root := t.TempDir()
	s := newSpool(filepath.Join(root, "made", "spool"), 1<<20)
	var synced []string
	s.sync = func(f *os.File) error {
		synced = append(synced, strings.TrimPrefix(f.Name(), root)+": "+holds(t, f.Name()))
		return f.Sync()
	}
	put := func(id string) {
		t.Helper()
		if _, kept, err := s.put(newBatch(id, records(1, 2)), waitingExt); err != nil || kept != 2 {
			t.Fatalf("kept %d, %v", kept, err)
		}
	}
	put("a")
	want := []string{": made", "/made: spool", "/made/spool/tmp: " + records(1, 2), "/made/spool: 000000000001_a.ndjson lock"}
	if !reflect.DeepEqual(synced, want) {
		t.Errorf("synced\n%q, want\n%q", synced, want)
	}
	synced = nil
	put("b")
	want = []string{"/made/spool/tmp: " + records(1, 2), "/made/spool: 000000000001_a.ndjson 000000000002_b.ndjson lock"}
	if !reflect.DeepEqual(synced, want) {
		t.Errorf("then synced\n%q, want\n%q", synced, want)
	}
	real := newDeliverer(nil, &options{spool: root}).spool.sync
	if reflect.ValueOf(real).Pointer() != reflect.ValueOf((*os.File).Sync).Pointer() {
		t.Error("logpost's own spool does not sync its files")
	}
}

// holds is the text of a file, or the names in a directory.
func holds(t *testing.T, path string) string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// A sync that fails is a line that is not kept, and said to be lost.
func TestSyncThatFails(t *testing.T) {
	for n := range 2 { // the file's, then the directory's
		var out, errs bytes.Buffer
		tool := cli.New("logpost", "", "", &errs)
		to, err := parseURL("http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		d := newDeliverer(tool, &options{to: to, spool: dir, spoolMax: 1 << 20, timeout: time.Second})
		calls := 0
		d.spool.sync = func(*os.File) error {
			if calls++; calls == n+1 {
				return syscall.EIO
			}
			return nil
		}
		d.run(t.Context(), newInput(strings.NewReader(records(1, 2)), &out))
		if tool.Done(nil) == nil || !strings.Contains(errs.String(), "2 lines were not delivered: input/output error") {
			t.Errorf("sync %d: said %q", n, errs.String())
		}
		if _, err := os.Stat(filepath.Join(dir, unfinished)); err == nil {
			t.Errorf("sync %d: leaves %s", n, unfinished)
		}
	}
}

func TestPutKeepsWhatThereIsRoomFor(t *testing.T) {
	line := func(n int) string { return strings.Repeat("x", n-1) + "\n" }
	for _, test := range []struct {
		name string
		max  cli.Size
		had  string
		body string
		want string
	}{
		{"all, to the byte", 100, line(40), line(30) + line(30), line(30) + line(30)},
		{"one byte too many", 99, line(40), line(30) + line(30), line(30)},
		{"nothing", 50, line(40), line(30) + line(30), ""},
		{"more is there than may be", 30, line(40), line(10), ""},
		{"in the middle a line too long", 100, "", line(30) + line(200) + line(40) + line(31) + line(30), line(30) + line(40) + line(30)},
		{"a refused one counts", 100, line(100), line(1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := newSpool(dir, test.max)
			if test.had != "" {
				writeFile(t, filepath.Join(dir, "1_had"+refusedExt), test.had)
			}
			path, kept, err := s.put(newBatch("b", test.body), waitingExt)
			if kept != strings.Count(test.want, "\n") || errors.Is(err, errNoRoom) != (test.want != test.body) {
				t.Errorf("kept %d, %v", kept, err)
			}
			if got := textOf(t, dir, waitingExt); got != test.want || (path == "") != (test.want == "") {
				t.Errorf("%q holds %q", path, got)
			}
		})
	}
}

// Once lines found no room, those after them that do are kept behind those
// before them, and what is lost is counted.
func TestOrderWithALossInBetween(t *testing.T) {
	store := newFakeStore(t)
	store.set(http.StatusServiceUnavailable)
	args := []string{"--to", store.URL, "--spool", t.TempDir(), "--spool-max", "100kB"}
	long := `{"long":"` + strings.Repeat("x", 90_000) + `"}` + "\n"
	in := records(1, 500) + long + records(501, 100) + long + records(601, 3)
	out, errs, err := post(t, in, args...)
	if err == nil || out != in || !strings.Contains(errs, "603 lines of this call wait") || !strings.Contains(errs, "2 lines were not delivered") {
		t.Errorf("%v, said %q", err, errs)
	}
	store.set(0)
	if _, errs, err := post(t, records(604, 1), args...); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(1, 604)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %d lines, or not in their order", len(store.got()))
	}
}

func TestRefusedBatchForWhichThereIsNoRoom(t *testing.T) {
	dir := t.TempDir()
	_, errs, err := post(t, records(1, 100), "--to", answering(t, 400, `{"error":"no good"}`), "--spool", dir, "--spool-max", "1kB")
	kept := textOf(t, dir, refusedExt)
	n := strings.Count(kept, "\n")
	if err == nil || n < 30 || kept != records(1, n) || !strings.Contains(errs, fmt.Sprintf("logpost: %d lines were not delivered: ", 100-n)) ||
		!strings.Contains(errs, "no good; ") || !strings.Contains(errs, "the spool is full") {
		t.Errorf("%v, said %q, kept %d", err, errs, n)
	}
}

func TestRefusedBatchWithoutASpool(t *testing.T) {
	_, errs, err := post(t, records(1, 1), "--to", answering(t, 400, `{"error":"no good"}`))
	if err == nil || !strings.Contains(errs, "logpost: 1 line was not delivered: ") || !strings.Contains(errs, "no good") {
		t.Errorf("%v, said %q", err, errs)
	}
}

// Many put at once; together they keep to the bound, and each knows what of its
// lines is there.
func TestSpoolIsBoundedForAllTogether(t *testing.T) {
	dir := t.TempDir()
	const bound = 50_000
	var mu sync.Mutex
	var all sync.WaitGroup
	total := 0
	for w := range 16 {
		all.Go(func() {
			s := newSpool(dir, bound)
			for i := range 5 {
				_, kept, err := s.put(newBatch(fmt.Sprintf("w%d-%d", w, i), records(100+i*100, 50)), waitingExt)
				if err != nil && !errors.Is(err, errNoRoom) {
					t.Error(err)
				}
				mu.Lock()
				total += kept
				mu.Unlock()
			}
		})
	}
	all.Wait()
	text := textOf(t, dir, waitingExt)
	if len(text) > bound || len(text) < bound-100 || strings.Count(text, "\n") != total {
		t.Errorf("holds %d bytes and %d lines; %d were said to be kept", len(text), strings.Count(text, "\n"), total)
	}
	numbers := make(map[string]bool)
	for _, file := range files(t, dir, waitingExt) {
		number, _, _ := strings.Cut(filepath.Base(file), "_")
		if numbers[number] {
			t.Errorf("two batches have number %s", number)
		}
		numbers[number] = true
	}
}

// Files are sent in the order of their numbers; others are left alone.
func TestSpoolFiles(t *testing.T) {
	store := newFakeStore(t)
	dir := t.TempDir()
	waiting := map[string]string{"2_b.ndjson": "{\"n\":1}\n", "10_a.ndjson": "{\"n\":3}\n", "0000000009_z.ndjson": "{\"n\":2}\n", "1000000000000_x_y.ndjson": "{\"n\":4}\n"}
	others := map[string]string{"tmp": "{\"n\":9}\n{", "1_q.refused": "{\"n\":9}\n", "README": "mine\n", "x_1.ndjson": "{}\n", "5.ndjson": "{}\n", "3_b.ndjson.bak": "{}\n"}
	for _, some := range []map[string]string{waiting, others} {
		for name, text := range some {
			writeFile(t, filepath.Join(dir, name), text)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "1_d.ndjson"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, errs, err := post(t, "{\"n\":5}\n", "--to", store.URL, "--spool", dir); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if got := strings.Join(store.got(), ""); got != `{"n":1}{"n":2}{"n":3}{"n":4}{"n":5}` {
		t.Errorf("stored %s", got)
	}
	for name := range waiting {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	for name, want := range others {
		if text, err := os.ReadFile(filepath.Join(dir, name)); string(text) != want {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if store.sent["x_y"] != 1 || store.sent["b"] != 1 {
		t.Errorf("sent as %v", store.sent)
	}
	// What a run that was killed had begun is in nobody's way.
	store.set(http.StatusServiceUnavailable)
	post(t, records(6, 1), "--to", store.URL, "--spool", dir)
	if _, err := os.Stat(filepath.Join(dir, unfinished)); err == nil {
		t.Errorf("%s is still there", unfinished)
	}
	store.set(0)
	if _, errs, err := post(t, records(7, 1), "--to", store.URL, "--spool", dir); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(6, 2)); !reflect.DeepEqual(store.got()[5:], want) {
		t.Errorf("stored %q", store.got())
	}
}

// While one run sends what waits, another does not: it keeps its own lines,
// which the first one takes along.
func TestOnlyOneSendsFromTheSpool(t *testing.T) {
	store := newFakeStore(t)
	came, goOn := make(chan struct{}, 100), make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-goOn
		store.ServeHTTP(w, r)
	}))
	defer front.Close()
	dir := t.TempDir()
	s := newSpool(dir, 1<<20)
	for i := range 5 {
		if _, _, err := s.put(newBatch(fmt.Sprint("b", i), records(1+i, 1)), waitingExt); err != nil {
			t.Fatal(err)
		}
	}
	first := begin(t, t.Context(), strings.NewReader(""), "--to", front.URL, "--spool", dir, "--timeout", "20s")
	select {
	case <-came:
	case <-time.After(tooLong):
		t.Fatal("sends nothing")
	}
	_, errs, err := post(t, records(6, 1), "--to", front.URL, "--spool", dir, "--timeout", "100ms")
	if err != nil || !strings.Contains(errs, "another logpost is sending from the spool; 1 line of this call waits in "+dir+" for the next one") {
		t.Errorf("%v, said %q", err, errs)
	}
	close(goOn)
	if _, errs, err := first.end(t); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(1, 6)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %q", store.got())
	}
	for id, times := range store.sent {
		if times != 1 {
			t.Errorf("batch %s was sent %d times", id, times)
		}
	}
}

// A run that finds another one sending waits for it at its end, and then sends.
func TestWaitsForTheOtherAtItsEnd(t *testing.T) {
	store := newFakeStore(t)
	dir := t.TempDir()
	s := newSpool(dir, 1<<20)
	if _, _, err := s.put(newBatch("a", records(1, 1)), waitingExt); err != nil {
		t.Fatal(err)
	}
	unlock, err := s.lock("sending", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c := begin(t, t.Context(), strings.NewReader(records(2, 1)), "--to", store.URL, "--spool", dir, "--timeout", "20s")
	until(t, "it keeps its line", func() bool { return len(files(t, dir, waitingExt)) == 2 })
	unlock()
	if _, errs, err := c.end(t); err != nil || errs != "logpost: 1 line kept in "+dir+": delivered\n" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(1, 2)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %q", store.got())
	}
}

func TestBackoff(t *testing.T) {
	store := newFakeStore(t)
	to, _ := parseURL(store.URL)
	d := newDeliverer(nil, &options{to: to, spool: t.TempDir(), spoolMax: 1 << 20})
	d.t = cli.New("logpost", "", "", new(bytes.Buffer))
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		before := time.Now()
		d.failed(errBusy)
		after := time.Now()
		if at := d.retryAt.Add(-want * time.Second); at.Before(before) || at.After(after) || !d.behind || d.why != errBusy {
			t.Errorf("tries again in %v, want %v s; %+v", d.retryAt.Sub(after), want, d)
		}
	}
	d.kept = 3 // which another run sent
	d.sendSpool(glance)
	if d.behind || d.backoff != 0 || d.kept != 0 {
		t.Errorf("after a success: %+v", d)
	}
}

// A store that says when to come again is asked then, within the bounds of the
// own backoff.
func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": minRetry, "3600": maxRetry, "18446744073709551615": maxRetry,
		time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat): 20 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       minRetry,
		time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat):   maxRetry,
		"": 4 * time.Second, "soon": 4 * time.Second, "-1": 4 * time.Second, "1.5": 4 * time.Second, "99999999999999999999": 4 * time.Second,
	} {
		store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("Retry-After", header)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		to, err := parseURL(store.URL)
		if err != nil {
			t.Fatal(err)
		}
		d := newDeliverer(cli.New("logpost", "", "", new(bytes.Buffer)), &options{to: to, spool: t.TempDir(), spoolMax: 1 << 20, timeout: tooLong})
		d.backoff = 2 * time.Second // it failed twice before
		before := time.Now()
		d.deliver(newBatch("", "{}"))
		least := want
		if want == 20*time.Second {
			least -= 2 * time.Second // a date has whole seconds
		}
		if got := d.retryAt.Sub(before); got < least || got > want+5*time.Second || d.kept != 1 {
			t.Errorf("%q: comes again in %v, want %v; kept %d", header, got, want, d.kept)
		}
		store.Close()
	}
}

func TestWhatEarlierCallsLeft(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--to", "http://127.0.0.1:1", "--spool", dir}
	if _, errs, err := post(t, records(1, 1), args...); err != nil || !strings.HasSuffix(errs, "connection refused; 1 line of this call waits in "+dir+" for the next one\n") {
		t.Errorf("%v, said %q", err, errs)
	}
	if _, errs, err := post(t, "", args...); err != nil || !strings.HasSuffix(errs, "connection refused; what was in "+dir+" waits for the next call\n") {
		t.Errorf("%v, said %q", err, errs)
	}
}

func TestSpoolThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "")
	for _, dir := range []string{file, filepath.Join(file, "spool")} {
		_, errs, err := post(t, records(1, 1), "--to", "http://127.0.0.1:1", "--spool", dir)
		if err == nil || !strings.Contains(errs, file) || !strings.Contains(errs, "1 line was not delivered") {
			t.Errorf("%v, said %q", err, errs)
		}
	}
}

// A spool that cannot be sent for a reason of its own is a failure each time.
func TestSpoolThatCannotBeSent(t *testing.T) {
	store := newFakeStore(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "000000000001_a.ndjson"), records(1, 1))
	if err := os.Mkdir(filepath.Join(dir, "sending"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, errs, err := post(t, records(2, 1), "--to", store.URL, "--spool", dir)
	if err == nil || !strings.Contains(errs, "sending: is a directory; 1 line of this call waits") {
		t.Errorf("%v, said %q", err, errs)
	}
	if got := textOf(t, dir, waitingExt); got != records(1, 2) {
		t.Errorf("keeps %q", got)
	}
}

// What is said to wait is what still does, when only some could be sent.
func TestStoreThatGoesAgain(t *testing.T) {
	t.Parallel()
	store := newFakeStore(t)
	store.set(http.StatusServiceUnavailable)
	var away atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(store.got()) > 0 {
			store.set(http.StatusServiceUnavailable)
			away.Store(true)
		}
		store.ServeHTTP(w, r)
	}))
	defer front.Close()
	r, w := io.Pipe()
	dir := t.TempDir()
	c := begin(t, t.Context(), r, "--to", front.URL, "--spool", dir)
	io.WriteString(w, records(1, 2500))
	until(t, "all are kept", func() bool { return len(files(t, dir, waitingExt)) == 3 })
	store.set(0)
	until(t, "one is sent, and one more is not", away.Load)
	w.Close()
	_, errs, err := c.end(t)
	if err != nil || !strings.Contains(errs, "so it was told; 1500 lines of this call wait in ") || strings.Contains(errs, "delivered") {
		t.Errorf("%v, said %q", err, errs)
	}
	store.set(0)
	post(t, "", "--to", store.URL, "--spool", dir)
	if want := split(records(1, 2500)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %d lines", len(store.got()))
	}
}
