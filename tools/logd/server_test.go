package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
	"winnow/tools/testkit"
)

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
		if response, _ := send(t, l.addr(), "POST /logs HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n\r\n"+body); response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", header, response.StatusCode, want)
		}
	}
	if got := l.find(t, ""); got != "" {
		t.Errorf("stored %q", got)
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
			return testkit.Noon
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

func TestSecondLogdKeepsOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startLog(t, dir)
	second := newServer(time.Now, new(testkit.Messages).Warn)
	second.options.Dir = dir
	if err := second.open(); err == nil || !strings.Contains(err.Error(), "another logd") {
		t.Errorf("opened: %v", err)
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
	if _, err := door.Listen("127.0.0.1:0", cert, ""); err == nil {
		t.Error("took a certificate without its key")
	}
	listener, err := door.Listen("127.0.0.1:0", cert, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(time.Now, new(testkit.Messages).Warn)
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
