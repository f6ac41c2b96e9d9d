package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"winnow/tools/internal/bench"
	"winnow/tools/internal/filtertest"
)

// benchDays is a tenth of the 30 days that are spoken of: the time grows with them, and
// the memory does not.
const benchDays = 3

// BenchmarkWhatif replays days of 100 containers at a beat a minute under a policy of
// patience and groups, in the pipe of scripts/whatif, against jq at no more than counting
// the verdicts that are there.
func BenchmarkWhatif(b *testing.B) {
	dir := b.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "winnow/tools/classify", "winnow/tools/whatif")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	lab, err := filepath.Abs("../classify/policies/lab.toml")
	if err != nil {
		b.Fatal(err)
	}
	var peak float64
	measure := func(snapshots int, script string) bench.Usage {
		cmd := exec.Command("bash", "-c", "set -o pipefail; "+script, "bash", lab)
		cmd.Dir, cmd.Stdin, cmd.Stderr, cmd.Stdout = dir, io.Reader(&history{snapshots: snapshots}), os.Stderr, nil
		return bench.Command(b, cmd)
	}
	const (
		replay = `./whatif --note | ./classify --policy "$1" --replay | ./whatif`
		both   = `./classify --replay | ./whatif --note | ./classify --policy "$1" --replay | ./whatif --against flags`
		count  = `jq -n 'reduce inputs as $l (0; if $l.verdict == "kill" then . + 1 else . end)'`
	)
	const all = benchDays * 24 * 60
	ours := func(script string) func() time.Duration {
		return func() time.Duration {
			usage := measure(all, script)
			peak = max(peak, usage.PeakKiB) // of the largest in the pipe
			return usage.Wall
		}
	}
	peer := func() time.Duration { return measure(all, count).Wall }
	name := fmt.Sprintf("%d days of 100 containers", benchDays)
	bench.Compare(b, "a replay against what was recorded, "+name, "jq counting a verdict", 1, ours(replay), peer)
	bench.Compare(b, "a replay against another policy, "+name, "jq counting a verdict", 1, ours(both), peer)
	bench.Bound(b, "peak memory of a replay, "+name, peak, 32<<10, "KiB")
	bench.Bound(b, "peak memory of a replay, of a tenth of that", measure(all/10, replay).PeakKiB, 32<<10, "KiB")
}

// history is a stream that is made while it is read: at each minute 100 containers of
// 20 owners, of which one in ten burns a core and one ends every quarter of an hour.
type history struct {
	snapshots, made int
	text            []byte
}

func (h *history) Read(p []byte) (int, error) {
	if len(h.text) == 0 {
		if h.made == h.snapshots {
			return 0, io.EOF
		}
		h.snapshot()
		h.made++
	}
	n := copy(p, h.text)
	h.text = h.text[n:]
	return n, nil
}

func (h *history) snapshot() {
	at := time.Date(2026, 11, 1, 0, h.made, 0, 0, time.UTC).Format(time.RFC3339)
	head := fmt.Sprintf(`"time":"%s","host":"lab-1","snapshot":"lab-1-%d"`, at, h.made)
	text := fmt.Appendf(h.text[:0], `{"type":"host",%s,"source":"cgroup2","boot_id":"b","containers":100,"cpus":16,"interval_ms":60000,"total_memory_kb":67108864,`+
		`"free_memory_kb":33554432,"used_memory_kb":33554432,"available_memory_kb":50331648}`+"\n", head)
	for i := range 100 {
		n := i + 100*((h.made+15*i)/1500) // each lives for 1,500 minutes
		cpu := 0.5
		if n%10 == 0 {
			cpu = 99.5
		}
		text = fmt.Appendf(text, `{"type":"container",%s,"id":"%s","engine":"docker","pid":%d,"process":"jupyter-lab","cmdline":"/usr/bin/python3 /usr/local/bin/jupyter-lab --ip 0.0.0.0",`+
			`"cmdline_truncated":false,"processes":12,"memory_kb":%d,"memory_limit_kb":4194304,"rss_kb":524288,"vsz_kb":2097152,"memory_percent":0.78,"cpu_ns":%d,"at_ns":%d,`+
			`"cpu_percent":%g,"interval_ms":60000,"cpu_limit_percent":200,"name":"jupyter-%d","image":"jupyter/minimal","labels":{"winnow.managed":"true","owner":"student-%d"},`+
			`"created":"2026-11-01T00:00:00Z","class":"low","verdict":"keep","reason":"rank 1 of 100 low, the heaviest go first, 3 kept: cpu 0.5 %% of a core (high from 50 %%)","rank":1}`+"\n",
			head, filtertest.ID(n), 1000+n, 262144+1024*i, int64(h.made)*600_000_000, int64(h.made+1)*60_000_000_000, cpu, n, n%20)
	}
	h.text = fmt.Appendf(text, `{"type":"end",%s,"lines":101}`+"\n", head)
}
