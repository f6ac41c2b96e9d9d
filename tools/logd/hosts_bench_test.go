package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"winnow/tools/internal/bench"
	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

const (
	hostBeat       = 10 * time.Second
	hostContainers = 100
	hostBeats      = 3 // that each number of hosts is measured for
	// tooLate is the p99 of a batch's answer from which on one logd has too many hosts.
	tooLate = time.Second
)

// simulated is a host that posts a snapshot each beat, with its own token, as logpost does.
type simulated struct {
	name, token, url string
	client           *http.Client
	lines            []byte
	n                int
}

// newSimulated records a stream once: a host line, those of its containers, and the end.
func newSimulated(b *testing.B, n int, addr, tokens string) *simulated {
	b.Helper()
	s := &simulated{name: fmt.Sprintf("host%05d", n), token: fmt.Sprintf("the-token-of-%05d", n), url: "http://" + addr + "/logs",
		client: &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}}
	if err := os.WriteFile(filepath.Join(tokens, s.name), []byte(s.token), 0o600); err != nil {
		b.Fatal(err)
	}
	head := record.Header{Time: testkit.Noon, Host: s.name, Snapshot: "SNAPSHOT"}
	head.Type = record.TypeHost
	first, err := record.Marshal(record.Host{Header: head, Containers: hostContainers, CPUs: 8, TotalMemoryKB: 32 << 20})
	if err != nil {
		b.Fatal(err)
	}
	s.lines = first
	for c := range hostContainers {
		s.lines = append(s.lines, bytes.Replace(bytes.Replace(benchLine(c), []byte(`"host":"vm"`), []byte(`"host":"`+s.name+`"`), 1), []byte(fmt.Sprint(`"snapshot":"s-`, c/30, `"`)), []byte(`"snapshot":"SNAPSHOT"`), 1)...)
	}
	s.lines = append(s.lines, fmt.Sprintf(`{"type":"end","time":%q,"host":%q,"snapshot":"SNAPSHOT","lines":%d}`+"\n", testkit.Noon.Format(time.RFC3339), s.name, hostContainers+1)...)
	return s
}

// post sends a snapshot, until it is stored, and is how long that took.
func (s *simulated) post() (time.Duration, error) {
	s.n++
	begun := time.Now()
	text := strings.NewReplacer("SNAPSHOT", fmt.Sprint("s", s.n), testkit.Noon.Format(time.RFC3339), begun.UTC().Format(time.RFC3339Nano)).Replace(string(s.lines))
	for {
		request, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(text))
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", "Bearer "+s.token)
		request.Header.Set(record.BatchHeader, fmt.Sprintf("%s-%d", s.name, s.n))
		answer, err := s.client.Do(request)
		if err == nil {
			said, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				if !bytes.Contains(said, fmt.Appendf(nil, `"stored":%d`, hostContainers+2)) {
					return 0, fmt.Errorf("%s: %s", s.name, said)
				}
				return time.Since(begun), nil
			}
			if answer.StatusCode != http.StatusServiceUnavailable && answer.StatusCode != http.StatusRequestTimeout { // as logpost does
				return 0, fmt.Errorf("%s: status %d: %s", s.name, answer.StatusCode, said)
			}
		}
		if time.Since(begun) > time.Minute { // a connection that had to give way is made anew
			return 0, fmt.Errorf("%s: not stored within a minute: %v", s.name, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// BenchmarkHosts has ever more hosts of 100 containers send their snapshots to one logd, each every 10 s with its own
// token, until the slowest hundredth of the answers takes more than a second.
func BenchmarkHosts(b *testing.B) {
	tokens := b.TempDir()
	addr, _, p := startBenchLog(b, "--token-file", tokenFile(b), "--host-tokens", tokens)
	var hosts []*simulated
	for _, count := range []int{200, 400, 800, 1600, 3200, 6400, 12800} {
		for len(hosts) < count {
			hosts = append(hosts, newSimulated(b, len(hosts), addr, tokens))
		}
		time.Sleep(tokensEvery)
		p99, cpu := sendAll(b, hosts, p.Process.Pid)
		name := fmt.Sprintf("%d hosts of %d containers every %v to one logd", count, hostContainers, hostBeat)
		bench.Bound(b, name+": p99 of a batch", p99.Seconds(), tooLate.Seconds(), "s")
		bench.Bound(b, name+": of a core", 100*cpu, 200, "%")
		bench.Bound(b, name+": peak memory", float64(p.peak(b))/(1<<20), 128, "MiB")
		if p99 > tooLate || b.Failed() {
			return
		}
	}
}

// sendAll has all hosts send for some beats, evenly spread over one; of the answers it gives the p99, of logd the CPU time
// as a share of a core.
func sendAll(b *testing.B, hosts []*simulated, pid int) (p99 time.Duration, cpu float64) {
	b.Helper()
	took := make([][]time.Duration, len(hosts))
	var all sync.WaitGroup
	begun, before := time.Now(), cpuSeconds(b, pid)
	for i, h := range hosts {
		all.Go(func() {
			next := begun.Add(hostBeat * time.Duration(i) / time.Duration(len(hosts)))
			for range hostBeats {
				time.Sleep(time.Until(next))
				d, err := h.post()
				if err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], d)
				next = next.Add(hostBeat)
			}
		})
	}
	all.Wait()
	answers := slices.Sorted(slices.Values(slices.Concat(took...)))
	if len(answers) == 0 {
		b.Fatal("no answers")
	}
	return answers[len(answers)*99/100], (cpuSeconds(b, pid) - before) / time.Since(begun).Seconds()
}

// cpuSeconds is what a process has used, by /proc/PID/stat, whose ticks are hundredths of a second.
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	var user, system float64
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return (user + system) / 100
}
