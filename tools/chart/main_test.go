package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"winnow/tools/internal/cli"
)

const records = `{"type":"host","time":"2026-11-21T12:00:00Z","host":"vm","snapshot":"a","containers":1,"total_memory_kb":1000,"used_memory_kb":500,"free_memory_kb":500}
{"type":"container","time":"2026-11-21T12:00:00Z","host":"vm","snapshot":"a","id":"abcd","name":"web","memory_kb":100,"cpu_percent":5,"class":"low"}
{"type":"host","time":"2026-11-21T12:00:00Z","host":"other","snapshot":"b","containers":0,"total_memory_kb":7,"used_memory_kb":1,"free_memory_kb":6}
`

func TestRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args          []string
		in            string
		want, not     string // in the picture
		failed, usage string
	}{
		{args: []string{"memory"}, in: records, want: "Memory on vm", not: "no records"},
		{args: []string{"top-memory"}, in: records, want: "web"},
		{args: []string{"memory", "--host", "other"}, in: records, want: "Memory on other"},
		{args: []string{"cpu", "--dark"}, in: records, want: "#1A1D21"},
		{args: []string{"kills", "--png"}, in: records, want: "\x89PNG"},
		{args: []string{"memory"}, want: "no records of this span"},
		{args: []string{"memory"}, in: "not a record\n" + records, want: "Memory on vm", failed: "1 named above"},
		{args: []string{"nothing"}, usage: `no such chart: "nothing"; there are memory, cpu`},
		{args: nil, usage: `no such chart: ""`},
		{args: []string{"memory", "cpu"}, usage: `unexpected argument: "cpu"`},
	}
	for _, test := range tests {
		var stdout, stderr bytes.Buffer
		err := run(t.Context(), test.args, strings.NewReader(test.in), &stdout, &stderr)
		var misused *cli.UsageError
		wanted := test.failed + test.usage
		if (err == nil) != (wanted == "") || err != nil && !strings.Contains(err.Error(), wanted) || errors.As(err, &misused) != (test.usage != "") {
			t.Errorf("%v: %v; said %s", test.args, err, stderr.String())
		}
		if !strings.Contains(strings.ToUpper(stdout.String()), strings.ToUpper(test.want)) || test.not != "" && strings.Contains(stdout.String(), test.not) {
			t.Errorf("%v draws %.300q", test.args, stdout.String())
		}
	}
}
