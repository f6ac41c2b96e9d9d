package scripts

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// call is a script that was run by itself: without Docker, and with a crontab
// that is a file.
type call struct {
	dir            string // where the scripts are
	home           string
	env            []string
	stdout, stderr string
	status         int
}

// alone prepares calls with a home of the test's own and, before the system's
// commands, stand-ins for those that reach outside.
func alone(t *testing.T) *call {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c := &call{dir: dir, home: t.TempDir()}
	commands := filepath.Join(c.home, "commands")
	if err := os.Mkdir(commands, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"crontab": fakeCrontab, "docker": "echo no engine >&2; exit 1\n"} {
		if err := os.WriteFile(filepath.Join(commands, name), []byte("#!/bin/bash\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.env = []string{"HOME=" + c.home, "PATH=" + commands + ":" + os.Getenv("PATH"), "LC_ALL=C"}
	return c
}

// fakeCrontab keeps the crontab in a file; $REFUSES makes it fail as told.
const fakeCrontab = `file=$HOME/crontab
case $1 in
  -l) [[ -e $file ]] || { echo "no crontab for me" >&2; exit 1; }
      [[ ${REFUSES-} != list ]] || { echo "you ($USER) are not allowed" >&2; exit 1; }
      exec cat "$file" ;;
  -r) exec rm "$file" ;;
  *) [[ ${REFUSES-} != install ]] || { printf 'bad minute\e[31m\n' >&2; exit 1; }
     exec cp -- "$1" "$file" ;;
esac
`

// run runs a script with more of an environment, and fails only where it cannot
// be started.
func (c *call) run(t *testing.T, env []string, script string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.dir, script), args...)
	cmd.Env = append(append([]string{}, c.env...), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Error(err) // it may be called by another goroutine
	}
	c.stdout, c.stderr, c.status = stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// noise is what bash says by itself where a script did not think of something.
var noise = regexp.MustCompile(`line \d+:|unbound|syntax error|command not found|strconv|parsing "`)

// Every script, those of the virtual machines too, gives help and refuses what
// it does not know, and does nothing else then.
func TestHelpAndArguments(t *testing.T) {
	here, _ := filepath.Glob("*")
	machines, _ := filepath.Glob("../kernel/vm/*")
	tried := 0
	for _, path := range slices.Concat(here, machines) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		tried++
		t.Run(path, func(t *testing.T) {
			name := filepath.Base(path)
			t.Parallel()
			c := alone(t)
			bad := []string{"WINNOW_INTERVAL=no", "WINNOW_STATE=" + c.home + "/state"}
			for _, args := range [][]string{{"--help"}, {"-h"}}[:some(2, 1)] {
				c.run(t, bad, path, args...)
				if c.status != 0 || !strings.HasPrefix(c.stdout, "usage: "+name) || c.stderr != "" {
					t.Errorf("%v: exit %d, %q, %q", args, c.status, c.stdout, c.stderr)
				}
			}
			c.run(t, nil, path, "--no-such-argument")
			if c.status != 2 || c.stdout != "" || !strings.Contains(c.stderr, "usage: "+name) || noise.MatchString(c.stderr) {
				t.Errorf("unknown argument: exit %d, %q, %q", c.status, c.stdout, c.stderr)
			}
			left, err := os.ReadDir(c.home)
			if err != nil || len(left) != 1 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
	if tried < 20 {
		t.Errorf("only %d scripts were found", tried)
	}
}

// Every tool tells the version that DKMS and the module have.
func TestVersion(t *testing.T) {
	conf, err := os.ReadFile("../kernel/dkms.conf")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^PACKAGE_VERSION="(.+)"$`).FindSubmatch(conf)
	tools, _ := filepath.Glob("../tools/*/main.go")
	if version == nil || len(tools) < 8 {
		t.Fatalf("dkms.conf has %q, and there are %d tools", version, len(tools))
	}
	for _, source := range tools {
		tool := filepath.Base(filepath.Dir(source))
		if out, err := exec.Command("../bin/"+tool, "--version").CombinedOutput(); err != nil || string(out) != tool+" "+string(version[1])+"\n" {
			t.Errorf("%s: %v, %q", tool, err, out)
		}
	}
}

// some is how many of n like cases are tried: all but in a short run.
func some(n, short int) int {
	if testing.Short() {
		return short
	}
	return n
}

// What cannot be meant is refused at the start, with the name that the user set,
// and the scripts that act do nothing.
func TestBadSettings(t *testing.T) {
	always := []string{"1e9", "abc", "-5", " 5", "5 ", "5\n6", "99999999999999999999", "$(touch pwned)", "a[0]", "0x10", "٣", "\x1b[31m"}
	scripts := []string{"settings", "up", "down", "run", "loop", "cycle", "spawn", "status", "demo"}
	refused := map[string][]string{
		"WINNOW_ENFORCE":      {"2.5", "yes", "2"},
		"WINNOW_POLICY":       {"2.5", "policy.toml", "./policy.toml"},
		"WINNOW_HIGH_CPU":     {"0", "0.0", "50%", "5,5", "1.2.3"},
		"WINNOW_HIGH_MEMORY":  {"0", "0%", "101%", "10 %", "64XB", "64i"},
		"WINNOW_SPAN":         {"0", "0s", "5", "2.5", "601s", "11m", "1d"},
		"WINNOW_KEEP_LOW":     {"2.5", "08", "1000000"},
		"WINNOW_KEEP_HIGH":    {"2.5", "08", "1000000"},
		"WINNOW_VICTIMS":      {"0", "2.5", "fattest", "heaviest lightest"},
		"WINNOW_GRACE":        {"0", "5", "2.5", "25h", "1440m1s", "1d"},
		"WINNOW_MAX_AGE":      {"0", "0s", "0m0s", "60", "2.5"},
		"WINNOW_INTERVAL":     {"0", "2.5", "10 s", "100000", "61m"},
		"WINNOW_ON_AVAILABLE": {"101%", "x", "-1"},
		"WINNOW_ON_PRESSURE":  {"150", "150ms", "0ms/1s"},
		"WINNOW_SPAWN":        {"2.5", "08"},
		"WINNOW_SPAWN_MAX":    {"2.5", "08"},
		"WINNOW_SPAWN_CPUS":   {"0", "0.001", "100000"},
		"WINNOW_SPAWN_MEMORY": {"0", "2.5", "5m", "128"},
		"WINNOW_PORT":         {"0", "2.5", "65536", "080"},
		"WINNOW_SPOOL_MAX":    {"2.5", "64XB"},
		"WINNOW_RETAIN":       {"0", "2.5", "30", "10000d"},
		"WINNOW_RETAIN_SIZE":  {"2.5", "10XB"},
		"WINNOW_NAME":         {"", "a b", "/", "-x", strings.Repeat("a", 41)},
		"WINNOW_STATE":        {"", "state", "./state", "/a:b", "/a\nb", "/a\\b"},
	}
	for name, values := range refused {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name != "WINNOW_NAME" && name != "WINNOW_STATE" {
				values = append(values, always[:some(len(always), 2)]...)
			}
			values = slices.DeleteFunc(values, func(v string) bool { return v == "" }) // counts as not set
			c := alone(t)
			for i, said := range c.load(t, name, values) {
				if !strings.HasPrefix(said, "loaded: "+name+" must ") || !strings.HasSuffix(said, "\nexit 2") ||
					strings.Count(said, "\n") != 1 || noise.MatchString(said) || strings.Contains(said, "\x1b") {
					t.Errorf("%q: %q", values[i], said)
				}
			}
			script := scripts[len(name)%len(scripts)]
			c.run(t, []string{name + "=" + values[0]}, script)
			if c.status != 2 || c.stdout != "" || !strings.HasPrefix(c.stderr, script+": "+name+" must ") {
				t.Errorf("%s: exit %d, %q, %q", script, c.status, c.stdout, c.stderr)
			}
			if left, err := os.ReadDir(c.home); err != nil || len(left) != 1 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// load loads the settings once for each of the values, in one bash since there
// are many, and gives what that said, its exit status, and the value taken.
func (c *call) load(t *testing.T, name string, values []string) []string {
	t.Helper()
	const program = `
		name=$1 values=("${@:2}")
		set --
		. ./lib.sh
		for value in "${values[@]}"; do
			status=0
			(export "$name=$value" && load_settings && printf '%s' "${!name}") 2>&1 || status=$?
			printf '\nexit %s\0' "$status"
		done`
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-c", program, "loaded", name}, values...)...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	all := strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(out), "\n\nexit", "\nexit"), "\x00"), "\x00")
	if err != nil || len(all) != len(values) {
		t.Fatalf("%v: %s", err, out)
	}
	return all
}

// What can be meant is taken as it is.
func TestGoodSettings(t *testing.T) {
	for setting, values := range map[string][]string{
		"WINNOW_HIGH_CPU":     {"2.5", "100", "0.01"},
		"WINNOW_HIGH_MEMORY":  {"10%", "2.5%", "100%", "64MB", "1.5GiB", "4096"},
		"WINNOW_GRACE":        {"0s", "1m30s", "500ms", "24h", "1.5s"},
		"WINNOW_KEEP_LOW":     {"0", "999999"},
		"WINNOW_SPAWN":        {"0"},
		"WINNOW_SPAWN_MEMORY": {"6m", "1g", "128MB"},
		"WINNOW_PORT":         {"1", "65535"},
		"WINNOW_RETAIN":       {"0d", "12h", "365d"},
		"WINNOW_STATE":        {"/a b'c\"d$e%f;g&é"},
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			for i, said := range alone(t).load(t, setting, values) {
				if said != values[i]+"\nexit 0" {
					t.Errorf("%q: %q", values[i], said)
				}
			}
		})
	}
}
