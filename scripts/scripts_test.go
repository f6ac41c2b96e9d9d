// Package scripts tests the scripts from the outside, on real Docker and cron.
package scripts

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// name keeps what the tests make apart from a winnow that is up for real.
const name = "winnow-test"

func TestMain(m *testing.M) {
	// By nohup or in the background, say, signals are ignored, by all that is
	// started from here too; the scripts are to begin as from a terminal.
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	// The scripts run what is in bin/, so it must be of this tree.
	if out, err := exec.Command("make", "-C", "..", "build").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "make build: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("left to make test: needs Docker")
	}
	if out, err := exec.Command("docker", "version").CombinedOutput(); err != nil {
		t.Skipf("needs a Docker engine: %s", out)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	testscript.RunT(serial{t}, testscript.Params{
		Dir:      "testdata",
		Deadline: time.Now().Add(15 * time.Minute), // then what runs in the background is ended too
		Setup: func(env *testscript.Env) error {
			state, port := filepath.Join(env.WorkDir, "state"), freePort(t)
			env.Vars = append(env.Vars,
				"SCRIPTS="+dir,
				"PATH="+dir+":"+filepath.Join(dir, "../bin")+":"+os.Getenv("PATH"),
				"HOME="+env.WorkDir,
				"DOCKER_HOST="+os.Getenv("DOCKER_HOST"),
				"WINNOW_NAME="+name,
				"WINNOW_STATE="+state,
				"WINNOW_PORT="+port,
				"LOGD=http://127.0.0.1:"+port,
			)
			restore, err := keepCrontab()
			if err != nil {
				return err
			}
			env.Defer(restore)
			env.Defer(func() {
				down := exec.Command(filepath.Join(dir, "down"))
				down.Env = append(os.Environ(), "WINNOW_NAME="+name, "WINNOW_STATE="+state)
				if out, err := down.CombinedOutput(); err != nil {
					t.Errorf("down: %v\n%s", err, out)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitfor": waitFor},
	})
}

// serial runs one script after the other: they share the host's containers and
// the user's crontab.
type serial struct{ *testing.T }

func (s serial) Parallel()     {}
func (s serial) Verbose() bool { return testing.Verbose() }
func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(serial{t}) })
}

// freePort is one of 127.0.0.1 that nothing listens on just now.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// keepCrontab gives back the user's crontab as it is now.
func keepCrontab() (restore func(), err error) {
	old, err := exec.Command("crontab", "-l").Output()
	if err != nil {
		return func() { exec.Command("crontab", "-r").Run() }, nil
	}
	return func() {
		cmd := exec.Command("crontab", "-")
		cmd.Stdin = bytes.NewReader(old)
		cmd.Run()
	}, nil
}

// waitFor SECONDS COMMAND... runs a command until it succeeds.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor SECONDS COMMAND...")
	}
	seconds, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		if ts.Exec(args[1], args[2:]...) == nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	ts.Fatalf("not within %d s: %s", seconds, strings.Join(args[1:], " "))
}
