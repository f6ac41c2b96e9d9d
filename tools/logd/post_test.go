package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/full"
)

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

func TestNewDayNewFile(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "x", `{"n":1}`)
	l.clock.Pass(12 * time.Hour)
	l.mustPost(t, "y", `{"n":2}`)
	l.clock.Jump(-12 * time.Hour) // a clock put back does not reopen a day
	l.mustPost(t, "z", `{"n":3}`)
	if first, second := l.file(t, "2026-11-21.jsonl"), l.file(t, "2026-11-22.jsonl"); first != "{\"n\":1}\n" || second != "{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("%q, %q", first, second)
	}
	if got := l.find(t, "order=desc"); got != "{\"n\":3}\n{\"n\":2}\n{\"n\":1}\n" {
		t.Errorf("answers %q", got)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, minFree := range []int{0, 256 << 10} {
		t.Run(fmt.Sprint(minFree), func(t *testing.T) {
			full.Needs(t, "root")
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
				t.Skipf("mounting a small tmpfs needs root: %v", err)
			}
			t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
			l := startLog(t, dir, func(s *server) { s.options.MinFree.Set(fmt.Sprint(minFree)) })
			line := `{"n":1,"long":"` + strings.Repeat("x", 50_000) + `"}`
			stored, status := 0, 200
			for status == 200 {
				if status, _ = l.postRaw(t, fmt.Sprint("b", stored), line); status == 200 {
					stored++
				}
			}
			if status != 507 || stored < 10 {
				t.Fatalf("status %d after %d lines", status, stored)
			}
			if free, _ := l.store.Free(); free < int64(minFree) {
				t.Errorf("only %d bytes are free", free)
			}
			if got := strings.Count(l.find(t, ""), "\n"); got != stored {
				t.Errorf("reads %d lines of %d", got, stored)
			}
			if err := syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "size=3m"); err != nil {
				t.Fatal(err)
			}
			l.mustPost(t, fmt.Sprint("b", stored), line)
			if got := strings.Count(l.file(t, "2026-11-21.jsonl"), "\n"); got != stored+1 {
				t.Errorf("holds %d lines", got)
			}
		})
	}
}
