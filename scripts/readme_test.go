package scripts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readme is the file's text.
func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every setting is in the README with the default that it has, in the order in
// which scripts/settings tells them, and so are the test containers' own.
func TestSettingsAreInTheReadme(t *testing.T) {
	shown := func(env ...string) (defaults, forTests []string) {
		c := alone(t)
		c.run(t, env, "settings", "--json")
		if c.status != 0 {
			t.Fatalf("settings: exit %d, %s", c.status, c.stderr)
		}
		for line := range strings.Lines(c.stdout) {
			var s struct{ Name, Value, From string }
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			s.Value = strings.Replace(s.Value, c.home, "~", 1)
			switch s.From {
			case "default":
				defaults = append(defaults, s.Name+" "+s.Value)
			case "test containers":
				forTests = append(forTests, s.Name+"="+s.Value)
			}
		}
		return defaults, forTests
	}
	var documented []string
	text := readme(t)
	for _, m := range regexp.MustCompile("(?m)^\\| `(WINNOW_\\w+)` \\| `([^`]+)` \\| \\S").FindAllStringSubmatch(text, -1) {
		documented = append(documented, m[1]+" "+m[2])
	}
	all, forTests := shown("WINNOW_ENFORCE=0")
	for i, name := range []string{"WINNOW_HIGH_CPU", "WINNOW_HIGH_MEMORY"} {
		if len(forTests) != 2 || !strings.HasPrefix(forTests[i], name+"=") || !strings.Contains(text, "`"+forTests[i]+"`") {
			t.Errorf("for the test containers there are %v, and the README has not `%s`", forTests, forTests[i:])
		}
	}
	// Where others can be stopped too, all have their defaults but the one that says so, and without spawns as well.
	for _, not := range []string{"WINNOW_ENFORCE=1", "WINNOW_SPAWN=0"} {
		name, _, _ := strings.Cut(not, "=")
		isIt := func(s string) bool { return strings.HasPrefix(s, name+" ") }
		got, _ := shown(not)
		if want := slices.DeleteFunc(slices.Clone(documented), isIt); !slices.Equal(got, want) {
			t.Errorf("%s:\nsettings %q\nREADME   %q", not, got, want)
		}
	}
	for _, s := range all {
		if !slices.Contains(documented, s) {
			t.Errorf("the README has not %s", s)
		}
	}
}

// The README's commands stand indented; what they print stands in fences.
func commands(text string) (found []string) {
	fenced := false
	for line := range strings.Lines(text) {
		code, indented := strings.CutPrefix(strings.TrimRight(line, "\n"), "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case !fenced && indented && !strings.HasPrefix(code, "#"):
			found = append(found, code)
		}
	}
	return found
}

// wanted is what a command of the README has to do when it is run as printed.
// All that it prints has to match.
type wanted struct {
	stdout, stderr string
	meanwhile      func(*winnow) error // goes on, again and again, until the command ends
	govern         bool                // it goes on until Ctrl-C, and then takes winnow down: so it comes last
	target         bool                // of the Makefile: not run here, since it takes long or changes the kernel
}

const (
	stamp  = `20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`
	ranked = `rank \d+ of \d+ (low|high), .*`
	judged = `(?s)\S+  ` + stamp + `  .*\nlow: (none|\d+)\n.*\n(killed: none|killed: 0 of \d+, .*dry.*)\n.*`
)

// answers are by what a command begins with. A new one wants a line here.
var answers = map[string]wanted{
	"scripts/whatif --policy tools/classify/policies/course.toml --since 2d":         {stdout: `(?s)What if course\.toml \(here\) had judged, against recorded \(there\)\n.*\ncondemned +~?\d+ +\d+\n.*  yesterday-\d  .*`},
	"scripts/whatif --policy tools/classify/policies/course.toml --since 2d --json ": {stdout: `(` + stamp + `\t\S+\trule (light|heavy): rank .*\n)+`},
	"scripts/whatif --policy tools/classify/policies/lab.toml --against ":            {stdout: `(?s)What if lab\.toml \(here\) had judged, against course\.toml \(there\)\n.*\ncondemned +0 +~?\d+\n.*`},

	"make ":          {target: true},
	"scripts/up ":    {stderr: `(?s).*up: done: the log is in \S+/log and on http://127\.0\.0\.1:7070; a browser asks for a password, which is in \S+/token\n`},
	"docker run -d ": {stdout: `[0-9a-f]{64}\n`, stderr: `.*`},
	"scripts/cycle ": {stdout: `(?s)\{"type":"host",.*"name":"my-db",.*\{"type":"end",.*`, stderr: `cycle: dry: nothing is killed\n` + judged},
	"bin/readsysinfo | bin/namectr | bin/classify ":          {stdout: judged},
	"bin/readsysinfo | bin/namectr | jq ":                    {stdout: `(\d+ kB\t\S+\n){3,5}`},
	"bin/classify --policy ":                                 {stdout: `(?s)A container is high .*\.\nRule "forgotten": .*`},
	"bin/readsysinfo | bin/namectr | bin/classify --policy ": {stdout: `(?s)A container is high .*\n\n(\S.*\n)+`},
	"bin/readsysinfo --processes ":                           {stdout: `(?s)([0-9a-f]{12}\t\d+\t[^\n]+\n)*[0-9a-f]{12}\t\d+\t/logd [^\n]+\n.*`},
	"scripts/status  ": {stdout: `up +since ` + stamp + `, as winnow, in \S+/winnow\ngoverning +no\nlast pass +` + stamp +
		`, exit status 0\nlast kill +` + stamp + ` \w+ \S+: ` + ranked + `\npolicy +none\nsource +(module|cgroup)\nspool +0 batches, 0 bytes\nlog +http://127\.0\.0\.1:7070\ncost +nothing runs\nsettings +.*\n`},
	"scripts/explain my-db ":                      {stdout: `my-db is still here\. At ` + stamp + ` its verdict was keep: kept, .*winnow\.protect=true: .*\.\nIt is [0-9a-f]{12}, of the image winnow/low-idle, on \S+\.\n`},
	"scripts/explain \"$(":                        {stdout: `\S+ was killed at ` + stamp + ` by SIG\w+: ` + ranked + `\.\nIt is [0-9a-f]{12}, of the image \S+, on \S+\.\n`},
	"scripts/logcat today | scripts/notify curl ": {stderr: `(notify: curl: exit status 7: curl: \(7\) .*\n)+`}, // nobody is there
	"scripts/logcat today | scripts/notify sh ":   {},
	"scripts/status --json ":                      {},
	"scripts/cost  ":                              {stdout: `NAME +PID +SINCE +CPU +OF CORE +MEMORY\ntogether +0\.00% +0\.0 MiB\n`},
	"scripts/settings ":                           {stdout: `WINNOW_STATE +/\S+/winnow +default\n(WINNOW_\w+ +\S+ +(default|saved by up|test containers)\n){20,}`},
	"scripts/logcat yesterday | bin/":             {stdout: `(` + stamp + `\tyesterday-\d\trank [2-6] of 6 high, .*\n){5}`},
	"scripts/logcat today ":                       {stdout: `(` + stamp + `\t(killed|dry_run)\t\S+\t` + ranked + `\n)+`},
	"scripts/logcat | jq ":                        {stdout: `( *\d+ 20\d\d-\d\d-\d\dT\d\d\n)+`},
	"scripts/logcat yesterday | scripts/report":   {stdout: `(?s)vm  ` + stamp + `  cgroup2, 2 cores, 6 containers\n.*\nhigh: 6\n(.*yesterday-\d ){6}.*`},
	"curl -s -K ~/.local/state/winnow/curl.conf 'http://127.0.0.1:7070/logs?type=kill":      {stdout: `(` + stamp + `\t\S+\t(killed|dry_run)\t` + ranked + `\n)+`},
	"curl -s -K ~/.local/state/winnow/curl.conf 'http://127.0.0.1:7070/logs?type=container": {stdout: `(\{"type":"container",.*"class":"high",.*\}\n){5}`},
	"curl -sN -K ~/.local/state/winnow/curl.conf 'http://127.0.0.1:7070/logs?follow=1":      {stdout: `\{"type":"kill",.*"name":"of-the-test",.*\}\n`, meanwhile: (*winnow).postKill},
	"name=$(curl ": {stdout: `(?s)\{\n  "name": "\S+",\n  "end": "` + ranked + `",\n  "considered": \[\n.*"verdict": "kill"\n.*`},
	"curl -s -K ~/.local/state/winnow/curl.conf -o memory.png ": {},
	"echo '{":                                {stdout: `\{"stored":1,"refused":\[\],"duplicate":false\}\n`},
	"curl -s http://127.0.0.1:7070/healthz ": {stdout: `\{"status":"ok"\}\n\{"status":"ready"\}\n(winnow_host_.*\n)+`},
	"WINNOW_SPAWN=0 scripts/run ":            {govern: true, stderr: `(?s).*\nloop: only test containers .*\ndown: done: .*`},
	"WINNOW_SPAWN=0 WINNOW_KEEP_HIGH=5 scripts/run --enforce ": {govern: true, stderr: `(?s).*\nloop: enforced: .*\ndown: done: .*`},
}

// answer is what is wanted of a command, and by which beginning.
func answer(command string) (begins string, want wanted, ok bool) {
	for b, w := range answers {
		if strings.HasPrefix(command, b) && len(b) >= len(begins) {
			begins, want, ok = b, w, true
		}
	}
	return begins, want, ok
}

// Each command is thought of, and nothing is thought of that is not there.
func TestReadmeCommandsHaveAnswers(t *testing.T) {
	targets, err := exec.Command("make", "-C", "..", "--no-print-directory", "help").Output()
	if err != nil {
		t.Fatal(err)
	}
	unused := maps.Clone(answers)
	for _, command := range commands(readme(t)) {
		begins, want, ok := answer(command)
		delete(unused, begins)
		if !ok || strings.Contains(command, "…") || strings.HasSuffix(command, `\`) {
			t.Errorf("nothing says what this prints, or it is no whole command: %s", command)
		}
		if target := strings.Fields(command)[1]; want.target && !strings.Contains("\n"+string(targets), "\n"+target+" ") {
			t.Errorf("make has no target %s", target)
		}
	}
	for begins := range unused {
		t.Errorf("the README has no command that begins with %q", begins)
	}
}

// Every command of the README is run as it is printed there: with the default
// name, port and settings, in a home of its own.
func TestReadmeCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("left to make test: needs Docker")
	}
	w := bare(t)
	w.begin()
	var last []string
	for _, command := range commands(readme(t)) {
		_, want, _ := answer(command)
		if want.govern {
			last = append(last, command)
		} else if !want.target {
			t.Run(command, func(t *testing.T) { w.check(t, command, want) })
		}
	}
	if picture, err := os.ReadFile(filepath.Join(w.dir, "memory.png")); err != nil || !bytes.HasPrefix(picture, []byte("\x89PNG\r\n")) {
		t.Errorf("memory.png is no picture: %v", err)
	}
	for _, command := range last {
		_, want, _ := answer(command)
		t.Run(command, func(t *testing.T) { w.check(t, command, want) })
	}
	// What was there to be governed has lived through it, and all else is gone.
	for _, name := range mine {
		if out, err := exec.Command("docker", "inspect", "--format", "{{.State.Running}}", name).CombinedOutput(); string(out) != "true\n" {
			t.Errorf("%s runs: %s, %v", name, out, err)
		}
	}
	if out, err := exec.Command("docker", "ps", "--all", "--quiet", "--filter", "name=^winnow-logd$", "--filter", "label=winnow.test=winnow").Output(); len(out) > 0 || err != nil {
		t.Errorf("left: %s, %v", out, err)
	}
}

// mine are the containers that the README starts as the reader's own.
var mine = []string{"my-web", "my-db"}

// winnow is one with all defaults, in a home of the test's own.
type winnow struct {
	t         *testing.T
	dir, home string
	env       []string
}

// bare prepares for one, and skips the test where it would meet another one or
// containers that are not the test's.
func bare(t *testing.T) *winnow {
	t.Helper()
	for _, program := range []string{"docker", "crontab", "jq", "zstd", "curl", "less"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s", program)
		}
	}
	docker := func(args ...string) string {
		out, err := exec.Command("docker", args...).CombinedOutput()
		if err != nil {
			t.Skipf("docker %s: %s", args[0], out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, filter := range []string{"name=^winnow-logd$", "name=^my-(web|db)$", "label=winnow.managed"} {
		if ids := docker("ps", "--all", "--quiet", "--filter", filter); ids != "" {
			t.Skipf("there are containers with %s, which this would take for its own: %s", filter, ids)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:7070")
	if err != nil {
		t.Skipf("needs logd's port: %v", err)
	}
	l.Close()
	if time.Now().UTC().Add(20*time.Minute).Day() != time.Now().UTC().Day() {
		t.Skip("the day (UTC) is nearly over, and the README speaks of today and yesterday")
	}

	w := &winnow{t: t, dir: t.TempDir(), home: t.TempDir()}
	// As in the repository's root, but that files can be made there.
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.Symlink(filepath.Join(root, entry.Name()), filepath.Join(w.dir, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "WINNOW_") && !strings.HasPrefix(variable, "XDG_STATE_HOME=") && !strings.HasPrefix(variable, "HOME=") {
			w.env = append(w.env, variable)
		}
	}
	w.env = append(w.env, "HOME="+w.home)
	restore, err := keepCrontab()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(restore)
	t.Cleanup(func() {
		if got := w.run(t, nil, "scripts/down"); got.err != nil {
			t.Errorf("down: %v\n%s", got.err, got.stderr)
		}
		for _, name := range mine {
			exec.Command("docker", "rm", "--force", name).Run()
		}
	})
	return w
}

// begin makes what the README's reader has by then: a log of yesterday, and a
// winnow that is up and has killed today.
func (w *winnow) begin() {
	w.t.Helper()
	noon := time.Now().UTC().AddDate(0, 0, -1).Truncate(24 * time.Hour).Add(12 * time.Hour)
	head := fmt.Sprintf(`"time":"%s","host":"vm","snapshot":"noon"`, noon.Format(time.RFC3339))
	var day strings.Builder
	fmt.Fprintf(&day, `{"type":"host",%s,"source":"cgroup2","containers":6,"cpus":2,"interval_ms":10000,"total_memory_kb":8000000}`+"\n", head)
	for i := range 6 {
		fmt.Fprintf(&day, `{"type":"container",%s,"id":"%064x","pid":%d,"process":"burn","processes":1,"memory_kb":1000,"memory_percent":0.01,"cpu_ns":1,"cpu_percent":%d,"interval_ms":10000,`+
			`"name":"yesterday-%d","image":"busy","labels":{"winnow.managed":"true"},"created":"%s","class":"high","verdict":"keep","reason":"as it was","rank":1}`+"\n",
			head, i+1, i+100, 60+i, i, noon.Add(-time.Hour).Format(time.RFC3339))
	}
	fmt.Fprintf(&day, `{"type":"end",%s,"lines":7}`+"\n", head)
	log := filepath.Join(w.home, ".local/state/winnow/log")
	if err := os.MkdirAll(log, 0o755); err != nil {
		w.t.Fatal(err)
	}
	zstd := exec.Command("zstd", "--quiet", "--stdout")
	zstd.Stdin = strings.NewReader(day.String())
	packed, err := zstd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(log, noon.Format(time.DateOnly)+".jsonl.zst")
	if err := os.WriteFile(path, packed, 0o644); err != nil {
		w.t.Fatal(err)
	}
	if os.Geteuid() == 0 { // logd opens its days to write, as the user that up gives it
		if err := os.Chown(path, 65532, 65532); err != nil {
			w.t.Fatal(err)
		}
	}

	few := []string{"WINNOW_SPAWN=3", "WINNOW_SPAWN_MAX=6"} // saved by up: the machine has other things to do
	for _, command := range []string{"scripts/up", "scripts/spawn"} {
		if got := w.run(w.t, few, command); got.err != nil {
			w.t.Fatalf("%s: %v\n%s", command, got.err, got.stderr)
		}
	}
	none := []string{"WINNOW_KEEP_LOW=0", "WINNOW_KEEP_HIGH=0"}
	for end := time.Now().Add(2 * time.Minute); ; { // until they have run for long enough
		got := w.run(w.t, none, "scripts/cycle")
		if strings.Contains(got.stdout, `"result":"killed"`) {
			return
		}
		if got.err != nil || time.Now().After(end) {
			w.t.Fatalf("cycle: %v\n%s", got.err, got.stderr)
		}
	}
}

// check runs a command and holds what it says against what is wanted.
func (w *winnow) check(t *testing.T, command string, want wanted) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if want.meanwhile != nil {
		beside.Go(func() {
			for ctx.Err() == nil {
				if err := want.meanwhile(w); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(200 * time.Millisecond)
			}
		})
	}
	var got result
	if want.govern {
		got = w.govern(t, command)
	} else {
		got = w.run(t, nil, command)
	}
	if got.err != nil {
		t.Errorf("%v", got.err)
	}
	for _, one := range []struct{ name, pattern, text string }{{"stdout", want.stdout, got.stdout}, {"stderr", want.stderr, got.stderr}} {
		if !regexp.MustCompile(`^(?:` + one.pattern + `)$`).MatchString(one.text) {
			t.Errorf("%s is not as %s:\n%.3000s", one.name, one.pattern, one.text)
		}
	}
}

type result struct {
	stdout, stderr string
	err            error
}

// start starts a command as a shell does, with a process group of its own, and
// ends all of it where it takes too long.
func (w *winnow) start(t *testing.T, env []string, command string) (cmd *exec.Cmd, wait func() result) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	cmd = exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", command)
	cmd.Dir, cmd.Env = w.dir, slices.Concat(w.env, env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	return cmd, func() result {
		defer cancel()
		err := cmd.Wait()
		return result{stdout.String(), stderr.String(), err}
	}
}

func (w *winnow) run(t *testing.T, env []string, command string) result {
	t.Helper()
	_, wait := w.start(t, env, command)
	return wait()
}

// govern runs a command that governs, and presses Ctrl-C when a snapshot is in the log.
func (w *winnow) govern(t *testing.T, command string) result {
	t.Helper()
	beat := filepath.Join(w.home, ".local/state/winnow/beat")
	if err := os.Remove(beat); err != nil {
		t.Fatal(err)
	}
	cmd, wait := w.start(t, nil, command)
	if !within(3*time.Minute, func() bool { _, err := os.Stat(beat); return err == nil }) {
		t.Error("no snapshot comes to the log")
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Error(err)
	}
	return wait()
}

// postKill puts a kill into the log.
func (w *winnow) postKill() error {
	line := fmt.Sprintf(`{"type":"kill","time":"%s","host":"vm","name":"of-the-test","reason":"rank 1 of 1 low, made up","result":"killed"}`, time.Now().Add(time.Minute).UTC().Format(time.RFC3339))
	token, err := os.ReadFile(filepath.Join(w.home, ".local/state/winnow/token"))
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:7070/logs", strings.NewReader(line+"\n"))
	if err != nil {
		return err
	}
	request.SetBasicAuth("anyone", string(token))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if said, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("post: %s: %s", answer.Status, said)
	}
	return nil
}
