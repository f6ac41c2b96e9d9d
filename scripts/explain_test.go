package scripts

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// explaining prepares calls of explain that ask what is on a port, as after up.
func explaining(t *testing.T, port string) *call {
	t.Helper()
	c := alone(t)
	state := filepath.Join(c.home, "state")
	c.env = append(c.env, "WINNOW_STATE="+state, "WINNOW_PORT="+port)
	err := errors.Join(os.Mkdir(state, 0o755), os.WriteFile(filepath.Join(state, "up"), nil, 0o644),
		os.WriteFile(filepath.Join(state, "curl.conf"), []byte("oauth2-bearer = \"the-token-of-a-test\"\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startLogd starts the real one with some lines, and gives its port.
func startLogd(t *testing.T, lines string) string {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("the-token-of-a-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	logd := exec.CommandContext(t.Context(), "../bin/logd", "--dir", dir, "--listen", "127.0.0.1:"+port, "--token-file", token)
	logd.Stderr = os.Stderr
	if err := logd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		logd.Process.Kill()
		logd.Wait()
	})
	var status string
	if !within(patience, func() bool {
		request, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+port+"/logs", strings.NewReader(lines))
		request.Header.Set("Authorization", "Bearer the-token-of-a-test")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		status = answer.Status
		return answer.StatusCode == http.StatusOK
	}) {
		t.Fatalf("logd does not take lines: %s", status)
	}
	return port
}

func TestExplain(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	at := func(ago int) string { return now.Add(-time.Duration(ago) * time.Second).Format(time.RFC3339) }
	line := func(kind string, ago int, id, name, more string) string {
		return fmt.Sprintf(`{"type":%q,"time":%q,"host":"vm","snapshot":"%d","id":%q,"name":%q,"image":"img"%s}`+"\n", kind, at(ago), ago, strings.Repeat(id, 32), name, more)
	}
	odd := `a b% "c"?\u001b[31m`
	port := startLogd(t, line("container", 40, "a1", "web", `,"verdict":"warn","reason":"rule hot","kill_at":"`+at(20)+`"`)+
		line("container", 20, "a1", "web", `,"verdict":"kill","reason":"rule hot"`)+
		line("kill", 20, "a1", "web", `,"result":"killed","reason":"rule hot: cpu\u001b[2J\nforged"`)+
		line("container", 10, "b2", "db", `,"verdict":"warn","rule":"hot","kill_at":"`+at(-50)+`","reason":"rule hot, to be killed"`)+
		line("container", 10, "c3", "x", "")+strings.Replace(line("container", 10, "d4", "NAME", ""), "NAME", strings.ReplaceAll(odd, `"`, `\"`), 1))
	c := explaining(t, port)
	for name, want := range map[string]string{
		"web": "web was killed at " + at(20) + ": rule hot: cpu?[2J forged.\nIt was warned at " + at(40) + " that it would be killed from " + at(20) + " on.\nIt is a1a1a1a1a1a1, of the image img, on vm.\n",
		"db": "db is still here. At " + at(10) + " its verdict was warn: rule hot, to be killed.\nIt was warned at " + at(10) + ", and is to be killed from " + at(-50) + " on, if its rule still holds then.\n" +
			"It is b2b2b2b2b2b2, of the image img, on vm.\n",
		"c3c3c":               "x is still here. It was seen at " + at(10) + ", and was not judged.\nIt is c3c3c3c3c3c3, of the image img, on vm.\n",
		"a b% \"c\"?\x1b[31m": "a b% \"c\"??[31m is still here. It was seen at " + at(10) + ", and was not judged.\nIt is d4d4d4d4d4d4, of the image img, on vm.\n",
	} {
		c.run(t, nil, "explain", name)
		if c.status != 0 || c.stdout != want || c.stderr != "" {
			t.Errorf("%s: exit %d, %s\n%s\nwant\n%s", name, c.status, c.stderr, c.stdout, want)
		}
	}
	c.run(t, nil, "explain", "--json", "web")
	var told struct{ ID string }
	if err := json.Unmarshal([]byte(c.stdout), &told); err != nil || told.ID != strings.Repeat("a1", 32) || c.status != 0 {
		t.Errorf("as JSON: exit %d, %v, %s", c.status, err, c.stdout)
	}

	refuses := func(status int, said string, env []string, args ...string) {
		t.Helper()
		c.run(t, env, "explain", args...)
		if c.status != status || c.stdout != "" || !strings.HasPrefix(c.stderr, "explain: "+said) || strings.ContainsAny(c.stderr, "\x1b") || noise.MatchString(c.stderr) {
			t.Errorf("%v: exit %d, %q, %q", args, c.status, c.stdout, c.stderr)
		}
	}
	refuses(1, "nobody in the log is called 'nobody', and no id begins so\n", nil, "nobody")
	refuses(1, "nobody in the log is called ", nil, "\x1b[31m")
	refuses(1, "nobody in the log is called '..'", nil, "..")
	refuses(2, "say which container\n", nil)
	refuses(2, "say which container\n", nil, "")
	refuses(2, "unexpected argument: two\n", nil, "one", "two")
	refuses(1, "logd does not answer on http://127.0.0.1:", []string{"WINNOW_PORT=" + freePort(t)}, "web")
	refuses(1, "winnow is not up", []string{"WINNOW_STATE=" + c.home + "/other"}, "web")
}

// What answers need not be logd, nor in its right mind.
func TestExplainWhatLogdCannotTell(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, `{"error":"too many wait\u001b[31m"}`)
	}))
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c := explaining(t, port)
	c.run(t, nil, "explain", "web")
	if c.status != 1 || c.stderr != "explain: logd answers with status 503: too many wait?[31m\n" {
		t.Errorf("exit %d, %q", c.status, c.stderr)
	}
}
