package record

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRead(t *testing.T) {
	created := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		line string
		want Container
	}{
		"all as it is written": {
			`{"type":"container","host":"vm","id":"aa","pid":7,"cmdline":"x","cmdline_truncated":true,"memory_kb":12,"memory_limit_kb":5,"memory_percent":1.5,"cpu_ns":9007199254740993,` +
				`"cpu_percent":12.5,"labels":{"a":"b"},"created":"2026-11-21T10:00:00Z","rank":3}`,
			Container{Header: Header{Type: "container", Host: "vm"}, ID: "aa", PID: 7, Cmdline: new("x"), CmdlineTruncated: true, MemoryKB: 12, MemoryLimitKB: new(uint64(5)),
				MemoryPercent: 1.5, CPUNS: 9007199254740993, CPUPercent: new(12.5), Labels: map[string]string{"a": "b"}, Created: &created, Rank: 3}},
		"numbers with a point or an exponent": {`{"memory_kb":16000000.0,"cpu_ns":1.6e7,"rank":3.0,"memory_limit_kb":2.5e1}`,
			Container{MemoryKB: 16000000, CPUNS: 16000000, Rank: 3, MemoryLimitKB: new(uint64(25))}},
		"numbers too large": {`{"memory_kb":1e300,"rank":1e300,"cpu_percent":1e999,"cpu_ns":18446744073709551615}`,
			Container{MemoryKB: math.MaxUint64, Rank: math.MaxInt64, CPUNS: math.MaxUint64}},
		"null and other types":    {`{"memory_kb":null,"cpu_percent":null,"id":7,"name":["x"],"labels":[1],"created":"never","pid":"7","rank":-1,"cpu_ns":-5,"memory_limit_kb":"x","at_ns":{}}`, Container{}},
		"a time of another zone":  {`{"created":"2026-11-22T10:00:00+24:00"}`, Container{Created: &created}},
		"a year of five digits":   {`{"time":"9999-12-31T23:00:00-02:00"}`, Container{}},
		"a year before the first": {`{"created":"0000-01-01T00:00:00+01:00"}`, Container{}},
		"a label that is no text": {`{"labels":{"a":1,"b":"c"}}`, Container{Labels: map[string]string{"b": "c"}}},
	} {
		var got Container
		if Read([]byte(test.line), &got, 100); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, got, test.want)
		}
	}
}

func TestReadKeepsLittleOfALongLine(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	var many strings.Builder
	for i := range 5000 {
		many.WriteString(`"` + strings.Repeat("k", i%50+1) + string(rune('0'+i%10)) + `":"v",`)
	}
	var c Container
	Read([]byte(`{"id":"`+long+`","name":"`+long+`","labels":{`+many.String()+`"`+long+`":"`+long+`","z":"`+long+`"}}`), &c, 200)
	size := 0
	for key, value := range c.Labels {
		size += len(key) + len(value)
	}
	if len(c.ID) > 210 || !strings.HasSuffix(c.Name, "é…") || size > maxLabels+20 {
		t.Errorf("keeps %d, %d and %d bytes", len(c.ID), len(c.Name), size)
	}
}

func FuzzClip(f *testing.F) {
	f.Add("wéb<\x01\xff\xed\xa0\x80\u2028\"", 7)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(0, min(limit, 1000))
		got := Clip(text, limit)
		encoded, err := json.Marshal(strings.TrimSuffix(got, "…"))
		if err != nil || !utf8.ValidString(got) || len(encoded) > limit+len(`""`) && got != text {
			t.Fatalf("%q at %d is %q, %d bytes: %v", text, limit, got, len(encoded), err)
		}
		control := strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) // some of which are shorter in JSON than counted
		if whole, _ := json.Marshal(text); len(whole) <= limit+2 && !control && got != strings.ToValidUTF8(text, "\uFFFD") {
			t.Fatalf("%q at %d was cut to %q", text, limit, got)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	c := Container{ID: strings.Repeat("a", 64), Name: "web", Image: "img", Labels: map[string]string{"a": "b"}, Class: "low", Verdict: "keep", Reason: strings.Repeat("because ", 20)}
	line, err := Marshal(c)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var got Container
		Read(line, &got, 512)
	}
}
