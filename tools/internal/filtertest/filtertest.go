// Package filtertest holds what every filter of the pipe must take.
package filtertest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

// ID makes a container id of n.
func ID(n int) string { return fmt.Sprintf("%064x", n) }

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
		"no id":            `{"type":"container","memory_kb":1}`,
		"id is a path":     `{"type":"container","id":"../../info?` + ID(1)[11:] + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			before, after := `{ "type":"weather", "sky":"blue" }`, `{"type":"weather","sky":"\u0067rey","n":1.0}`
			var stdout, stderr strings.Builder
			err := run(context.Background(), args, strings.NewReader(before+"\n"+bad+"\n"+after+"\n"), &stdout, &stderr)
			if err == nil {
				t.Error("did not fail")
			}
			if want := before + "\n" + after + "\n"; stdout.String() != want {
				t.Errorf("got %.200q, want %q", stdout.String(), want)
			}
			if !strings.Contains(stderr.String(), ": line 2: ") {
				t.Errorf("said %.200q", stderr.String())
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
		"a kill of an older run": {"{\"type\":\"kill\",\"result\":\"killed\"}\n", "{\"type\":\"kill\",\"result\":\"killed\"}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if err := run(context.Background(), args, strings.NewReader(test.in), &stdout, &stderr); err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			if stdout.String() != test.want || stderr.String() != "" {
				t.Errorf("got %.200q, want %.200q; said %.200q", stdout.String(), test.want, stderr.String())
			}
		})
	}
}
