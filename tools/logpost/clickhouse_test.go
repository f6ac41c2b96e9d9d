package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// clickhouse is a real one, with a directory of its own.
type clickhouse struct {
	t    *testing.T
	dir  string
	port string
	cmd  *exec.Cmd
}

func newClickHouse(t *testing.T) *clickhouse {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make test: starts a ClickHouse")
	}
	if _, err := exec.LookPath("clickhouse-server"); err != nil {
		t.Skip("needs clickhouse-server: scripts/deps test installs it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &clickhouse{t: t, dir: t.TempDir(), port: fmt.Sprint(l.Addr().(*net.TCPAddr).Port)}
	for name, text := range map[string]string{
		"config.xml": `<yandex><logger><level>warning</level><console>1</console></logger><listen_host>127.0.0.1</listen_host>
			<http_port>` + c.port + `</http_port><path>` + c.dir + `/data/</path><tmp_path>` + c.dir + `/tmp/</tmp_path>
			<users_config>users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
			<mark_cache_size>10000000</mark_cache_size></yandex>`,
		"users.xml": `<yandex><profiles><default/></profiles><quotas><default/></quotas><users>
			<default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
			<winnow><password>a-word-of-16-bytes</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></winnow>
			</users></yandex>`,
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *clickhouse) start() {
	c.t.Helper()
	c.cmd = exec.Command("clickhouse-server", "--config-file="+filepath.Join(c.dir, "config.xml"))
	c.cmd.Dir = c.dir
	log, err := os.Create(filepath.Join(c.dir, "said"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.kill)
	testkit.Eventually(c.t, "ClickHouse answers", func() bool { _, err := c.ask("SELECT 1"); return err == nil })
}

// kill is kill -9.
func (c *clickhouse) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

func (c *clickhouse) ask(query string) (string, error) {
	answer, err := http.Post("http://127.0.0.1:"+c.port+"/", "text/plain", strings.NewReader(query))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(string(text))
	}
	return strings.TrimSpace(string(text)), err
}

func (c *clickhouse) must(query string) string {
	c.t.Helper()
	text, err := c.ask(query)
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	return text
}

// sqlOfREADME are the statements of its blocks of SQL.
func sqlOfREADME(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for statement := range strings.SplitSeq(block[1], ";\n") {
			if statement = strings.TrimSpace(statement); statement != "" {
				all = append(all, statement)
			}
		}
	}
	return all
}

// A real ClickHouse, by the README's table and query: a spool that is sent twice, and into a crash, has each line once.
func TestClickHouse(t *testing.T) {
	c := newClickHouse(t)
	c.start()
	statements := sqlOfREADME(t)
	if len(statements) != 3 {
		t.Fatalf("the README has %d statements: %q", len(statements), statements)
	}
	c.must(statements[0])
	c.must(statements[1])
	count := statements[2]

	var lines []string
	for n := range 3500 {
		lines = append(lines, fmt.Sprintf(`{"type":"container","time":"2026-11-24T16:50:%02d.%03dZ","host":"h%d","snapshot":"20261124T1650%d","id":"%064x","pid":%d,"name":"é \"%d\"\\","memory_kb":%d}`, n/1000, n%1000, n%2, n/500, n%500, n, n, n*17))
	}
	lines = append(lines, someRecords...)
	spool := filepath.Join(t.TempDir(), "spool")
	away := "clickhouse://winnow@127.0.0.1:1/winnow/lines"
	if _, said, err := post(t, text(lines), "--to", away, "--spool", spool); err != nil {
		t.Fatalf("%v, %s", err, said)
	}
	batches, _ := filepath.Glob(filepath.Join(spool, "*.ndjson"))
	if len(batches) < 3 {
		t.Fatalf("%d batches wait", len(batches))
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-word-of-16-bytes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// send sends a copy of the spool.
	send := func(meanwhile func()) (dir string) {
		t.Helper()
		dir = filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(spool)); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() { defer close(done); meanwhile() }()
		_, said, err := post(t, "", "--to", "clickhouse://winnow@127.0.0.1:"+c.port+"/winnow/lines", "--token-file", token, "--spool", dir)
		<-done
		if err != nil {
			t.Errorf("%v, %s", err, said)
		}
		return dir
	}
	empty := func(dir string) bool {
		left, _ := filepath.Glob(filepath.Join(dir, "*.[nr]*d*"))
		return len(left) == 0
	}
	once := func() {
		t.Helper()
		if got := c.must(count); got != fmt.Sprint(len(lines)) {
			t.Errorf("counted %s lines of %d", got, len(lines))
		}
	}
	if dir := send(func() {}); !empty(dir) {
		t.Error("lines are left")
	}
	once()
	send(func() {})
	once()
	stored := func() string { n, _ := c.ask("SELECT count() FROM winnow.lines"); return n }
	before := stored()
	dir := send(func() {
		for range 1000 {
			if stored() != before {
				break
			}
			time.Sleep(time.Millisecond)
		}
		c.kill()
	})
	c.start()
	if _, said, err := post(t, "", "--to", "clickhouse://winnow@127.0.0.1:"+c.port+"/winnow/lines", "--token-file", token, "--spool", dir); err != nil || !empty(dir) {
		t.Errorf("after the crash: %v, %s", err, said)
	}
	once()
	t.Logf("%s rows for %d lines, after three times of sending and a crash after %s", stored(), len(lines), before)
	for _, line := range []string{lines[7], someRecords[6]} {
		if got := c.must("SELECT count() FROM winnow.lines FINAL WHERE line = '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(line) + "'"); got != "1" {
			t.Errorf("%s times: %s", got, line)
		}
	}
}
