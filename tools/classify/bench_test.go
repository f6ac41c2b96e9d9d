package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/bench"
	"winnow/tools/internal/record"
)

// BenchmarkClassify judges 100 snapshots of 1,000 containers, against jq at the
// same, and at no more than naming those to be killed.
func BenchmarkClassify(b *testing.B) {
	dir := b.TempDir()
	classify, all, one := filepath.Join(dir, "classify"), filepath.Join(dir, "all"), filepath.Join(dir, "one")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", classify, ".")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	writeRecords(b, all, 100, 1000)
	writeRecords(b, one, 1, 1000)
	measure := func(input string, command ...string) bench.Usage {
		in, err := os.Open(input)
		if err != nil {
			b.Fatal(err)
		}
		defer in.Close()
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin, cmd.Stderr = in, os.Stderr
		return bench.Command(b, cmd)
	}
	var peak float64
	ours := func() time.Duration {
		usage := measure(all, classify)
		peak = max(peak, usage.PeakKiB)
		return usage.Wall
	}
	bench.Compare(b, "classify 100000 lines", "jq giving the same lines without the reasons", 3, ours,
		func() time.Duration { return measure(all, "jq", "-ncf", "testdata/verdicts.jq").Wall })
	bench.Compare(b, "classify 100000 lines, to jq's bare ids", "jq giving only the ids to be killed", 3, ours,
		func() time.Duration { return measure(all, "jq", "-nrf", "testdata/select.jq").Wall })
	policy := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(policy, []byte(tenRules()), 0o600); err != nil {
		b.Fatal(err)
	}
	bench.Compare(b, "classify 100000 lines by ten rules", "classify by its flags alone", 5,
		func() time.Duration { return measure(all, classify, "--policy", policy).Wall },
		func() time.Duration { return measure(all, classify).Wall })
	bench.Bound(b, "classify peak memory at 100 times 1000 containers", peak, 32<<10, "KiB")
	bench.Bound(b, "classify peak memory at 1000 containers", measure(one, classify).PeakKiB, 32<<10, "KiB")
}

// tenRules is a policy in which each rule is about every container, and most
// remember them.
func tenRules() string {
	text := "version = 1\n"
	for n := range 10 {
		text += fmt.Sprintf("[[rule]]\nname = \"%d\"\nmatch = [\"image=winnow/*\", \"!label=not=%d\"]\ncpu = \"> %d%%\"\nkeep = %d\n", n, n, 5*n, 10*n)
		if n%3 != 0 {
			text += "for = \"30s\"\nnotice = \"30s\"\nforgive = \"10s\"\nper = \"label=winnow.kind\"\n"
		}
	}
	return text
}

// What classify is measured against comes to the same verdicts.
func TestSameAsJQ(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skipf("needs jq: %v", err)
	}
	input := filepath.Join(t.TempDir(), "records")
	writeRecords(t, input, 3, 200)
	records, err := os.ReadFile(input)
	if err != nil {
		t.Fatal(err)
	}
	jq := func(in []byte, args ...string) string {
		cmd := exec.Command("jq", args...)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		return string(out)
	}
	var out bytes.Buffer
	if err := run(t.Context(), nil, bytes.NewReader(records), &out, os.Stderr); err != nil {
		t.Fatal(err)
	}
	got := jq(out.Bytes(), "-cS", "del(.reason)")
	if want := jq(records, "-ncSf", "testdata/verdicts.jq"); got != want {
		t.Errorf("verdicts differ from jq's:\n%.2000s\nwant\n%.2000s", got, want)
	}
	ids := func(text string) []string {
		lines := strings.Fields(text)
		slices.Sort(lines)
		return lines
	}
	kills := ids(jq(out.Bytes(), "-r", `select(.verdict == "kill").id`))
	if want := ids(jq(records, "-nrf", "testdata/select.jq")); !slices.Equal(kills, want) || len(kills) < 500 {
		t.Errorf("%d kills, %d of jq", len(kills), len(want))
	}
}

// writeRecords writes snapshots as readsysinfo and namectr make them.
func writeRecords(t testing.TB, path string, snapshots, containers int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	random := rand.New(rand.NewPCG(1, 2))
	for s := range snapshots {
		header := record.Header{Time: time.Date(2025, 6, 1, 12, 0, 10*s, 123456789, time.UTC), Host: "node-1",
			Snapshot: fmt.Sprintf("node-1-1748779200-%06d", s)}
		interval := int64(10000)
		host := record.Host{Header: header, Source: record.SourceCgroup2, Containers: containers, CPUs: 8, IntervalMS: &interval,
			TotalMemoryKB: 8145140, FreeMemoryKB: 1393852, UsedMemoryKB: 6751288, AvailableMemoryKB: 3145728}
		host.Type = record.TypeHost
		put(t, w, host)
		for c := range containers {
			put(t, w, used(header, s, c, random))
		}
		header.Type = record.TypeEnd
		put(t, w, record.End{Header: header, Lines: 1 + containers})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// used is a container of the s-th snapshot.
func used(header record.Header, s, c int, random *rand.Rand) record.Container {
	header.Type = record.TypeContainer
	memory := uint64(random.IntN(1 << 20))
	created := header.Time.Truncate(time.Second).Add(-time.Hour)
	sample := record.Container{Header: header, ID: fmt.Sprintf("%032x%032x", c, s), PID: 100000 + c, Process: "low-web",
		Cmdline: new("/burn --memory 16MB --port 8080 --every 10s"), Processes: 3, MemoryKB: memory, RSSKB: memory + 4096, VSZKB: 1238168,
		MemoryPercent: float64(memory*1000/81451) / 1000, CPUNS: uint64(random.Int64N(1e12)), Name: fmt.Sprintf("low-web-%d-%04d", s, c),
		Image: "winnow/low-web:latest", Labels: map[string]string{record.LabelManaged: "true", "winnow.kind": "low-web"}, Created: &created}
	if c%50 == 0 {
		sample.Labels[record.LabelProtect] = "true"
	}
	if c%20 != 0 {
		percent := float64(random.IntN(8000)) / 100
		sample.CPUPercent = &percent
		span := int64(10000)
		if c%30 == 1 {
			span = 4999
		}
		sample.IntervalMS = &span
	}
	return sample
}

func put(t testing.TB, w *bufio.Writer, v any) {
	line, err := record.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(line)
}
