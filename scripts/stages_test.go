package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whichever stage of a pipe ends, the first is told to end and the others come to
// their end behind it, with what they had read.
func TestStages(t *testing.T) {
	const first = `stage sh -c 'trap "echo told; exit" TERM; echo begin; while :; do sleep 0.1; done'`
	for name, test := range map[string]struct {
		pipe, out, beside string
		status            int
	}{
		"all end by themselves": {"stage seq 3\nstage cat\nbeside sh -c 'cat >beside'\nlast_tee", "1\n2\n3\n", "1\n2\n3\n", 0},
		"two beside":            {"stage seq 3\nbeside sh -c 'cat >beside'\nbeside sh -c 'cat >&2'\nlast_tee", "1\n2\n3\n", "1\n2\n3\n", 0},
		"nothing beside":        {"stage seq 3\nlast cat", "1\n2\n3\n", "", 0},
		"one fails":             {"stage seq 3\nstage sh -c 'cat; exit 3'\nlast cat", "1\n2\n3\n", "", 3},
		"one is not there":      {first + "\nstage nosuchprogram\nlast cat", "", "", 127},
		"one is killed":         {first + "\nstage sh -c 'read -r line; kill -KILL $$'\nlast cat", "", "", 137},
		"one beside is killed":  {first + "\nstage cat\nbeside sh -c 'read -r line; echo $line >beside; kill -KILL $$'\nlast_tee", "begin\ntold\n", "begin\n", 137},
		"one beside fails":      {first + "\nstage cat\nbeside sh -c 'read -r line; echo $line >beside; exit 4'\nlast_tee", "begin\ntold\n", "begin\n", 4},
		"the first is killed":   {"stage sh -c 'echo begin; kill -KILL $$'\nstage cat\nlast cat", "begin\n", "", 137},
		"the last is killed":    {first + "\nstage tee -p out\nlast sh -c 'read -r line; kill -KILL $$'", "", "", 137},
	} {
		for _, shell := range []string{"sh", "bash", "busybox sh"} { // the last is the agent's
			t.Run(shell+", "+name, func(t *testing.T) {
				t.Parallel()
				words := strings.Fields(shell)
				if _, err := exec.LookPath(words[0]); err != nil {
					t.Skipf("needs %s: %v", words[0], err)
				}
				dir := t.TempDir()
				cmd := exec.Command(words[0], append(words[1:], "-euc", ". "+absolute(t, "stages.sh")+"\n"+test.pipe+"\nawait_stages")...)
				cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(os.Environ(), "WINNOW_STATE="+dir), 5*time.Second
				var out, said strings.Builder
				cmd.Stdout, cmd.Stderr = &out, &said
				watch := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
				defer watch.Stop()
				cmd.Run()
				beside, _ := os.ReadFile(filepath.Join(dir, "beside"))
				if status := cmd.ProcessState.ExitCode(); status != test.status || out.String() != test.out || string(beside) != test.beside {
					t.Errorf("exit status %d, stdout %q, beside %q, stderr %s", status, out.String(), beside, said.String())
				}
				if test.status == 137 && !strings.Contains(said.String(), "was ended by signal 9") {
					t.Errorf("does not say who was killed: %s", said.String())
				}
				left, err := filepath.Glob(filepath.Join(dir, "pipe.*"))
				if err != nil || len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}
