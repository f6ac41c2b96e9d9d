package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/full"
	"winnow/tools/testkit"
)

// process is a logd of its own, to be killed.
type process struct {
	*exec.Cmd
	said bytes.Buffer
}

func (p *process) kill() {
	p.Process.Kill()
	p.Wait()
}

// wait is for the process to end by itself; one that does not is killed.
func (p *process) wait() error {
	defer time.AfterFunc(20*time.Second, func() { p.Process.Kill() }).Stop()
	return p.Wait()
}

// peak is the most memory that a process had, in bytes.
func (p *process) peak(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatalf("%v; said %s", err, p.said.String())
	}
	kb := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if kb == nil {
		t.Fatalf("it is gone; said %s", p.said.String())
	}
	n, _ := strconv.Atoi(string(kb[1]))
	return n << 10
}

// startListening starts what listens on addr then.
func startListening(t testing.TB, addr string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd}
	p.Stderr = &p.said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

func startProcess(t *testing.T, dir, addr string) *process {
	t.Helper()
	return startListening(t, addr, exec.Command("logd", "--listen", addr, "--dir", dir))
}

// startBuilt starts a logd as it is shipped: what the race detector adds would
// be measured with it otherwise.
func startBuilt(t *testing.T) (p *process, url string) {
	t.Helper()
	full.Needs(t, "some seconds and 500 MB of disk")
	path := filepath.Join(t.TempDir(), "logd")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	addr := testkit.FreeAddr(t)
	p = startListening(t, addr, exec.Command(path, "--listen", addr, "--dir", t.TempDir()))
	t.Cleanup(p.kill)
	return p, "http://" + addr
}

// postOnce posts what must be stored.
func postOnce(t *testing.T, url, body string) {
	t.Helper()
	response, err := http.Post(url+"/logs", "", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK || !bytes.Contains(text, []byte(`"refused":[]`)) {
		t.Errorf("status %d: %.300s", response.StatusCode, text)
	}
}

// ago is a time as a line has it.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339Nano) }
