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
	const first = `stage bash -c 'trap "echo told; exit" TERM; echo begin; while :; do sleep 0.1; done'`
	for name, test := range map[string]struct {
		pipe, out, beside string
		status            int
	}{
		"all end by themselves": {"stage seq 3\nstage cat\nbeside bash -c 'cat >beside'\nlast tee -p", "1\n2\n3\n", "1\n2\n3\n", 0},
		"nothing beside":        {"stage seq 3\nlast tee -p", "1\n2\n3\n", "", 0},
		"one fails":             {"stage seq 3\nstage bash -c 'cat; exit 3'\nlast tee -p", "1\n2\n3\n", "", 3},
		"one is killed":         {first + "\nstage bash -c 'read -r line; kill -KILL $$'\nlast tee -p", "", "", 137},
		"one behind is killed":  {first + "\nstage cat\nstage tee -p\nbeside bash -c 'read -r line; echo $line >beside; kill -KILL $$'\nlast tee -p", "begin\ntold\n", "begin\n", 137},
		"the first is killed":   {"stage bash -c 'echo begin; kill -KILL $$'\nstage cat\nlast tee -p", "begin\n", "", 137},
		"the last is killed":    {first + "\nstage tee -p out\nlast bash -c 'read -r line; kill -KILL $$'", "", "", 137},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.Command("bash", "-c", ". "+absolute(t, "help.sh")+"\n. "+absolute(t, "stages.sh")+"\n"+test.pipe+"\nawait_stages")
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

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}
