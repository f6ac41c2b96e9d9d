package record

import (
	"strings"
	"testing"
)

func TestMarshalContainer(t *testing.T) {
	got, err := Marshal(Container{Labels: map[string]string{}, Reason: "1 < 2 & 3", Cmdline: new("\xff")})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"cpu_percent":null`, `"labels":{}`, "1 < 2 & 3", `"cmdline":"\ufffd"`, `"memory_limit_kb":null`, `"at_ns":null`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}
