package scripts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	crashRounds = 20
	crashHosts  = 6
	crashLines  = 200 // of a call of logpost
	crashLog    = "10.213.7.1:7070"
)

// sender is a host that delivers lines, call by call, from a network of its own.
type sender struct {
	t       *testing.T
	name    string
	dir     string
	cert    string // that it trusts
	space   space
	mu      sync.Mutex
	running *exec.Cmd
	paused  bool
	n       int          // lines sent
	counted map[int]bool // those of calls that ended well: delivered, or kept
}

// send is a call of logpost with some lines, or with none, and tells whether it ended well.
func (s *sender) send(lines int) bool {
	var text bytes.Buffer
	first := s.n
	for range lines {
		fmt.Fprintf(&text, `{"type":"note","host":%q,"n":%d,"more":%q}`+"\n", s.name, s.n, strings.Repeat("x", 200))
		s.n++
	}
	cmd := s.space.command("../bin/logpost", "--to", "https://"+crashLog, "--spool", filepath.Join(s.dir, "spool"),
		"--token-file", filepath.Join(s.dir, s.name), "--timeout", "1s")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+s.cert)
	cmd.Stdin = &text
	s.mu.Lock()
	err := cmd.Start()
	s.running = cmd
	s.mu.Unlock()
	if err == nil {
		err = cmd.Wait()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = nil
	if err != nil {
		return false
	}
	for n := range lines {
		s.counted[first+n] = true
	}
	return true
}

// kill is kill -9 of the call under way; a node that goes is away for a while.
func (s *sender) kill(node bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		s.running.Process.Signal(syscall.SIGKILL)
	}
	s.paused = node
}

func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		paused := s.paused
		s.mu.Unlock()
		if paused {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.send(1 + rand.IntN(crashLines))
	}
}

// certificate makes one for an address, and its key.
func certificate(t *testing.T, address string) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
		"-subj", "/CN=logd", "-addext", "subjectAltName=IP:"+address, "-keyout", key, "-out", cert).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	return cert, key
}

// Each line that a host counts as delivered is in the log exactly once, and each host's are in order, whatever is killed
// or cut meanwhile: logd, a logpost, a node, its network. Each host is in a network of its own, and speaks TLS.
func TestHostsThroughCrashes(t *testing.T) {
	if testing.Short() {
		t.Skip("left to make test: needs time")
	}
	log, tokens := t.TempDir(), t.TempDir()
	all := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(all, []byte("the-token-that-reads-all"), 0o600); err != nil {
		t.Fatal(err)
	}
	ip, _, _ := strings.Cut(crashLog, ":")
	network := newSwitch(t, ip)
	cert, key := certificate(t, ip)
	var logd *exec.Cmd
	serve := func() {
		t.Helper()
		logd = network.command("../bin/logd", "--listen", crashLog, "--dir", log, "--token-file", all, "--host-tokens", tokens, "--tls-cert", cert, "--tls-key", key)
		if err := logd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	stop := func() { logd.Process.Kill(); logd.Wait() }
	serve()
	t.Cleanup(func() { stop() })

	var hosts []*sender
	for i := range crashHosts {
		name := fmt.Sprintf("host%d", i)
		s := &sender{t: t, name: name, dir: t.TempDir(), cert: cert, space: network.plug(t, name, fmt.Sprintf("10.213.7.%d", 2+i)), counted: map[int]bool{}}
		for _, dir := range []string{tokens, s.dir} {
			if err := os.WriteFile(filepath.Join(dir, s.name), fmt.Appendf(nil, "the-token-of-%s-alone", s.name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		hosts = append(hosts, s)
	}
	ctx, end := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for _, s := range hosts {
		sending.Go(func() { s.run(ctx) })
	}
	for round := range crashRounds {
		time.Sleep(time.Duration(200+rand.IntN(400)) * time.Millisecond)
		some := hosts[rand.IntN(len(hosts))]
		pause := time.Duration(100+rand.IntN(600)) * time.Millisecond
		switch round % 4 {
		case 0:
			stop()
			time.Sleep(pause)
			serve()
		case 1:
			some.kill(false)
		case 2:
			some.kill(true)
			time.Sleep(pause)
			some.kill(false)
		case 3:
			network.cut(t, some.name) // in the middle of whatever is said
			time.Sleep(4 * pause)     // which is longer, and shorter, than logpost waits
			network.mend(t, some.name)
		}
	}
	end()
	sending.Wait()
	for _, s := range hosts {
		if !within(patience, func() bool {
			s.send(0)
			left, _ := filepath.Glob(filepath.Join(s.dir, "spool", "*.ndjson"))
			return len(left) == 0
		}) {
			t.Errorf("%s: the spool is not empty", s.name)
		}
		if aside, _ := filepath.Glob(filepath.Join(s.dir, "spool", "*.refused")); len(aside) > 0 {
			t.Errorf("%s: set aside: %v", s.name, aside)
		}
	}
	stop()

	stored := map[string][]int{}
	files, _ := filepath.Glob(filepath.Join(log, "*.jsonl"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var in struct {
				Type, Host string
				N          int
			}
			if json.Unmarshal(line, &in) == nil && in.Type == "note" {
				stored[in.Host] = append(stored[in.Host], in.N)
			}
		}
	}
	total := 0
	for _, s := range hosts {
		last := -1
		for _, n := range stored[s.name] {
			if n <= last {
				t.Errorf("%s: line %d after line %d", s.name, n, last)
			}
			last = n
			delete(s.counted, n)
		}
		total += len(stored[s.name])
		if len(s.counted) > 0 {
			t.Errorf("%s: %d lines that counted as delivered are not in the log", s.name, len(s.counted))
		}
		if len(stored[s.name]) == 0 {
			t.Errorf("%s: nothing is stored", s.name)
		}
	}
	t.Logf("%d lines of %d hosts through %d rounds", total, len(hosts), crashRounds)
	if out, err := exec.Command("../bin/logd", "--verify", log).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
