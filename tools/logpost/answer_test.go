package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"unicode"
	"unicode/utf8"

	"winnow/tools/logpost/spool"
)

func TestFinalAnswers(t *testing.T) {
	for status, ext := range map[int]string{
		400: spool.Refused, 413: spool.Refused, 415: spool.Refused, 422: spool.Refused,
		// What a user, an administrator or time may mend waits.
		201: spool.Waiting, 204: spool.Waiting, 301: spool.Waiting, 401: spool.Waiting, 403: spool.Waiting, 404: spool.Waiting, 405: spool.Waiting, 408: spool.Waiting,
		411: spool.Waiting, 429: spool.Waiting, 500: spool.Waiting, 502: spool.Waiting, 503: spool.Waiting, 507: spool.Waiting,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			dir := t.TempDir()
			text := `{"error":"so it was told"}`
			if status == 201 {
				text = `{"stored":2}` // the store has no such answer
			}
			_, errs, err := post(t, records(1, 2), "--to", answering(t, status, text), "--spool", dir)
			if (err != nil) != (ext == spool.Refused) || !strings.Contains(errs, fmt.Sprintf("status %d", status)) {
				t.Errorf("%v, said %q", err, errs)
			}
			if got := textOf(t, dir, ext); got != records(1, 2) {
				t.Errorf("%s holds %q", ext, got)
			}
			if aside := files(t, dir, spool.Refused); len(aside) > 0 && !strings.Contains(errs, aside[0]) {
				t.Errorf("does not name %v: %q", aside, errs)
			}
		})
	}
}

// What says 200 and is no log store takes nothing out of the spool.
func TestNoLogStore(t *testing.T) {
	for _, text := range []string{`{}`, ``, `null`, `[]`, `3`, `{"stored":null}`, `{"stored":"2"}`, `{"stored":2`, `{"Stored":}`, `hello`,
		`{"stored":2,"x":"` + strings.Repeat("x", 1<<20) + `"}`} {
		dir := t.TempDir()
		to := answering(t, 200, text)
		for range 2 { // from stdin, then from the spool
			_, errs, err := post(t, "", "--to", to, "--spool", dir)
			if len(files(t, dir, spool.Waiting)) == 0 {
				_, errs, err = post(t, records(1, 2), "--to", to, "--spool", dir)
			}
			if err != nil || !strings.Contains(errs, "/logs: answers, but is no log store") {
				t.Errorf("%.40q: %v, said %q", text, err, errs)
			}
		}
		if got := textOf(t, dir, spool.Waiting); got != records(1, 2) {
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
			if got := textOf(t, dir, spool.Waiting); err != nil || got != records(1, 3) || !strings.Contains(errs, "of 3 lines it stored") {
				t.Errorf("%v, said %q, kept %q", err, errs, got)
			}
			// It does not hold up the spool.
			_, errs, err = post(t, "", "--to", to, "--spool", dir)
			aside := files(t, dir, spool.Refused)
			if err == nil || len(aside) != 1 || textOf(t, dir, spool.Refused) != records(1, 3) || !strings.Contains(errs, aside[0]) {
				t.Errorf("%v, said %q, set aside %v", err, errs, aside)
			}
			if waits := files(t, dir, spool.Waiting); len(waits) > 0 {
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

func TestAnotherServerIsNoStore(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer other.Close()
	_, errs, err := post(t, records(1, 1), "--to", other.URL)
	if err == nil || !strings.Contains(errs, "no log store") {
		t.Errorf("%v, said %q", err, errs)
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
