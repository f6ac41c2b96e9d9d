package record

import (
	"math"
	"strings"
	"testing"
	"time"
)

// FuzzAppend holds Append to the bytes of Marshal.
func FuzzAppend(f *testing.F) {
	f.Add("web", "/bin/web -x", uint64(12), int64(1.7e18), 12.34)
	f.Add(`q"uo\te`, "tab\t\x00\x7f <&> é \u2028 \xff \xed\xa0\x80", uint64(math.MaxUint64), int64(0), 0.0)
	f.Add("", strings.Repeat("x", 1000), uint64(0), int64(1), 1e21)
	f.Add("seven b", "eight by", uint64(1), int64(-1), 1e-7)
	f.Fuzz(func(t *testing.T, a, b string, n uint64, at int64, x float64) {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return
		}
		head := Header{TypeContainer, time.Unix(0, at).UTC(), b, a}
		var rate *float64
		var span *int64
		var known *uint64
		var cmdline *string
		if n%2 == 0 {
			rate, span, known, cmdline = &x, &at, &n, new(a+b)
		}
		c := Container{Header: head, ID: a, Engine: b, PID: int(n >> 1), Process: b, Cmdline: cmdline, CmdlineTruncated: n%3 == 0, Processes: int(n >> 2),
			MemoryKB: n, MemoryLimitKB: known, RSSKB: n / 3, VSZKB: n / 5, MemoryPercent: x, CPUNS: n / 7, AtNS: span, CPUPercent: rate,
			IntervalMS: span, CPULimitPercent: rate}
		p := Process{Header: head, ID: b, PID: int(n >> 1), Name: a, State: b, Cmdline: cmdline, CmdlineTruncated: n%3 == 0, VSZKB: n,
			RSSKB: n / 3, MemoryPercent: x, CPUNS: known, CPUPercent: rate}
		for _, record := range []interface {
			Append(line, begin []byte) []byte
		}{&c, &p} {
			want, err := Marshal(record)
			if got := record.Append([]byte("before"), head.Begin()); err != nil || string(got) != "before"+string(want) {
				t.Errorf("got  %s\nwant %s%v", got, want, err)
			}
		}
	})
}
