package record

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	tests := []struct{ name, line, want string }{
		{"container", `{"type":"container","id":"` + id + `","memory_kb":12,"cpu_percent":null,"labels":{"a":"b"}}`, ""},
		{"unknown type", `{"type":"weather","memory_kb":"cold"}`, ""},
		{"no type", `{"memory_kb":"cold"}`, ""},
		{"unknown member", `{"type":"host","mood":[1]}`, ""},
		{"type is a number", `{"type":7,"id":7}`, ""},
		{"no id", `{"type":"container"}`, "without an id"},
		{"every kind", `{"type":"container","id":"` + id + `","time":"x","created":"y","pid":1,"cpu_ns":2,"cpu_percent":0.5,"cmdline":"a"}`, ""},
		{"a time that is a number", `{"type":"container","created":5}`, `"created" is not a string`},
		{"null id", `{"type":"container","id":null}`, "without an id"},
		{"id too short", `{"type":"container","id":"` + id[1:] + `"}`, "without an id"},
		{"id not hex", `{"type":"container","id":"g` + id[1:] + `"}`, "without an id"},
		{"id is a path", `{"type":"container","id":"../` + id[3:] + `"}`, "without an id"},
		{"end", `{"type":"end","lines":3}`, ""},
		{"end, lines as a string", `{"type":"end","lines":"3"}`, `"lines" is not a number`},
		{"number as a string", `{"type":"container","id":"` + id + `","memory_kb":"12"}`, `"memory_kb" is not a number`},
		{"negative", `{"type":"host","containers":-1}`, `"containers" is not a number from 0 up`},
		{"infinite", `{"type":"host","containers":1e999}`, `"containers" is not a number from 0 up`},
		{"string as a number", `{"type":"host","snapshot":5}`, `"snapshot" is not a string`},
		{"boot id as a number", `{"type":"host","boot_id":5}`, `"boot_id" is not a string`},
		{"engine as a list", `{"type":"container","engine":["docker"]}`, `"engine" is not a string`},
		{"time as a string", `{"type":"container","at_ns":"5"}`, `"at_ns" is not a number`},
		{"negative memory limit", `{"type":"container","memory_limit_kb":-1}`, `"memory_limit_kb" is not a number from 0 up`},
		{"CPU limit as a string", `{"type":"container","cpu_limit_percent":"max"}`, `"cpu_limit_percent" is not a number`},
		{"truncated as a number", `{"type":"process","cmdline_truncated":1}`, `"cmdline_truncated" is not true or false`},
		{"nothing known of a process", `{"type":"process","cmdline":null,"cmdline_truncated":null,"cpu_ns":null}`, ""},
		{"labels as a list", `{"type":"container","labels":["winnow.managed"]}`, `"labels" is not an object`},
		{"label as a boolean", `{"type":"container","labels":{"winnow.protect":true}}`, `label "winnow.protect" is not a string`},
		{"label twice", `{"type":"container","labels":{"winnow.protect":"true","winnow.protect":"no"}}`, "is there twice"},
		{"label twice, escaped", `{"type":"container","labels":{"winnow.managed":"true","winnow\u002emanaged":"no"}}`, `is there twice`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var line Line
			if err := line.Parse([]byte(test.line)); err != nil {
				t.Fatal(err)
			}
			err := line.Check()
			if test.want == "" && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// The kinds are by name alone, so a name has to mean the same in every record.
func TestANameIsOfOneKind(t *testing.T) {
	for record, fields := range types {
		for name, index := range fieldsOf(fields) {
			if got, want := kindOf(fields.FieldByIndex(index).Type), kinds()[name]; got != want {
				t.Errorf("%s: %q is of kind %v, elsewhere of kind %v", record, name, got, want)
			}
		}
	}
}
