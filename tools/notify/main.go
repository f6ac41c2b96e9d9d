// Command notify runs a command for each warning, each notice that is withdrawn
// and each kill in a stream of records.
//
//	main.go   flags, signals, the reading, which nothing holds up, and what is news
//	queue.go  the lines that wait, and the command
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `notify runs the command for each warning that is new, notice that is withdrawn and kill,
with that line on its stdin. One runs at a time, the others wait in a queue, and what has
no room there is dropped and counted: whatever the command does, the stream is read on. One
that fails or takes too long is named, with the beginning of its stderr; its stdout goes
nowhere. After the end of the input, or a signal, what waits has --timeout to be done; a
second signal ends it at once. The exit status is 0 but for wrong usage.

Examples:

  readsysinfo | namectr | classify | killctr | notify --timeout 30s mail -s winnow root >records.jsonl`

func main() { cli.Main("notify", run) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("notify", "[--timeout 10s] [--queue 100] [--state FILE] COMMAND [ARGUMENT]... < records", summary, stderr)
	t.SetInterspersed(false)
	timeout := t.Duration("timeout", 10*time.Second, "how long a command may take, and all that is left when the input ends")
	room := t.Int("queue", 100, "how many lines may wait")
	state := t.String("state", "", "remember here which warnings are told, for the next call")
	if err := t.Parse(args, stdout, math.MaxInt); err != nil {
		return err
	}
	if t.NArg() == 0 || *timeout <= 0 || *room < 1 {
		return t.Misused("needs a command, and a --timeout and --queue above zero")
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}
	if c, ok := stdout.(io.Closer); ok {
		c.Close() // as >(notify) it is the pipe's next stage, which waits for its end
	}
	told, err := recall(*state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Warn("%s: warnings are told anew: %v", *state, err)
	}
	onlyForUs()
	q := &queue{lines: make(chan string, *room), stop: make(chan struct{}), command: t.Args(), timeout: *timeout, warn: t.Warn}
	ctx, end := context.WithCancel(ctx)
	defer end()
	heed(*timeout, q.stop, end)
	var reading sync.Mutex // of told
	go func() {
		read(stdin, q, told, &reading)
		time.AfterFunc(*timeout, end)
	}()
	if !q.work(ctx) || *state == "" { // not all may have been told: better twice than not at all
		return nil
	}
	reading.Lock() // for good: after a signal there may be more to read
	if len(q.lines) > 0 {
		return nil
	}
	if err := told.keep(*state); err != nil {
		t.Warn("%v", err)
	}
	return nil
}

// onlyForUs keeps from the command what files we were handed open, but for the first
// three. Among them is the lock that tells who governs, and what a command leaves
// behind in a session of its own, such as a mailer, would hold it.
func onlyForUs() {
	open, _ := os.ReadDir("/proc/self/fd")
	for _, one := range open {
		if fd, err := strconv.Atoi(one.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// heed ends it after a first signal, once nothing waits or a while is over, and at once
// after a second one. A
// stderr that is gone does not end it.
func heed(timeout time.Duration, stop chan struct{}, end func()) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		<-signals
		close(stop)
		time.AfterFunc(timeout, end)
		<-signals
		end()
	}()
}

// read puts what is news into the queue, and ends it. A line that is no record is
// passed over: the tools of the pipe report it.
func read(in io.Reader, q *queue, told warnings, reading *sync.Mutex) {
	defer close(q.lines)
	for line, err := range record.Lines(in) {
		if err != nil || line.Check() != nil {
			continue
		}
		reading.Lock()
		if told.isNews(line) && q.offer(line.Text()) && line.Type() == record.TypeContainer {
			told[strings.Clone(line.Get("id").Str)] = strings.Clone(line.Get("kill_at").Str)
		}
		reading.Unlock()
	}
}

// warnings are those that are told: each kill_at, by the container's id.
type warnings map[string]string

// recall reads what an earlier call kept. What cannot be read is begun
// anew: a warning told twice is better than none.
func recall(path string) (warnings, error) {
	told, kept := warnings{}, warnings{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	maps.Copy(told, kept)
	return told, err
}

// isNews tells whether a line is to be told.
func (w warnings) isNews(line *record.Line) bool {
	switch line.Type() {
	case record.TypeHost:
		w.forget()
	case record.TypeContainer:
		id := line.Get("id").Str
		if line.Get("verdict").Str != record.VerdictWarn {
			delete(w, id)
			return false
		}
		killAt, told := w[id]
		return !told || killAt != line.Get("kill_at").Str
	case record.TypeRule:
		return line.Get("event").Str == record.RuleWithdrawn
	}
	return line.Type() == record.TypeKill
}

// forget drops what is old: its container may be gone without a word.
func (w warnings) forget() {
	maps.DeleteFunc(w, func(_, killAt string) bool {
		at, _ := time.Parse(time.RFC3339, killAt)
		return time.Since(at) > 24*time.Hour
	})
}

// keep writes what is remembered for the next call.
func (w warnings) keep(path string) error {
	w.forget()
	text, _ := json.Marshal(w) // texts can always be encoded
	return os.WriteFile(path, text, 0o600)
}
