package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// exampleAddr is where the README's examples expect logd.
const exampleAddr = "http://127.0.0.1:7070"

// curlExamples are the README's calls of curl.
func curlExamples(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for line := range strings.Lines(string(readme)) {
		if code, ok := strings.CutPrefix(line, "    "); ok && strings.Contains(code, "curl ") && strings.Contains(code, exampleAddr) {
			examples = append(examples, strings.TrimSpace(code))
		}
	}
	if len(examples) < 7 {
		t.Fatalf("the README has only %d examples", len(examples))
	}
	return examples
}

// curlAnswers are patterns of what an example gives, by what is in it.
func curlAnswers(t *testing.T, example string) (want []*regexp.Regexp) {
	t.Helper()
	for part, pattern := range map[string]string{
		"/logs?type=kill&since=1h": `(?m)^2\S+\t\S+\tkilled\t\S.*$`,
		"type=container":           `^(\{"type":"container",.*"class":"high".*\}\n){5}$`,
		"follow=1":                 `^\{"type":"kill",.*"name":"web","result":"killed"\}\n$`,
		"/why/":                    `(?s)^\{\s+"name": "[^"]+",\s+"end": "[^"]+",\s+"considered": \[\s+\{\s+"name": "`,
		".png":                     `^.PNG\r\n`,
		"--data-binary":            `^\{"stored":1\b.*\}\n$`,
		"/healthz":                 `(?s)^\{.*\}\s+\{.*\}\s+.*winnow_host_memory_bytes\{`,
	} {
		if strings.Contains(example, part) {
			want = append(want, regexp.MustCompile(pattern))
		}
	}
	if len(want) == 0 {
		t.Fatal("nobody said what this is to give")
	}
	return want
}

func TestCurlExamplesOfTheReadme(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	l := startLog(t, t.TempDir())
	l.clock.at = time.Now()
	l.mustPost(t, "", someHour(t, l.clock.at, "vm"))
	for _, example := range curlExamples(t) {
		t.Run(example, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", strings.ReplaceAll(example, exampleAddr, l.url))
			cmd.Dir = t.TempDir()
			if strings.Contains(example, "follow=1") {
				go l.killSoon(ctx)
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, want := range curlAnswers(t, example) {
				if file, _ := os.ReadFile(filepath.Join(cmd.Dir, "memory.png")); !want.Match(out) && !want.Match(file) {
					t.Errorf("not as %s: %s", want, out)
				}
			}
		})
	}
}

// killSoon posts kills until ctx is done.
func (l *testLog) killSoon(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		line := `{"type":"kill","time":"` + time.Now().Add(time.Minute).UTC().Format(time.RFC3339) + `","host":"vm","name":"web","result":"killed"}`
		if err := l.store.Append(newBatch("", line)); err != nil {
			return
		}
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
	eventually(t, "containers are in the metrics", func() bool {
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
