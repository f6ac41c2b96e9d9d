package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/testkit"
)

// ask asks with a token, and gives the status and the text of the answer.
func askWith(t *testing.T, address, token, method, path, batch, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if batch != "" {
		r.Header.Set("Winnow-Batch", batch)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func hostToken(n int) string { return fmt.Sprintf("the-token-of-host-%d-alone", n) }

// A host speaks for itself alone, whatever it sends.
func TestHostTokens(t *testing.T) {
	dir, log := t.TempDir(), t.TempDir()
	for n := 1; n <= 2; n++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("host%d", n)), []byte(hostToken(n)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "short"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := runLog(t, "--dir", log, "--listen", "127.0.0.1:0", "--token-file", tokenFile(t), "--host-tokens", dir)

	const own, other = `{"type":"host","host":"host1","n":1}`, `{"type":"host","host":"host2","n":2}`
	for name, test := range map[string]struct {
		token, body string
		status      int
		want        string
	}{
		"its own":                  {hostToken(1), own, 200, `"stored":1`},
		"another's":                {hostToken(1), other, 200, `{"line":1,"error":"it is of the host \"host2\", and came with the token of host1"}`},
		"both":                     {hostToken(2), own + "\n" + other, 200, `"stored":1,"refused":[{"line":1,`},
		"nobody's":                 {hostToken(1), `{"type":"note"}`, 200, `of the host \"\"`},
		"another's, written oddly": {hostToken(1), `{"type":"host","h\u006fst":"host2"}`, 200, `"stored":0`},
		"its own, written oddly":   {hostToken(1), `{"type":"host","host":"h\u006fst1"}`, 200, `"stored":1`},
		"twice":                    {hostToken(1), `{"host":"host1","host":"host2"}`, 200, `"stored":0`},
		"a number":                 {hostToken(1), `{"host":1}`, 200, `"stored":0`},
		"no token":                 {"", own, 401, "a token is needed"},
		"a wrong one":              {hostToken(3), own, 401, "a token is needed"},
		"a short one's":            {"x", own, 401, "a token is needed"},
		"the log's own":            {testToken, other, 200, `"stored":1`},
	} {
		if status, text := askWith(t, address, test.token, "POST", "/logs", "", test.body+"\n"); status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	for _, path := range []string{"/", "/logs", "/metrics", "/events", "/charts/", "/why/x", "/readyz", "/logs?type=host"} {
		if status, text := askWith(t, address, hostToken(1), "GET", path, "", ""); status != 403 || !strings.Contains(text, "the token of the host host1 may post its lines, and nothing else") {
			t.Errorf("%s: %d %.100s", path, status, text)
		}
	}
	if status, _ := askWith(t, address, hostToken(1), "POST", "/metrics", "", ""); status != 403 {
		t.Errorf("POST /metrics: %d", status)
	}

	// The batches that one names are not another's.
	const batch = "host2-ABCDEFGH-1"
	if status, text := askWith(t, address, hostToken(1), "POST", "/logs", batch, own+"\n"); status != 200 {
		t.Fatal(status, text)
	}
	for n, want := range []string{`"stored":1`, `"duplicate":true`} {
		if _, text := askWith(t, address, hostToken(2), "POST", "/logs", batch, other+"\n"); !strings.Contains(text, want) {
			t.Errorf("post %d of a batch that another host has named: %s", n, text)
		}
	}
}

// A token that is new counts soon, one that is taken away or given to two no more.
func TestTokensThatChange(t *testing.T) {
	dir := t.TempDir()
	said := new(testkit.Messages)
	h := newHostTokens(dir, said.Warn)
	write := func(name, token string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		h.read = h.read.Add(-tokensEvery)
	}
	is := func(token, want string) {
		t.Helper()
		if got := h.host(token); got != want {
			t.Errorf("%s is of %q, not %q", token, got, want)
		}
	}
	is(hostToken(1), "")
	write("a", hostToken(1))
	is(hostToken(1), "a")
	write("b", hostToken(1))
	is(hostToken(1), "")
	write("c", hostToken(1))
	is(hostToken(1), "")
	write("a", hostToken(2))
	write("c", hostToken(3))
	is(hostToken(1), "b")
	is(hostToken(2), "a")
	is(hostToken(3), "c")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	h.read = h.read.Add(-tokensEvery)
	is(hostToken(1), "")
	if text := said.String(); strings.Count(text, "has another host's token") != 2 || !strings.Contains(text, "no host may post") {
		t.Errorf("said %s", text)
	}
}
