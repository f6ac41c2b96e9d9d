package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// answering is a store that gives the same answer to all.
func answering(t *testing.T, status int, text string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestFinalAnswers(t *testing.T) {
	for status, ext := range map[int]string{
		400: refusedExt, 413: refusedExt, 415: refusedExt, 422: refusedExt,
		// What a user, an administrator or time may mend waits.
		201: waitingExt, 204: waitingExt, 301: waitingExt, 401: waitingExt, 403: waitingExt, 404: waitingExt, 405: waitingExt, 408: waitingExt,
		411: waitingExt, 429: waitingExt, 500: waitingExt, 502: waitingExt, 503: waitingExt, 507: waitingExt,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			dir := t.TempDir()
			text := `{"error":"so it was told"}`
			if status == 201 {
				text = `{"stored":2}` // the store has no such answer
			}
			_, errs, err := post(t, records(1, 2), "--to", answering(t, status, text), "--spool", dir)
			if (err != nil) != (ext == refusedExt) || !strings.Contains(errs, fmt.Sprintf("status %d", status)) {
				t.Errorf("%v, said %q", err, errs)
			}
			if got := textOf(t, dir, ext); got != records(1, 2) {
				t.Errorf("%s holds %q", ext, got)
			}
			if aside := files(t, dir, refusedExt); len(aside) > 0 && !strings.Contains(errs, aside[0]) {
				t.Errorf("does not name %v: %q", aside, errs)
			}
		})
	}
}

// What says 200 and is no log store takes nothing out of the spool.
func TestNoLogStore(t *testing.T) {
	for _, text := range []string{`{}`, ``, `null`, `[]`, `3`, `{"stored":null}`, `{"stored":"2"}`, `{"stored":2`, `{"Stored":}`, `hello`,
		`{"stored":2,"x":"` + strings.Repeat("x", maxAnswer) + `"}`} {
		dir := t.TempDir()
		to := answering(t, 200, text)
		for range 2 { // from stdin, then from the spool
			_, errs, err := post(t, "", "--to", to, "--spool", dir)
			if len(files(t, dir, waitingExt)) == 0 {
				_, errs, err = post(t, records(1, 2), "--to", to, "--spool", dir)
			}
			if err != nil || !strings.Contains(errs, "/logs: answers, but is no log store") {
				t.Errorf("%.40q: %v, said %q", text, err, errs)
			}
		}
		if got := textOf(t, dir, waitingExt); got != records(1, 2) {
			t.Errorf("%.40q: the spool holds %q", text, got)
		}
	}
}

func TestAnswerThatDoesNotAccountForAllLines(t *testing.T) {
	for _, text := range []string{`{"stored":0}`, `{"stored":2}`, `{"stored":4}`, `{"stored":-1,"refused_more":4}`, `{"stored":4,"refused_more":-1}`,
		`{"stored":0,"refused":[],"duplicate":false}`, `{"stored":1,"refused":[{"line":1,"error":"x"}]}`, `{"stored":3,"refused_more":1}`} {
		t.Run(text, func(t *testing.T) {
			dir, to := t.TempDir(), answering(t, 200, text)
			_, errs, err := post(t, records(1, 3), "--to", to)
			if err == nil || !strings.Contains(errs, "3 lines were not delivered") || !strings.Contains(errs, "did not tell what became of each line: of 3 lines it stored") {
				t.Errorf("without a spool: %v, said %q", err, errs)
			}
			_, errs, err = post(t, records(1, 3), "--to", to, "--spool", dir)
			if got := textOf(t, dir, waitingExt); err != nil || got != records(1, 3) || !strings.Contains(errs, "of 3 lines it stored") {
				t.Errorf("%v, said %q, kept %q", err, errs, got)
			}
			// It does not hold up the spool.
			_, errs, err = post(t, "", "--to", to, "--spool", dir)
			aside := files(t, dir, refusedExt)
			if err == nil || len(aside) != 1 || textOf(t, dir, refusedExt) != records(1, 3) || !strings.Contains(errs, aside[0]) {
				t.Errorf("%v, said %q, set aside %v", err, errs, aside)
			}
			if waits := files(t, dir, waitingExt); len(waits) > 0 {
				t.Errorf("%v still wait", waits)
			}
		})
	}
}

func TestAnswerThatAccountsForAllLines(t *testing.T) {
	for text, says := range map[string]string{
		`{"stored":3}`: "",
		`{"stored":0,"refused":[],"duplicate":true}`:                                       "", // as logd says it
		`{"stored":2,"refused":[{"line":2,"error":"no good"}]}`:                            "logpost: line 2 was refused: no good\n",
		`{"stored":1,"refused":[{"line":3,"error":"no good"}],"refused_more":1}`:           "logpost: line 3 was refused: no good\nlogpost: refused as well, and not named: 1 line\n",
		`{"stored":0,"refused":[{"line":9,"error":"no good"}],"refused_more":2,"extra":1}`: "line 9 of batch ",
	} {
		dir := t.TempDir()
		_, errs, err := post(t, records(1, 3), "--to", answering(t, 200, text), "--spool", dir)
		if (err == nil) != (says == "") || !strings.Contains(errs, says) || says == "" && errs != "" {
			t.Errorf("%s: %v, said %q", text, err, errs)
		}
		if left := files(t, dir, "_*"); len(left) > 0 {
			t.Errorf("%s: left %v", text, left)
		}
	}
}

// A store that lost its answer's figures for once knows the batch when it is
// asked again.
func TestMiscountedOnce(t *testing.T) {
	store := newFakeStore(t)
	wrong := 2
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wrong--; wrong >= 0 {
			store.ServeHTTP(httptest.NewRecorder(), r)
			io.WriteString(w, `{"stored":1}`)
			return
		}
		store.ServeHTTP(w, r)
	}))
	defer front.Close()
	args := []string{"--to", front.URL, "--spool", t.TempDir()}
	post(t, records(1, 3), args...)
	if _, errs, err := post(t, records(4, 1), args...); err != nil || errs != "" {
		t.Errorf("%v, said %q", err, errs)
	}
	if want := split(records(1, 4)); !reflect.DeepEqual(store.got(), want) {
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

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	store := newFakeStore(t)
	var in strings.Builder
	for n := range 20 {
		fmt.Fprintf(&in, `{"n":%d,"x":"%s"}`+"\n", n, strings.Repeat("x", 1000+(n*7919)%5*100_000))
	}
	fmt.Fprintf(&in, `{"x":"%s"}`+"\n%s", strings.Repeat("x", 2<<20), records(1, 2500))
	if _, errs, err := post(t, in.String(), "--to", store.URL); err != nil {
		t.Fatalf("%v, said %.200q", err, errs)
	}
	if strings.Join(store.bodies, "") != in.String() {
		t.Error("the bodies are not what came in")
	}
	for _, body := range store.bodies {
		if lines := strings.Count(body, "\n"); lines > maxLines || len(body) > maxBytes && lines > 1 {
			t.Errorf("a batch has %d lines and %d bytes", lines, len(body))
		}
	}
}

func TestBatchHolds(t *testing.T) {
	of := func(lines, bytes int) *batch { return &batch{body: make([]byte, bytes), numbers: make([]int, lines)} }
	text := func(n int) line { return line{text: strings.Repeat("x", n)} }
	for _, test := range []struct {
		b    *batch
		l    line
		want bool
	}{
		{of(0, 0), text(2 * maxBytes), true}, // else it would never go
		{of(1, maxBytes-11), text(10), true}, // with its newline it just fits
		{of(1, maxBytes-10), text(10), false},
		{of(maxLines-1, 5000), text(10), true},
		{of(maxLines, 5000), text(10), false},
	} {
		if got := test.b.holds(test.l); got != test.want {
			t.Errorf("%d lines, %d bytes, and one of %d: %v", len(test.b.numbers), len(test.b.body), len(test.l.text), got)
		}
	}
}

func TestIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 20 {
		run := newIDs()
		for range 3 {
			id := run.new()
			if seen[id] || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool {
				return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", r)
			}) {
				t.Errorf("%q", id)
			}
			if !run.own(id) || newIDs().own(id) {
				t.Errorf("%q is not known by its run, or by another", id)
			}
			seen[id] = true
		}
	}
}

// An answer takes no longer than --timeout, whichever part of it is missing.
func TestAnswerThatStops(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"before the headers": "", "in the headers": "HTTP/1.1 200 OK\r\nContent-", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"stored\":2"} {
		t.Run(name, func(t *testing.T) {
			to, _ := raw(t, func(c net.Conn) { io.WriteString(c, text) })
			dir := t.TempDir()
			_, errs, err := post(t, records(1, 2), "--to", to, "--spool", dir, "--timeout", "50ms")
			if err != nil || !strings.Contains(errs, "/logs gave no answer for 50ms; 2 lines of this call wait in "+dir) {
				t.Errorf("%v, said %q", err, errs)
			}
		})
	}
}

// raw is a store that says what it likes once a request came, and then reads
// on. gone gets a value for each connection that the other end closed.
func raw(t *testing.T, say func(net.Conn)) (to string, gone <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ends := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := c.Read(make([]byte, 64<<10)); err == nil {
					say(c)
				}
				io.Copy(io.Discard, c)
				ends <- struct{}{}
			}()
		}
	}()
	return "http://" + l.Addr().String(), ends
}

// No answer reaches a terminal as it is, fills it, or looks like a message of
// logpost's own.
func TestHostileAnswers(t *testing.T) {
	evil := "\x1b[31mred\x1b]0;title\x07\u202egnp\u2066\u200b\u009b2J\r\nlogpost: all is well\n\ttab\x00\u2028\xff"
	long := strings.Repeat("x", 300_000)
	quoted := func(text string) string {
		var b strings.Builder
		for _, r := range strings.ToValidUTF8(text, "") {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
		return b.String()
	}
	tos := map[string]string{
		"error":         answering(t, 503, `{"error":"`+quoted(evil)+`"}`),
		"refusal":       answering(t, 400, `{"error":"`+quoted(evil)+`"}`),
		"no JSON":       answering(t, 502, evil),
		"long error":    answering(t, 503, `{"error":"`+long+`"}`),
		"long text":     answering(t, 400, long),
		"wide text":     answering(t, 500, strings.Repeat("世", 100_000)),
		"a line":        answering(t, 200, `{"stored":1,"refused":[{"line":2,"error":"`+quoted(evil)+long+`"}]}`),
		"many refusals": answering(t, 200, `{"stored":2,"refused":[`+strings.Repeat(`{},`, 100_000)+`{}]}`),
	}
	for name, text := range map[string]string{"no HTTP": evil, "long and no HTTP": long + "\r\n\r\n", "bad header": "HTTP/1.1 200 OK\r\n" + evil + long + "\r\n\r\n", "bad status": "HTTP/1.1 " + evil + "\r\n\r\n"} {
		tos[name], _ = raw(t, func(c net.Conn) {
			io.WriteString(c, text)
			c.Close()
		})
	}
	for name, to := range tos {
		for _, spool := range []string{"", t.TempDir()} {
			_, errs, _ := post(t, records(1, 2), "--to", to, "--spool", spool)
			lines := split(errs)
			if len(lines) > 3 || errs == "" {
				t.Errorf("%s: said %d lines: %.500q", name, len(lines), errs)
			}
			for _, line := range lines {
				if !strings.HasPrefix(line, "logpost: ") || strings.HasPrefix(line, "logpost: all is well") || utf8.RuneCountInString(line) > 600 ||
					!utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Errorf("%s: said %.1000q", name, line)
				}
			}
		}
	}
}

func TestShown(t *testing.T) {
	full := strings.Repeat("é", maxShown)
	for text, want := range map[string]string{"": "", "short": "short", full: full, full + "x": full + "…"} {
		if got := shown(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestTokenThatNoRequestCanCarry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for _, text := range []string{"", "\n", "two words", "two\nlines", "t\x00ken", "tök", "too-short"} {
		writeFile(t, file, text)
		out, _, err := post(t, records(1, 1), "--to", "http://127.0.0.1:1", "--token-file", file, "--spool", t.TempDir())
		if err == nil || !strings.Contains(err.Error(), file+": not a token") || out != "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	os.Remove(file)
	if _, _, err := post(t, records(1, 1), "--to", "http://127.0.0.1:1", "--token-file", file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("none: %v", err)
	}
}

func TestNoTokenIsNoHeader(t *testing.T) {
	store := newFakeStore(t)
	post(t, records(1, 1), "--to", store.URL)
	if got, there := store.headers["Authorization"]; there {
		t.Errorf("sent %q", got)
	}
	if got := store.headers.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("sent as %q", got)
	}
}
