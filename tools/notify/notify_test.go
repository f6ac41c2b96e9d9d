package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/testkit"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"notify": main}) }

func TestScripts(t *testing.T) { testscript.Run(t, testscript.Params{Dir: "testdata"}) }

func kill(n int) string {
	return fmt.Sprintf(`{"type":"kill","id":%q,"result":"killed"}`, filtertest.ID(n)) + "\n"
}

func container(n int, verdict, killAt string) string {
	return fmt.Sprintf(`{"type":"container","id":%q,"verdict":%q,"kill_at":%s}`, filtertest.ID(n), verdict, killAt) + "\n"
}

func rule(event string) string {
	return fmt.Sprintf(`{"type":"rule","rule":"hot","event":%q,"id":%q}`, event, filtertest.ID(1)) + "\n"
}

// What is told of a stream, and in which order.
func TestNews(t *testing.T) {
	const soon, later = `"2026-11-21T12:01:00Z"`, `"2026-11-21T12:02:00Z"`
	tests := []struct{ name, in, want string }{
		{"what is kept", container(1, "keep", "null") + container(2, "kill", "null"), ""},
		{"a warning", container(1, "warn", soon), container(1, "warn", soon)},
		{"a warning again", container(1, "warn", soon) + container(1, "warn", soon), container(1, "warn", soon)},
		{"another's warning", container(1, "warn", soon) + container(2, "warn", soon), container(1, "warn", soon) + container(2, "warn", soon)},
		{"another notice", container(1, "warn", soon) + container(1, "warn", later), container(1, "warn", soon) + container(1, "warn", later)},
		{"a notice after it was kept", container(1, "warn", soon) + container(1, "keep", "null") + container(1, "warn", soon), container(1, "warn", soon) + container(1, "warn", soon)},
		{"a warning without its time", container(1, "warn", "null") + container(1, "warn", "null"), container(1, "warn", "null")},
		{"rules", rule("limited") + rule("withdrawn") + rule("unread"), rule("withdrawn")},
		{"each kill", kill(1) + kill(1), kill(1) + kill(1)},
		{"a rule that is dry", strings.Replace(container(1, "keep", soon), `"keep"`, `"keep","would":"warn"`, 1), ""},
		{"what is no record", "garbage\n" + `{"type":"kill","id":5}` + "\n" + `{"type":"container","verdict":"warn"}` + "\n" + `{"type":"weather","verdict":"warn"}` + "\n" + kill(2), kill(2)},
		{"members that it does not know", strings.Replace(kill(1), "}", `,  "more":{"a":[1]}}`, 1), strings.Replace(kill(1), "}", `,  "more":{"a":[1]}}`, 1)},
		{"without a last newline", strings.TrimSuffix(kill(1), "\n"), kill(1)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := filepath.Join(t.TempDir(), "got")
			_, said, err := filtertest.Run(t, run, strings.NewReader(test.in), "sh", "-c", `cat >>"$0"`, got)
			text, _ := os.ReadFile(got)
			if err != nil || said != "" || string(text) != test.want {
				t.Errorf("%v, said %q, told\n%swant\n%s", err, said, text, test.want)
			}
		})
	}
}

// A warning that had no room is told when its next line comes.
func TestADroppedWarningIsNotForgotten(t *testing.T) {
	told := warnings{}
	q := &queue{lines: make(chan string, 1)}
	warned := container(1, "warn", `"2026-11-21T12:01:00Z"`)
	read(strings.NewReader(kill(2)+warned), q, told, new(sync.Mutex))
	if len(told) != 0 || q.dropped.Load() != 1 {
		t.Errorf("remembers %v, dropped %d", told, q.dropped.Load())
	}
	q.lines = make(chan string, 1)
	read(strings.NewReader(warned+strings.Replace(warned, "}", `,"x":"`+strings.Repeat("x", maxLine)+`"}`, 1)), q, told, new(sync.Mutex))
	if len(told) != 1 || len(q.lines) != 1 {
		t.Errorf("remembers %v, %d wait", told, len(q.lines))
	}
}

// Whatever the command does, all of the input is read at once, the rest is
// counted, and the end comes within its bound.
func TestTheReaderIsNeverHeldUp(t *testing.T) {
	const many = 5000
	line := strings.Replace(kill(1), "}", `,"pad":"`+strings.Repeat("x", 4000)+`"}`, 1)
	for _, test := range []struct{ name, command string }{
		{"hangs", "exec sleep 1000"},
		{"hangs with its children", "trap '' TERM INT HUP; sleep 1000 & sleep 1000 & wait"},
		{"floods stdout", "exec yes"},
		{"floods stderr", "exec yes >&2"},
		{"is slow", "exec sleep 0.2"},
		{"fails", "exit 3"},
		{"leaves children that hold its output", "sleep 1000 & exit 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var said testkit.Messages
			in, feed := io.Pipe()
			ended := make(chan error, 1)
			go func() {
				ended <- run(t.Context(), []string{"--timeout", "2s", "--queue", "5", "sh", "-c", test.command}, in, io.Discard, writer{&said})
			}()
			begun := time.Now()
			for range many {
				io.WriteString(feed, line)
			}
			feed.Close()
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("took %v to read %d lines", took, many)
			}
			begun = time.Now()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("took %v to end", took)
			}
			ran, dropped := 0, 0
			for message := range strings.Lines(said.String()) {
				if n, is := strings.CutPrefix(message, "notify: dropped "); is {
					n, _, _ := strings.Cut(n, ":")
					more, _ := strconv.Atoi(n)
					dropped += more
				} else if strings.HasPrefix(message, "notify: sh: ") {
					ran++
				}
				if len(message) > 2*maxSaid {
					t.Errorf("said %q", message)
				}
			}
			if quiet := test.name == "is slow"; quiet == (ran > 0) || dropped == 0 || !quiet && ran+dropped != many || quiet && dropped > many-2 {
				t.Errorf("ran %d and dropped %d of %d: %.2000s", ran, dropped, many, said.String())
			}
		})
	}
}

type writer struct{ *testkit.Messages }

func (w writer) Write(p []byte) (int, error) {
	w.Warn("%s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

// process is notify as one, whose command writes its own pid and that of a child
// into a file, and hangs.
type process struct {
	*exec.Cmd
	t    *testing.T
	feed io.WriteCloser
	pids string
}

func start(t *testing.T, timeout string, streams ...*os.File) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "notify")); err != nil { // by its name TestMain makes it notify
		t.Fatal(err)
	}
	p := &process{t: t, pids: filepath.Join(dir, "pids")}
	p.Cmd = exec.Command(filepath.Join(dir, "notify"), "--timeout", timeout, "sh", "-c", `sleep 1000 & echo $$ $! >"$0.new"; mv "$0.new" "$0"; wait`, p.pids)
	if p.feed, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if len(streams) == 2 {
		p.Stdout, p.Stderr = streams[0], streams[1]
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill() })
	return p
}

// runs waits until the command does, and gives its pid and its child's.
func (p *process) runs() (pids []int) {
	p.t.Helper()
	io.WriteString(p.feed, kill(1))
	testkit.Eventually(p.t, "the command runs", func() bool {
		text, _ := os.ReadFile(p.pids)
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			pids = append(pids, pid)
		}
		return len(pids) == 2
	})
	return pids
}

// ends waits for its end, after which none of its command's processes is left.
func (p *process) ends(pids []int) {
	p.t.Helper()
	late := time.AfterFunc(testkit.Patience, func() { p.Process.Kill() })
	defer late.Stop()
	if err := p.Wait(); err != nil {
		p.t.Errorf("ended with %v", err)
	}
	for _, pid := range pids {
		testkit.Eventually(p.t, "the command's process is gone", func() bool { return isGone(pid) })
	}
}

// isGone tells whether a process has ended, be it that nobody has heard of it yet.
func isGone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// Nothing is left, however it is ended.
func TestEnds(t *testing.T) {
	signals := func(all ...syscall.Signal) func(p *process) {
		return func(p *process) {
			for _, s := range all {
				p.Process.Signal(s)
				time.Sleep(100 * time.Millisecond) // or two might be one
			}
		}
	}
	for name, test := range map[string]struct {
		timeout string
		end     func(p *process)
	}{
		"its input ends":                       {"1s", func(p *process) { p.feed.Close() }},
		"a signal, and the input goes on":      {"1s", signals(syscall.SIGTERM)},
		"the terminal is gone":                 {"1s", signals(syscall.SIGHUP)},
		"two signals, and nothing comes in":    {"1h", signals(syscall.SIGINT, syscall.SIGINT)},
		"the input ends, and then two signals": {"1h", func(p *process) { p.feed.Close(); signals(syscall.SIGTERM, syscall.SIGTERM)(p) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, test.timeout)
			pids := p.runs()
			test.end(p)
			p.ends(pids)
		})
	}
}

// A command does not outlive a notify that was killed.
func TestTheCommandDiesWithIt(t *testing.T) {
	p := start(t, "1h")
	pids := p.runs()
	p.Process.Kill()
	p.Wait()
	testkit.Eventually(t, "the command is gone", func() bool { return isGone(pids[0]) })
	syscall.Kill(pids[1], syscall.SIGKILL) // its child is its own
}

// It holds no pipe that it stands beside, nor is it ended by one that is gone.
func TestItsOwnOutput(t *testing.T) {
	outRead, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	saidRead, said, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "300ms", out, said)
	out.Close()
	said.Close()
	saidRead.Close()
	outRead.SetReadDeadline(time.Now().Add(testkit.Patience))
	if text, err := io.ReadAll(outRead); err != nil || len(text) > 0 {
		t.Errorf("its stdout does not end: %q, %v", text, err)
	}
	p.runs()
	if err := os.Remove(p.pids); err != nil {
		t.Fatal(err)
	}
	pids := p.runs() // though nobody hears that the first one took too long
	p.feed.Close()
	p.ends(pids)
}

// The README's webhook, on a server of the test's.
func TestTheWebhookOfTheReadme(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skipf("needs curl, which scripts/deps test installs: %v", err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const url = "http://127.0.0.1:8080/hook"
	_, command, _ := strings.Cut(string(readme), "scripts/notify curl ")
	command, _, _ = strings.Cut("notify curl "+command, "\n")
	if !strings.HasSuffix(command, url) {
		t.Fatalf("the README has no webhook: %.80q", command)
	}
	var got strings.Builder
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(&got, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Content-Type"), body)
		w.WriteHeader(status)
	}))
	defer server.Close()
	hook := func() string {
		shell := exec.Command("bash", "-c", strings.Replace(command, url, server.URL+"/hook", 1))
		shell.Stdin = strings.NewReader(container(1, "warn", `"2026-11-21T12:01:00Z"`) + container(2, "keep", "null") + kill(3))
		said, err := shell.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, said)
		}
		return string(said)
	}
	const post = "POST /hook application/json "
	if said := hook(); said != "" || got.String() != post+container(1, "warn", `"2026-11-21T12:01:00Z"`)+post+kill(3) {
		t.Errorf("said %q, and the server got\n%s", said, got.String())
	}
	status = http.StatusTeapot
	if said := hook(); strings.Count(said, "notify: curl: exit status 22: curl: (22) The requested URL returned error: 418") != 2 {
		t.Errorf("of a server that refuses it says %q", said)
	}
}

// After a signal it ends once nothing waits, though more may come.
func TestEndsWhenNothingWaits(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	q := &queue{lines: make(chan string, 9), stop: make(chan struct{}), command: []string{"tee", "-a", ran}, timeout: time.Minute, warn: t.Errorf}
	q.offer("one")
	q.offer("two")
	close(q.stop)
	if !q.work(t.Context()) {
		t.Error("says that some were left")
	}
	if text, err := os.ReadFile(ran); err != nil || string(text) != "one\ntwo\n" {
		t.Errorf("did %q, %v", text, err)
	}
}

// In a long pipe the warnings of containers that are gone without a word are forgotten.
func TestForgetsWarnings(t *testing.T) {
	told := warnings{}
	q := &queue{lines: make(chan string, 1)}
	go func() {
		for range q.lines {
		}
	}()
	in, feed := io.Pipe()
	go func() {
		for n := range 2000 {
			fmt.Fprintf(feed, `{"type":"host","snapshot":"s"}`+"\n"+`{"type":"container","id":"%064x","verdict":"warn","kill_at":"2020-01-01T00:00:00Z"}`+"\n", n)
		}
		feed.Close()
	}()
	if read(in, q, told, new(sync.Mutex)); len(told) > 1 {
		t.Errorf("remembers %d", len(told))
	}
}

// A command has none of the files that notify was handed open: a lock that it leaves
// to a process of its own would never be given back.
func TestCommandHasNoFilesOfOurs(t *testing.T) {
	dir := t.TempDir()
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	cmd := exec.Command("notify", "sh", "-c", "ls -l /proc/$$/fd >"+filepath.Join(dir, "open")) // which testscript.Main puts into PATH
	cmd.ExtraFiles, cmd.Stdin = []*os.File{lock}, strings.NewReader(kill(1))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	open, err := os.ReadFile(filepath.Join(dir, "open"))
	if err != nil || strings.Contains(string(open), lock.Name()) {
		t.Errorf("%v: the command has open:\n%s", err, open)
	}
}
