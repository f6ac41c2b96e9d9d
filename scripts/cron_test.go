package scripts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const (
	ourBegin = "# >>> winnow: installed by scripts/up, taken out by scripts/down\n"
	ourEnd   = "# <<< winnow\n"
	theirJob = "5 4 * * * backup --all\n"
)

// crontab puts a crontab in place, and gives what is there later.
func (c *call) crontab(t *testing.T, text string) (now func() string) {
	t.Helper()
	path := filepath.Join(c.home, "crontab")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() string {
		text, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
}

// Whatever is in the crontab, other people's lines stay to the byte.
func TestCronLeavesOthersAlone(t *testing.T) {
	for name, theirs := range map[string]string{
		"none":                 "",
		"a job":                theirJob,
		"odd lines":            "# tab\t and blanks   \n\nMAILTO=\"\"\n" + theirJob + "\n\n",
		"no newline at end":    strings.TrimSuffix(theirJob, "\n"),
		"another winnow":       "# >>> winnow2: installed by scripts/up, taken out by scripts/down\n" + theirJob + "# <<< winnow2\n",
		"a name that is ours":  "# >>> winnow\n# <<< winnow2\n" + theirJob,
		"a spawn by hand":      "* * * * * WINNOW_STATE=/s /scripts/spawn --after 0 >>/s/spawn.log 2>&1\n",
		"a percent, backslash": "0 5 * * 1 test -e /x && echo 100\\% \\n >/dev/null\n",
	} {
		t.Run(name, func(t *testing.T) {
			if name != "odd lines" && testing.Short() {
				t.Skip("left to make test: needs time")
			}
			t.Parallel()
			c := alone(t)
			now := c.crontab(t, theirs)
			for range 2 { // installed twice it is there once
				if c.run(t, nil, "cron", "install"); c.status != 0 || c.stderr != "" {
					t.Fatalf("install: exit %d, %s", c.status, c.stderr)
				}
			}
			if got := now(); strings.Count(got, "/spawn --after") != 2+strings.Count(theirs, "/spawn --after") || !strings.HasSuffix(got, ourEnd) {
				t.Errorf("installed: %q", got)
			}
			if c.run(t, nil, "cron", "remove"); c.status != 0 || c.stderr != "" {
				t.Fatalf("remove: exit %d, %s", c.status, c.stderr)
			}
			if got := now(); got != theirs && got != theirs+"\n" {
				t.Errorf("got %q, want %q", got, theirs)
			}
		})
	}
}

// Where the markers are not in pairs nobody can tell what is whose.
func TestCronTouchesNothingUnbalanced(t *testing.T) {
	for name, text := range map[string]string{
		"no end":         ourBegin + theirJob,
		"no begin":       theirJob + ourEnd + theirJob,
		"end first":      ourEnd + theirJob + ourBegin,
		"begin twice":    ourBegin + theirJob + ourBegin + ourEnd,
		"end twice":      ourBegin + ourEnd + theirJob + ourEnd,
		"pair and begin": ourBegin + ourEnd + theirJob + ourBegin + theirJob,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := alone(t)
			now := c.crontab(t, text)
			for _, what := range []string{"install", "remove", "check"} {
				c.run(t, nil, "cron", what)
				if c.status != 1 || !strings.Contains(c.stderr, "not in pairs") {
					t.Errorf("%s: exit %d, %q", what, c.status, c.stderr)
				}
				if got := now(); got != text {
					t.Errorf("%s left %q", what, got)
				}
			}
		})
	}
}

// As the issue has it: installed, the end marker deleted, a job added, installed
// and removed again.
func TestCronWithTheEndDeleted(t *testing.T) {
	c := alone(t)
	now := c.crontab(t, "")
	c.run(t, nil, "cron", "install")
	cut := strings.TrimSuffix(now(), ourEnd) + theirJob
	now = c.crontab(t, cut)
	c.run(t, nil, "cron", "install")
	c.run(t, nil, "cron", "remove")
	if got := now(); got != cut {
		t.Errorf("got %q, want %q", got, cut)
	}
}

// A line that somebody put between our markers is theirs.
func TestCronKeepsALineAmongOurs(t *testing.T) {
	c := alone(t)
	now := c.crontab(t, "")
	c.run(t, nil, "cron", "install")
	now = c.crontab(t, strings.Replace(now(), ourBegin, ourBegin+theirJob, 1))
	if c.run(t, nil, "cron", "remove"); c.status != 0 || now() != theirJob {
		t.Errorf("exit %d, %q, %q", c.status, c.stderr, now())
	}
}

// The lines of another state directory under the same name are not taken over.
func TestCronOfAnotherState(t *testing.T) {
	c := alone(t)
	now := c.crontab(t, theirJob)
	c.run(t, []string{"WINNOW_STATE=" + c.home + "/one"}, "cron", "install")
	before := now()
	for _, what := range []string{"check", "install", "remove"} {
		c.run(t, []string{"WINNOW_STATE=" + c.home + "/two"}, "cron", what)
		if c.status != 1 || !strings.Contains(c.stderr, "of another state directory") || !strings.Contains(c.stderr, c.home+"/one") || now() != before {
			t.Errorf("%s: exit %d, %q", what, c.status, c.stderr)
		}
	}
}

// Winnows of several names and states share the user's crontab: none undoes what
// another does at the same moment.
func TestCronOfManyAtOnce(t *testing.T) {
	c := alone(t)
	now := c.crontab(t, theirJob)
	at := func(what string) {
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				one := *c
				one.run(t, []string{fmt.Sprintf("WINNOW_NAME=w%d", i), fmt.Sprintf("WINNOW_STATE=%s/%d", c.home, i)}, "cron", what)
				if one.status != 0 {
					t.Errorf("%s: exit %d, %s", what, one.status, one.stderr)
				}
			})
		}
		all.Wait()
	}
	at("install")
	if n := strings.Count(now(), "/spawn --after"); n != 12 {
		t.Errorf("%d lines of 12: %s", n, now())
	}
	at("remove")
	if now() != theirJob {
		t.Errorf("left %q", now())
	}
}

func TestCronThatRefuses(t *testing.T) {
	c := alone(t)
	now := c.crontab(t, theirJob)
	for refuses, says := range map[string]string{"list": "cron: crontab -l failed: you () are not allowed", "install": "cron: crontab failed: bad minute?[31m"} {
		c.run(t, []string{"REFUSES=" + refuses}, "cron", "install")
		if c.status != 1 || !strings.Contains(c.stderr, says) || now() != theirJob {
			t.Errorf("%s: exit %d, %q", refuses, c.status, c.stderr)
		}
	}
}

// The spawn lines work, as cron and sh read them, for every path that is taken.
func TestCronLinesWorkForOddPaths(t *testing.T) {
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	odd := []string{"it's 100%", "é世界", "$HOME `id` $(id)", "plain", "two words", `"quoted"`, "a;b&c|d>e", "#*?[x]~", "-n", "\xff"}
	for _, odd := range odd[:some(len(odd), 2)] {
		t.Run(odd, func(t *testing.T) {
			t.Parallel()
			c := alone(t)
			now := c.crontab(t, theirJob)
			home := filepath.Join(c.home, odd)
			for _, dir := range []string{"bin", "state"} {
				if err := os.MkdirAll(filepath.Join(home, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, part := range []string{"scripts", "crontab"} {
				if out, err := exec.Command("cp", "-r", "--", filepath.Join(repository, part), home).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			c.dir = filepath.Join(home, "scripts")
			state := filepath.Join(home, "state")
			if c.run(t, []string{"WINNOW_STATE=" + state}, "cron", "install"); c.status != 0 {
				t.Fatalf("exit %d, %s", c.status, c.stderr)
			}
			// Instead of spawning it tells what it was called with.
			spawn := "#!/bin/bash\nprintf '%s %s' \"$WINNOW_STATE\" \"$*\"\n"
			if err := os.WriteFile(filepath.Join(c.dir, "spawn"), []byte(spawn), 0o755); err != nil {
				t.Fatal(err)
			}
			_, line, _ := strings.Cut(now(), "* * * * * ")
			line, _, _ = strings.Cut(line, "\n")
			line = strings.ReplaceAll(line, `\%`, "\x00") // as cron reads it: a bare % ends the command
			line, _, _ = strings.Cut(line, "%")
			if out, err := exec.Command("sh", "-c", strings.ReplaceAll(line, "\x00", "%")).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			got, err := os.ReadFile(filepath.Join(state, "spawn.log"))
			if want := state + " --after 0"; err != nil || string(got) != want {
				t.Errorf("%v: got %q, want %q", err, got, want)
			}
			if c.run(t, []string{"WINNOW_STATE=" + state}, "cron", "remove"); c.status != 0 || now() != theirJob {
				t.Errorf("remove: exit %d, %q, left %q", c.status, c.stderr, now())
			}
		})
	}
}
