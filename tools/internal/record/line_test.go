package record

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"garbage", "\x01\x02", "not JSON"},
		{"truncated", `{"type":"host"`, "unexpected end"},
		{"two documents", `{} {}`, "not JSON"},
		{"an array", `[1]`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "not valid UTF-8"},
		{"control character", "{\"a\":\"\x01\"}", "not JSON"},
		{"duplicate name", `{"verdict":"keep","verdict":"kill"}`, `"verdict" is there twice`},
		{"duplicate name, escaped", `{"verdict":"keep","\u0076erdict":"kill"}`, `"verdict" is there twice`},
		{"duplicate among many", `{` + manyMembers(100) + `,"m7":1}`, `"m7" is there twice`},
		{"deep nesting", strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000), "exceeded max depth"},
		{"deep nesting, cut off", strings.Repeat("[", MaxLine), "exceeded max depth"},
		{"too long", `{"a":"` + strings.Repeat("x", MaxLine) + `"}`, "longer than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var line Line
			err := line.Parse([]byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func manyMembers(n int) string {
	var members []string
	for i := range n {
		members = append(members, `"m`+string(rune('a'+i/26))+string(rune('a'+i%26))+`":0`)
	}
	return `"m7":0,` + strings.Join(members, ",")
}

func TestAppendWith(t *testing.T) {
	tests := []struct{ name, line, want string }{
		{"adds at the end", `{"a": 1}`, `{"a": 1,"class":"low","rank":2}`},
		{"replaces in place", `{"class":"high","a":[1, 2],"rank":null}`, `{"class":"low","a":[1, 2],"rank":2}`},
		{"both", ` { "rank" : 1 , "a" : {} } `, ` { "rank" : 2 , "a" : {} ,"class":"low"} `},
		{"empty object", `{}`, `{"class":"low","rank":2}`},
		{"empty object with a space", `{ }`, `{ "class":"low","rank":2}`},
		{"ends like an empty object", `{"a":{},"b":"{ "}`, `{"a":{},"b":"{ ","class":"low","rank":2}`},
		{"not a nested one", `{"labels":{"rank":9}}`, `{"labels":{"rank":9},"class":"low","rank":2}`},
		{"escaped name", `{"r\u0061nk":1}`, `{"r\u0061nk":2,"class":"low"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var line Line
			if err := line.Parse([]byte(test.line)); err != nil {
				t.Fatal(err)
			}
			got := string(line.AppendWith(nil, Raw("class", `"low"`), Raw("rank", "2")))
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestDecodeNamesTheWrongMember(t *testing.T) {
	var line Line
	if err := line.Parse([]byte(`{"type":"container","memory_kb":"12"}`)); err != nil {
		t.Fatal(err)
	}
	var c Container
	if err := line.Decode(&c); err == nil || err.Error() != `"memory_kb" is a string` {
		t.Errorf("got %v", err)
	}
}

func TestKeep(t *testing.T) {
	var line Line
	for _, text := range []string{`{"a":1}`, `{"rank":5,"a":[1]}`, `{}`, `{"r\u0061nk":5}`} {
		if err := line.Parse([]byte(text)); err != nil {
			t.Fatal(err)
		}
		kept := line.Keep("rank", "b")
		want := string(line.AppendWith(nil, Raw("rank", "2"), Raw("b", "3")))
		if err := line.Parse([]byte(`{"other":0}`)); err != nil {
			t.Fatal(err)
		}
		if got := string(kept.AppendWith(nil, Raw("rank", "2"), Raw("b", "3"))); got != want || kept.Text() != text {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"container","rank":1,"labels":{"a":"b"}}`))
	f.Add([]byte(" {\"\\u0072ank\":[1,{\"x\":null}],\"b\":1e9 }\t"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var line Line
		if line.Parse(text) != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("took %q, which is not JSON", text)
		}
		set := line.AppendWith(nil, Raw("rank", "7"), Raw("reason", `"r"`))
		var before, after map[string]json.RawMessage
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(set, &after); err != nil {
			t.Fatalf("%q became %q: %v", text, set, err)
		}
		before["rank"], before["reason"] = []byte("7"), []byte(`"r"`)
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("%q became %q", text, set)
		}
	})
}

// FuzzScan holds the scanner to the library's reading of the same line.
func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"type":"container","rank":1,"cpu_percent":-0.25,"labels":{"a":"b","c":[1,{}]},"x":null,"y":true,"z":false}`))
	f.Add([]byte(` { "a" : 123456789012345678 , "b":[ ] , "c" : 0.1000000000000000001, "d":"" } `))
	f.Add([]byte(`{"a":{"b":["\u00e9",-1e9]},"c":-0,"d":1E400}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		line := Line{raw: string(text)}
		if !line.scan(text) {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("took %q, which is not JSON", text)
		}
		var want []Member
		gjson.Parse(line.raw).ForEach(func(name, value gjson.Result) bool {
			want = append(want, Member{name.Str, value})
			return true
		})
		if len(want) != len(line.members) || len(want) > 0 && !reflect.DeepEqual(want, line.members) {
			t.Fatalf("%q\ngot  %+v\nwant %+v", text, line.members, want)
		}
	})
}
