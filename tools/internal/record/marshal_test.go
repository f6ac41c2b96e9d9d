package record

import (
	"testing"
	"time"
)

// The lines that a snapshot is made of, to the byte: the members' order, what is
// escaped, null for what is not known, and nothing of what later stages add.
func TestMarshalToTheByte(t *testing.T) {
	head := func(kind string) Header {
		return Header{kind, time.Date(2026, 3, 1, 12, 0, 0, 120_000_000, time.UTC), "node-1", "s-1"}
	}
	tests := []struct {
		record any
		want   string
	}{
		{
			Container{Header: head(TypeContainer), ID: "a1", Engine: EnginePodman, PID: 7, Process: "\u2028\x01", Cmdline: new(`q"uo\te <&>`),
				Processes: 2, MemoryKB: 1<<64 - 1, MemoryLimitKB: new(uint64(9)), RSSKB: 3, VSZKB: 4, MemoryPercent: 0.5, CPUNS: 5,
				AtNS: new(int64(6)), CPUPercent: new(1e21), IntervalMS: new(int64(100)), CPULimitPercent: new(12.34)},
			`{"type":"container","time":"2026-03-01T12:00:00.12Z","host":"node-1","snapshot":"s-1","id":"a1","engine":"podman","pid":7,` +
				`"process":"\u2028\u0001","cmdline":"q\"uo\\te <&>","cmdline_truncated":false,"processes":2,"memory_kb":18446744073709551615,` +
				`"memory_limit_kb":9,"rss_kb":3,"vsz_kb":4,"memory_percent":0.5,"cpu_ns":5,"at_ns":6,"cpu_percent":1e+21,"interval_ms":100,` +
				`"cpu_limit_percent":12.34}` + "\n",
		},
		{
			Process{Header: head(TypeProcess), ID: "a1", PID: 7, Name: "web", State: "S", Cmdline: new("web\xff"), CmdlineTruncated: true,
				VSZKB: 4, RSSKB: 3, MemoryPercent: 1e-7, CPUNS: new(uint64(5)), CPUPercent: new(0.0)},
			`{"type":"process","time":"2026-03-01T12:00:00.12Z","host":"node-1","snapshot":"s-1","id":"a1","pid":7,"name":"web","state":"S",` +
				`"cmdline":"web\ufffd","cmdline_truncated":true,"vsz_kb":4,"rss_kb":3,"memory_percent":1e-7,"cpu_ns":5,"cpu_percent":0}` + "\n",
		},
		{
			Process{Header: head(TypeProcess)},
			`{"type":"process","time":"2026-03-01T12:00:00.12Z","host":"node-1","snapshot":"s-1","id":"","pid":0,"name":"","state":"",` +
				`"cmdline":null,"cmdline_truncated":false,"vsz_kb":0,"rss_kb":0,"memory_percent":0,"cpu_ns":null,"cpu_percent":null}` + "\n",
		},
	}
	for _, test := range tests {
		if got, err := Marshal(test.record); err != nil || string(got) != test.want {
			t.Errorf("got  %s\nwant %s%v", got, test.want, err)
		}
	}
}
