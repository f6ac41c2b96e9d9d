package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
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
