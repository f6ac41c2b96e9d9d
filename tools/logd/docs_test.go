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

func TestCurlExamplesOfTheReadme(t *testing.T) {
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
			if made, _ := os.ReadDir(cmd.Dir); len(out) == 0 && len(made) == 0 {
				t.Error("prints nothing and makes no file")
			}
			if strings.Contains(string(out), `"error":"`) && !strings.Contains(string(out), `"error":""`) {
				t.Errorf("answers %s", out)
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
	for begun := time.Now(); !strings.Contains(metrics, "winnow_container_cpu_cores{"); time.Sleep(10 * time.Millisecond) {
		if _, metrics = l.get(t, "/metrics"); time.Since(begun) > 5*time.Second {
			t.Fatalf("no containers in\n%s", metrics)
		}
	}
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
