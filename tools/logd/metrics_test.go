package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"winnow/tools/testkit"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "x", twoSnapshots())
	l.post(t, "x", twoSnapshots())
	l.post(t, "", "garbage\n")
	l.mustPost(t, "", testkit.ContainerLine("s2", "2026-11-21T11:59:40Z", "eeee", `ev"il`+"\n\\", "low", "keep", 1))
	stage := func(snapshot, name string, pid, cpuNS int) string {
		return fmt.Sprintf(`{"type":"stage","time":"2026-11-21T11:59:40Z","host":"vm","snapshot":%q,"name":%q,"pid":%d,"started":"2026-11-21T11:00:00Z","cpu_ns":%d,"memory_kb":1000,"memory_peak_kb":null}`+"\n",
			snapshot, name, pid, cpuNS)
	}
	l.mustPost(t, "", stage("s1", "gone", 9, 9e9)+stage("s2", "classify", 1, 1e9)+stage("s2", "bash", 2, 2e9)+stage("s2", "bash", 3, 3e9))
	var text string
	wanted := []string{`winnow_stage_cpu_seconds_total{host="vm",stage="bash"} 5` + "\n", `winnow_stage_memory_bytes{host="vm",stage="classify"} 1.024e+06` + "\n",
		"winnow_logd_lines_total 13\n", "winnow_logd_duplicate_batches_total 1\n", "winnow_logd_refused_lines_total 1\n",
		`winnow_kills_total{class="high",result="killed"} 1` + "\n", "winnow_logd_write_seconds_count 3\n", `winnow_logd_write_seconds_bucket{le="+Inf"} 3` + "\n",
		`winnow_host_memory_bytes{host="vm",state="total"} 1.024e+09`, `winnow_host_pressure_ratio{host="vm",resource="cpu"} 0.025`,
		`winnow_container_memory_bytes{host="vm",id="bbbb11112222",name="db",image="img",class="high"} 2.097152e+06`,
		`winnow_container_cpu_cores{host="vm",id="bbbb11112222",name="db",image="img",class="high"} 0.125`,
		`winnow_host_containers{host="vm",class="low",verdict="keep"} 1`, "winnow_logd_stored_bytes ", "winnow_logd_disk_free_bytes ",
	}
	defer func() {
		if t.Failed() {
			t.Log(text)
		}
	}()
	missing := func(want string) bool { return !strings.Contains(text, want) }
	testkit.Eventually(t, "metrics have "+strings.Join(wanted, ", "), func() bool {
		_, text = l.get(t, "/metrics")
		return !slices.ContainsFunc(wanted, missing)
	})
	if strings.Contains(text, `stage="gone"`) {
		t.Error("has a stage of a snapshot before")
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "winnow_") {
			t.Errorf("a line is %q", line)
		}
	}
	l.clock.Pass(time.Hour)
	if _, text := l.get(t, "/metrics"); strings.Contains(text, "winnow_host_memory_bytes{") {
		t.Error("still has figures of a host that is silent")
	}
}

func TestMetricsAreWhatPrometheusTakes(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	at := "2026-11-21T11:59:50Z"
	host := strings.Replace(testkit.HostLine("s", at, 20), `"total_memory_kb":1000000`, `"total_memory_kb":16000000.0`, 1)
	twin := strings.Repeat("ab", 10)
	l.mustPost(t, "", host+testkit.ContainerLine("s", at, "ééééééééééééé", "rune cut in two", "low", "keep", 1)+
		testkit.ContainerLine("s", at, twin+"1", "twin", "low", "keep", 1)+testkit.ContainerLine("s", at, twin+"2", "twin", "low", "keep", 1)+
		testkit.ContainerLine("s", at, twin[:12], "twin", "low", "keep", 1)+
		testkit.ContainerLine("s", at, "eeee", "twice", "low", "keep", 1)+testkit.ContainerLine("s", at, "eeee", "twice", "low", "keep", 1)+
		testkit.ContainerLine("s", at, "ffff", strings.Repeat("é", 1000), "new\tclass", "odd", 1)+testkit.ContainerLine("s", at, "8888", "the end", "low", "keep", 1))
	var text string
	testkit.Eventually(t, "all is there", func() bool {
		_, text = l.get(t, "/metrics")
		return strings.Contains(text, `name="the end"`)
	})
	if !utf8.ValidString(text) {
		t.Error("is not UTF-8")
	}
	for _, want := range []string{`{host="vm",state="total"} 1.6384e+10`, `id="éééééééééééé",name="rune`, `id="` + twin[:12] + `"`, `id="` + twin + `2"`, `class="other",verdict="other"`,
		"winnow_logd_containers_left_out 1\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in it", want)
		}
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		series, _, _ := strings.Cut(line, "} ")
		if seen[series] {
			t.Errorf("twice: %.200s", series)
		}
		seen[series] = !strings.HasPrefix(line, "#")
	}
}

func TestGrafanaAsksForWhatThereIs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("grafana.json is not JSON")
	}
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", twoSnapshots())
	var metrics string
	testkit.Eventually(t, "containers are in the metrics", func() bool {
		_, metrics = l.get(t, "/metrics")
		return strings.Contains(metrics, "winnow_container_cpu_cores{")
	})
	asked := regexp.MustCompile(`winnow_[a-z_]+`).FindAllString(string(text), -1)
	for _, name := range asked {
		if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(metrics) {
			t.Errorf("asks for %s, which there is not", name)
		}
	}
	if len(asked) < 15 {
		t.Errorf("asks for %d metrics", len(asked))
	}
}
