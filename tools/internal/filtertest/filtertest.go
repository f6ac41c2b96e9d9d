// Package filtertest holds what every filter of the pipe must take.
package filtertest

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

// ID makes a container id of n.
func ID(n int) string { return fmt.Sprintf("%064x", n) }

// patience is how long a test waits for what takes no time.
const patience = 30 * time.Second

// Run runs the tool over the stream. One that hangs fails the test.
func Run(t testing.TB, run cli.Run, in io.Reader, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, said strings.Builder
	done := make(chan error, 1)
	go func() { done <- run(t.Context(), args, in, &out, &said) }()
	select {
	case err = <-done:
		return out.String(), said.String(), err
	case <-time.After(patience):
		t.Fatal("hangs")
		return "", "", nil
	}
}

// Exchange is what the tool is given, and what it must have written before it
// is given more.
type Exchange struct{ In, Out string }

// AnswersAtOnce holds the tool to writing all that it can before it waits for
// more. After the exchanges its input ends, and nothing more may come.
func AnswersAtOnce(t *testing.T, run cli.Run, exchanges []Exchange, args ...string) {
	t.Helper()
	stdin, feed := io.Pipe()
	answer, stdout := io.Pipe()
	defer answer.Close() // or a tool that hangs would be left behind
	defer feed.Close()
	stuck := time.AfterFunc(patience, func() { answer.CloseWithError(fmt.Errorf("no more within %v", patience)) })
	defer stuck.Stop()
	done := make(chan error, 1)
	go func() {
		err := run(t.Context(), args, stdin, stdout, t.Output())
		stdin.Close()
		stdout.Close()
		done <- err
	}()
	for _, exchange := range exchanges {
		go io.WriteString(feed, exchange.In)
		got := make([]byte, len(exchange.Out))
		n, err := io.ReadFull(answer, got)
		if err != nil || string(got) != exchange.Out {
			t.Fatalf("to %q the answer is %q, %v; want %q", exchange.In, got[:n], err, exchange.Out)
		}
	}
	feed.Close()
	if rest, err := io.ReadAll(answer); err != nil || len(rest) > 0 {
		t.Fatalf("in the end there came %q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// BadLines gives the tool each kind of bad line between two that it does not
// know. These must pass as they are, the bad one must not, be named with its
// number and fail the run in the end.
func BadLines(t *testing.T, run cli.Run, args ...string) {
	for name, bad := range map[string]string{
		"garbage":          "\x00\x01\xfe\xff",
		"truncated":        `{"type":"container","id":"` + ID(1),
		"invalid UTF-8":    "{\"type\":\"weather\",\"sky\":\"\xff\"}",
		"not an object":    `["type","container"]`,
		"two on one line":  `{"type":"weather"} {"type":"weather"}`,
		"duplicate name":   `{"type":"weather","type":"container"}`,
		"deep nesting":     strings.Repeat(`{"a":`, 200_000) + "1" + strings.Repeat("}", 200_000),
		"too long":         `{"a":"` + strings.Repeat("x", record.MaxLine) + `"}`,
		"wrong type":       `{"type":"container","id":"` + ID(1) + `","memory_kb":"x"}`,
		"wrong type, host": `{"type":"host","containers":"1"}`,
		"wrong type, end":  `{"type":"end","lines":"1"}`,
		"negative, end":    `{"type":"end","lines":-1}`,
		"no id":            `{"type":"container","memory_kb":1}`,
		"id is a path":     `{"type":"container","id":"../../info?` + ID(1)[11:] + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			before, after := `{ "type":"weather", "sky":"blue" }`, `{"type":"weather","sky":"\u0067rey","n":1.0}`
			stdout, stderr, err := Run(t, run, strings.NewReader(before+"\n"+bad+"\n"+after+"\n"), args...)
			if err == nil {
				t.Error("did not fail")
			}
			if want := before + "\n" + after + "\n"; stdout != want {
				t.Errorf("got %.200q, want %q", stdout, want)
			}
			if strings.Count(stderr, ": line 2: ") != 1 || strings.Count(stderr, "\n") != 1 {
				t.Errorf("said %.200q", stderr)
			}
		})
	}
}

// GoodLines gives the tool what is odd but right, which must pass as it is.
func GoodLines(t *testing.T, run cli.Run, args ...string) {
	long := `{"type":"weather","sky":"` + strings.Repeat("x", 2<<20) + `"}` + "\n"
	for name, test := range map[string]struct{ in, want string }{
		"no input":               {"", ""},
		"empty lines":            {"\n\n  \n\r\n", ""},
		"CRLF":                   {"{\"type\":\"weather\"}\r\n", "{\"type\":\"weather\"}\n"},
		"2 MB":                   {long, long},
		"no newline at the end":  {`{"type":"weather"}`, "{\"type\":\"weather\"}\n"},
		"no type":                {"{}\n", "{}\n"},
		"type is not a string":   {"{\"type\":[null]}\n", "{\"type\":[null]}\n"},
		"a host, nothing in it":  {"{\"type\":\"host\"}\n", "{\"type\":\"host\"}\n"},
		"a process, spaced":      {"{ \"type\" : \"process\" }\n", "{ \"type\" : \"process\" }\n"},
		"an end, nothing in it":  {"{\"type\":\"end\"}\n", "{\"type\":\"end\"}\n"},
		"an end of nothing":      {"{\"type\":\"end\",\"snapshot\":\"s\",\"lines\":3}\n", "{\"type\":\"end\",\"snapshot\":\"s\",\"lines\":3}\n"},
		"an end, spaced":         {"{ \"lines\" : 3.0, \"type\" : \"\\u0065nd\" , \"x\":[1, 2]}\n", "{ \"lines\" : 3.0, \"type\" : \"\\u0065nd\" , \"x\":[1, 2]}\n"},
		"ends, one on the other": {"{\"type\":\"end\"}\n{\"type\":\"end\"}\n", "{\"type\":\"end\"}\n{\"type\":\"end\"}\n"},
		"a kill of an older run": {"{\"type\":\"kill\",\"result\":\"killed\"}\n", "{\"type\":\"kill\",\"result\":\"killed\"}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := Run(t, run, strings.NewReader(test.in), args...)
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			if stdout != test.want || stderr != "" {
				t.Errorf("got %.200q, want %.200q; said %.200q", stdout, test.want, stderr)
			}
		})
	}
}
