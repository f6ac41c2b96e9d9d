package main

import (
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
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/full"
	"winnow/tools/logpost/spool"
)

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
	if aside := files(t, dir, spool.Refused); len(aside) != 1 || !strings.Contains(errs, aside[0]) {
		t.Errorf("set aside %v, said %q", aside, errs)
	}
	// One that never was in the spool is set aside too.
	_, errs, err = post(t, records(2, 1), args...)
	if aside := files(t, dir, spool.Refused); err == nil || len(aside) != 2 || !strings.Contains(errs, aside[1]) {
		t.Errorf("%v, set aside %v, said %q", err, aside, errs)
	}
	if aside := textOf(t, dir, spool.Refused); aside != records(1, 2) {
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
	if size := len(textOf(t, dir, spool.Waiting)); size > bound || size < bound-100 {
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
	below := filepath.Join(dir, "spool")
	store := newFakeStore(t)
	args := []string{"--to", store.URL, "--spool", below}
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
	kept := textOf(t, dir, spool.Refused)
	n := strings.Count(kept, "\n")
	if err == nil || n < 30 || kept != records(1, n) || !strings.Contains(errs, fmt.Sprintf("logpost: %d lines were not delivered: ", 100-n)) ||
		!strings.Contains(errs, "no good; ") || !strings.Contains(errs, "the spool is full") {
		t.Errorf("%v, said %q, kept %d", err, errs, n)
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
	if _, err := os.Stat(filepath.Join(dir, "tmp")); err == nil {
		t.Error("tmp is still there")
	}
	store.set(0)
	if _, errs, err := post(t, records(7, 1), "--to", store.URL, "--spool", dir); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(6, 2)); !reflect.DeepEqual(store.got()[5:], want) {
		t.Errorf("stored %q", store.got())
	}
}

// Lines of a spool are counted as logd counts them.
func TestEditedSpoolFile(t *testing.T) {
	store := newFakeStore(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "1_x.ndjson"), "{\"n\":1}\n\n \r\n{\"n\":2}\r\n{\"n\":3}")
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		store.ServeHTTP(httptest.NewRecorder(), r)
		io.WriteString(w, `{"stored":3,"refused":[],"duplicate":false}`)
	}))
	defer front.Close()
	if _, errs, err := post(t, "", "--to", front.URL, "--spool", dir); err != nil || errs != "" || store.came() != 1 {
		t.Errorf("%v, said %q, %d posts", err, errs, store.came())
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
	s := spool.New(dir, 1<<20)
	for i := range 5 {
		if _, _, err := s.Put(&spool.Batch{ID: fmt.Sprint("b", i), Body: []byte(records(1+i, 1))}, spool.Waiting); err != nil {
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
	s := spool.New(dir, 1<<20)
	if _, _, err := s.Put(&spool.Batch{ID: "a", Body: []byte(records(1, 1))}, spool.Waiting); err != nil {
		t.Fatal(err)
	}
	sending, goOn := make(chan struct{}), make(chan struct{})
	other := errors.New("sends nothing after all")
	go s.Send(time.Second, func(*spool.File) error {
		close(sending)
		<-goOn
		return other
	})
	<-sending
	c := begin(t, t.Context(), strings.NewReader(records(2, 1)), "--to", store.URL, "--spool", dir, "--timeout", "20s")
	until(t, "it keeps its line", func() bool { return len(files(t, dir, spool.Waiting)) == 2 })
	close(goOn)
	if _, errs, err := c.end(t); err != nil || errs != "logpost: 1 line kept in "+dir+": delivered\n" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(1, 2)); !reflect.DeepEqual(store.got(), want) {
		t.Errorf("stored %q", store.got())
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
	if got := textOf(t, dir, spool.Waiting); got != records(1, 2) {
		t.Errorf("keeps %q", got)
	}
}
