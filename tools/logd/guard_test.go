package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const testToken = "0123456789abcdef0123456789abcdef"

// tokenFile holds the token of the tests.
func tokenFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runLog runs logd with these arguments, as its process would, and returns the
// address that it serves on.
func runLog(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stderr, said := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, nil, io.Discard, said)
		said.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := regexp.MustCompile(`^logd: (\S+) holds the log in `).FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, stderr)
			_, port, err := net.SplitHostPort(m[1])
			if err != nil {
				t.Fatal(err)
			}
			return net.JoinHostPort("127.0.0.1", port)
		}
		t.Log(lines.Text())
	}
	t.Fatalf("%v: ended: %v", args, <-done)
	return ""
}

// asImage are the arguments with which the image starts logd, but for where
// its files are and for the port.
func asImage(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../images/logd/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	entry := regexp.MustCompile(`(?m)^ENTRYPOINT (\[.*\])$`).FindSubmatch(text)
	var args []string
	if entry == nil || json.Unmarshal(entry[1], &args) != nil {
		t.Fatalf("%s has no ENTRYPOINT", text)
	}
	for flag, value := range map[string]string{"--listen": "0.0.0.0:0", "--token-file": tokenFile(t), "--dir": t.TempDir()} {
		at := slices.Index(args, flag)
		if at < 0 {
			t.Fatalf("the image starts %v, without %s", args, flag)
		}
		args[at+1] = value
	}
	return args[1:]
}

func TestTheDoorOfTheImage(t *testing.T) {
	t.Parallel()
	addr := runLog(t, append(asImage(t), "--allow-host", "Log.example", "--allow-host", "10.1.2.3")...)
	const host = "Host: 127.0.0.1:7070"
	const known = "Authorization: Bearer " + testToken
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("anyone:"+testToken))
	for _, test := range []struct {
		name    string
		path    string
		want    int
		headers []string
	}{
		{"no token", "/logs", 401, []string{host}},
		{"no token for the page", "/", 401, []string{host}},
		{"no token for the figures", "/metrics", 401, []string{host}},
		{"no token for whether it would store", "/readyz", 401, []string{host}},
		{"a wrong token", "/logs", 401, []string{host, "Authorization: Bearer 0123456789abcdef0123456789abcdeX"}},
		{"half a token", "/logs", 401, []string{host, "Authorization: Bearer 0123456789abcdef"}},
		{"no word", "/logs", 401, []string{host, "Authorization: Bearer "}},
		{"the token", "/logs", 200, []string{host, known}},
		{"the token as a password", "/", 200, []string{host, basic}},
		{"health without a token", "/healthz", 200, []string{host}},
		{"health by another name", "/healthz", 421, []string{"Host: evil.example"}},

		{"localhost", "/logs", 200, []string{"Host: LocalHost:7070", known}},
		{"without a port", "/logs", 200, []string{"Host: localhost", known}},
		{"another loopback address", "/logs", 200, []string{"Host: 127.9.8.7:7070", known}},
		{"IPv6", "/logs", 200, []string{"Host: [::1]:7070", known}},
		{"IPv6 without a port", "/logs", 200, []string{"Host: [::1]", known}},
		{"a name that was allowed", "/logs", 200, []string{"Host: log.example:7070", known}},
		{"an address that was allowed", "/logs", 200, []string{"Host: 10.1.2.3", known}},
		{"a name rebound", "/logs", 421, []string{"Host: evil.example:7070", known}},
		{"one that begins well", "/logs", 421, []string{"Host: localhost.evil.example", known}},
		{"one that ends well", "/logs", 421, []string{"Host: evil-localhost:7070", known}},
		{"one like an address", "/logs", 421, []string{"Host: 127.0.0.1.evil.example", known}},
		{"below one that was allowed", "/logs", 421, []string{"Host: evil.log.example", known}},
		{"any address", "/logs", 421, []string{"Host: 0.0.0.0:7070", known}},
		{"another address", "/logs", 421, []string{"Host: 10.1.2.4", known}},
		{"a user before it", "/logs", 421, []string{"Host: evil.example@localhost", known}},
		{"another name in the line", "http://evil.example/logs", 421, []string{host, known}},
		{"its name in the line alone", "http://localhost/logs", 421, []string{"Host: evil.example", known}},
		{"two hosts", "/logs", 400, []string{"Host: evil.example", host, known}},
		{"two hosts, the other way", "/logs", 400, []string{host, "Host: evil.example", known}},

		{"its own page", "/logs", 200, []string{host, known, "Origin: http://127.0.0.1:7070"}},
		{"another page", "/logs", 403, []string{host, known, "Origin: http://evil.example"}},
		{"another port", "/logs", 403, []string{host, known, "Origin: http://127.0.0.1:8080"}},
		{"a page of nowhere", "/logs", 403, []string{host, known, "Origin: null"}},
		{"an origin of nothing", "/logs", 403, []string{host, known, "Origin: "}},
		{"another page behind its own", "/logs", 403, []string{host, known, "Origin: http://127.0.0.1:7070", "Origin: http://evil.example"}},
		{"nowhere behind its own", "/logs", 403, []string{host, known, "Origin: http://127.0.0.1:7070", "Origin: null"}},
	} {
		if got := ask(t, addr, test.path, test.headers...); got != test.want {
			t.Errorf("%s: status %d, want %d", test.name, got, test.want)
		}
	}
	post := "POST /logs HTTP/1.1\r\nContent-Length: 2\r\n"
	for headers, want := range map[string]int{host: 401, host + "\r\n" + known: 200, "Host: evil.example\r\n" + known: 421} {
		if response, text := send(t, addr, post+headers+"\r\n\r\n{}"); response.StatusCode != want {
			t.Errorf("a POST with %q: %d, %s", headers, response.StatusCode, text)
		}
	}
}

// Open to anyone who reaches it is not open to pages elsewhere.
func TestOpenStillLooksAtTheHost(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--listen", "127.0.0.1:0"}, {"--listen", "0.0.0.0:0", "--open"}} {
		addr := runLog(t, append(args, "--dir", t.TempDir())...)
		for headers, want := range map[string]int{
			"Host: localhost": 200, "Host: evil.example": 421, "Host: localhost.evil.example": 421, "Host: localhost\r\nOrigin: null": 403,
		} {
			if got := ask(t, addr, "/logs", headers); got != want {
				t.Errorf("%v: %q: status %d, want %d", args, headers, got, want)
			}
		}
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir(), func(s *server) { s.guard.Token = []byte("0123456789abcdef") })
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
