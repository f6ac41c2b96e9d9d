package store

import (
	"strings"
	"testing"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

// checkAlike tells whether check and Parse say the same of a line.
func checkAlike(t *testing.T, c *checker, text []byte) {
	t.Helper()
	var line record.Line
	want := line.Parse(text)
	f, err := c.check(text)
	if (err == nil) != (want == nil) || err != nil && err.Error() != want.Error() {
		t.Fatalf("%q: %v, but Parse says %v", text, err, want)
	}
	if err != nil {
		return
	}
	at, timed := record.ParseTime(line.Get("time").Str)
	if f.timed != timed || timed && f.at != at || string(f.kind) != line.Type() ||
		string(f.class) != line.Get("class").Str || string(f.result) != line.Get("result").Str {
		t.Fatalf("%q: %+v", text, f)
	}
}

var checkLines = []string{
	`{}`, ` { } `, `{"a":1}`, `{"a":1,}`, `{,"a":1}`, `{"a":1 "b":2}`, `{"a":1}x`, `{"a":1}{}`, `[]`, `null`, ``, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`,
	`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":[1,2,{"c":null}],"b":3}}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":{"b"}}`, `{"a":{"b":1,}}`, `{"a":{1:2}}`,
	`{"a":01}`, `{"a":-}`, `{"a":-0}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":1e+5}`, `{"a":1E-5}`, `{"a":+1}`, `{"a":tru}`, `{"a":true}`, `{"a":nulll}`,
	`{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\ud800"}`, `{"a":"\"}`, `{"a":"\\"}`, "{\"a\":\"\x01\"}", "{\"a\":\"\x7f\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"é漢\"}",
	"{\"\xff\":1}", "\xef\xbb\xbf{}", "{\"a\"\x00:1}", "{\"a\":1}\x00", "{\"a\"\v:1}", "{\"a\":\"12345678\x1f\"}", "{\"a\":\"1234567\\\"8\"}", `{"a":"12345678"}`, `{"a":"1234567"}`,
	`{"time":"2026-11-21T12:00:00Z","type":"kill","class":"low","result":"killed"}`, `{"time":"2026-11-21T12:00:00.5Z"}`, `{"time":"2026-11-21T12:00:00.123456789Z"}`,
	`{"time":"2026-11-21T12:00:60Z"}`, `{"time":"2026-11-21T12:00:00.Z"}`, `{"time":"2026-11-21T12:00:0xZ"}`, `{"time":"2026-11-21T12:00:00,5Z"}`, `{"time":"2026-13-21T12:00:00Z"}`,
	`{"time":"2026-11-21T12:00:00+01:00"}`, `{"time":"2026-11-21t12:00:00Z"}`, `{"time":"1969-12-31T23:59:59Z"}`, `{"time":"9999-12-31T23:59:59Z"}`, `{"time":12}`, `{"time":null,"type":7}`,
	`{"type":"k\u0069ll"}`, `{"t\u0079pe":"kill"}`, `{"type":{"type":"kill"}}`,
}

func TestCheckIsParse(t *testing.T) {
	t.Parallel()
	c := new(checker)
	for range 2 { // the second time it knows the names
		for _, line := range checkLines {
			checkAlike(t, c, []byte(line))
			checkAlike(t, c, []byte(line))
		}
	}
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	many := `{"m0":0`
	for i := range 200 {
		many += `,"m` + strings.Repeat("x", i+1) + `":0`
	}
	for _, line := range []string{deep, many + "}", many + `,"m0":1}`, `{"a":"` + strings.Repeat("x", record.MaxLine) + `"}`} {
		checkAlike(t, c, []byte(line))
	}
}

func TestCheckIsSureOfWhatThePipelineWrites(t *testing.T) {
	t.Parallel()
	c := new(checker)
	h := record.Header{Time: testkit.Noon, Host: "vm", Snapshot: "s-1"}
	header := func(kind string) record.Header { h.Type = kind; return h }
	id := strings.Repeat("a", 64)
	for _, v := range []any{
		record.Host{Header: header(record.TypeHost), TotalMemoryKB: 1}, record.Kill{Header: header(record.TypeKill), ID: id, Name: "web", Class: record.ClassLow, Result: record.ResultKilled},
		record.Container{Header: header(record.TypeContainer), ID: id, Name: "web", Labels: map[string]string{"winnow.managed": "true"}, Class: record.ClassLow},
		record.Process{Header: header(record.TypeProcess), ID: id},
	} {
		text, err := record.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text = text[:len(text)-1]
		checkAlike(t, c, text)
		if _, sure := c.fast(text); !sure {
			t.Fatalf("is not sure of %s", text)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, line := range checkLines {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := new(checker)
		checkAlike(t, c, text)
		checkAlike(t, c, text)
		checkAlike(t, c, []byte(`{"time":"2026-11-21T12:00:00Z","a":1}`))
		checkAlike(t, c, text)
	})
}
