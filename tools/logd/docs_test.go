package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
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
	t.Parallel()
	for _, program := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	l := startLog(t, t.TempDir(), func(s *server) { s.guard.Token = []byte(testToken) })
	l.clock.Pass(time.Since(testkit.Noon))
	home := t.TempDir()
	conf := filepath.Join(home, ".local/state/winnow/curl.conf") // as scripts/up writes it
	if err := errors.Join(os.MkdirAll(filepath.Dir(conf), 0o755), os.WriteFile(conf, []byte("oauth2-bearer = \""+testToken+"\"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	l.mustPost(t, "", someHour(t, l.clock.Now(), "vm"))
	examples := curlExamples(t)
	if name := whyOf(examples); name != "" {
		l.mustPost(t, "", lifeOf(name, l.clock.Now()))
	}
	log := l.find(t, "")
	for _, example := range examples {
		t.Run(example, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", strings.ReplaceAll(example, exampleAddr, l.url))
			cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "HOME="+home)
			cmd.WaitDelay = time.Second
			if strings.Contains(example, "follow=1") {
				go l.killSoon(ctx)
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			checkExample(t, l, example, log, string(out), cmd.Dir)
		})
	}
}

// whyOf is the container whose story the examples ask for.
func whyOf(examples []string) string {
	name := regexp.MustCompile(exampleAddr + `/why/([^ '"?|]+)`).FindStringSubmatch(strings.Join(examples, "\n"))
	if name == nil {
		return ""
	}
	return name[1]
}

// lifeOf is a snapshot in which a container called name is condemned, and its
// kill.
func lifeOf(name string, at time.Time) string {
	stamp := at.Add(-time.Second).UTC().Format(time.RFC3339Nano)
	return testkit.HostLine("last", stamp, 2) + testkit.ContainerLine("last", stamp, "eeee11112222", name, "high", "kill", 2) + testkit.ContainerLine("last", stamp, "ffff11112222", "beside", "low", "keep", 1) +
		`{"type":"kill","time":"` + stamp + `","host":"vm","snapshot":"last","id":"eeee11112222","name":"` + name + `","image":"img","class":"high","reason":"because of it","result":"killed","signal":"SIGTERM","took_ms":1,"error":""}` + "\n"
}

// checkExample holds what an example printed, or the file that it made, against
// a plain reading of the log. An example that is new wants a case of its own.
func checkExample(t *testing.T, l *testLog, example, log, out, dir string) {
	t.Helper()
	is := func(want string) {
		t.Helper()
		if out != want {
			t.Errorf("prints\n%.2000s\nwant\n%.2000s", out, want)
		}
	}
	switch {
	case strings.Contains(example, "type=kill&since=1h'"):
		var want strings.Builder
		for _, k := range readKills(t, log) {
			want.WriteString(strings.Join([]string{k.Time, k.Name, k.Result, k.Reason}, "\t") + "\n")
		}
		is(want.String())
	case strings.Contains(example, "class=high&order=desc&limit=5"):
		var heavy []string
		for line := range strings.Lines(log) {
			if strings.HasPrefix(line, `{"type":"container"`) && strings.Contains(line, `,"class":"high",`) {
				heavy = append(heavy, line)
			}
		}
		slices.Reverse(heavy)
		is(strings.Join(heavy[:5], ""))
	case strings.Contains(example, "follow=1&type=kill&since=0s&limit=1"):
		kills := readKills(t, out)
		if len(kills) != 1 || kills[0].Name != "web" || strings.Contains(log, out) {
			t.Errorf("prints %s", out)
		}
	case strings.Contains(example, "/why/"):
		var got, want any
		text := `{"name":"` + whyOf([]string{example}) + `","end":"because of it","considered":[{"name":"` + whyOf([]string{example}) +
			`","class":"high","verdict":"kill"},{"name":"beside","class":"low","verdict":"keep"}]}`
		if err := errors.Join(json.Unmarshal([]byte(out), &got), json.Unmarshal([]byte(text), &want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("prints %s\nwant %s, %v", out, text, err)
		}
	case strings.Contains(example, "-o memory.png"):
		is("")
		f, err := os.Open(filepath.Join(dir, "memory.png"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if picture, err := png.Decode(f); err != nil || picture.Bounds().Dx() < 300 {
			t.Errorf("made %v, %v", picture, err)
		}
	case strings.Contains(example, "--data-binary @-"):
		is(`{"stored":1,"refused":[],"duplicate":false}` + "\n")
		if got := l.find(t, "type=note"); got != `{"type":"note","text":"new policy from here"}`+"\n" {
			t.Errorf("stored %q", got)
		}
	case strings.Contains(example, "/healthz && "):
		if !strings.HasPrefix(out, `{"status":"ok"}`+"\n"+`{"status":"ready"}`+"\n"+"winnow_host_") || !strings.Contains(out, "winnow_host_cpus{host=\"vm\"} 2\n") || strings.Contains(out, "winnow_logd") {
			t.Errorf("prints %s", out)
		}
	default:
		t.Error("nothing here says what this example is to print")
	}
}

type kill struct{ Time, Name, Result, Reason string }

func readKills(t *testing.T, log string) []kill {
	t.Helper()
	var kills []kill
	for line := range strings.Lines(log) {
		var raw map[string]any
		if err := json.Unmarshal([]byte(line), &raw); err != nil {
			t.Fatal(err)
		}
		if raw["type"] == "kill" {
			kills = append(kills, kill{fmt.Sprint(raw["time"]), fmt.Sprint(raw["name"]), fmt.Sprint(raw["result"]), fmt.Sprint(raw["reason"])})
		}
	}
	return kills
}
