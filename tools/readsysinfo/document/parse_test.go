package document

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"winnow/tools/internal/record"
)

// No beginning of the module's document is taken for one that is whole.
func TestTornDocument(t *testing.T) {
	text, err := os.ReadFile("../../../kernel/testdata/sysinfo.json")
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.TrimSpace(text)
	for end := range whole {
		if d, err := Parse(whole[:end], true); err == nil {
			t.Fatalf("took the first %d bytes as %+v", end, d)
		}
	}
	if d, err := Parse(whole, true); err != nil || len(d.Containers) != 3 {
		t.Errorf("the whole is %+v, %v", d, err)
	}
}

// What is taken is JSON, and gives lines that are.
func FuzzParseDocument(f *testing.F) {
	id := strings.Repeat("a", 64)
	f.Add([]byte(`{"total_memory_kb":9,"processes":[{"Cmdline":"x -id ` + id + ` ","pid":1,"rss_kb":3,"Cpu_Utilizado":2 }]}`))
	f.Add([]byte(`{"format":1,"total_memory_kb":9,"containers":[{"id":"` + id + `","engine":"crio","cgroup_id":7,"at_ns":9,"memory_limit_kb":null,"memory_kb":1,` +
		`"cpu_ns":2,"cpu_limit_percent":1e300,"process_count":3,"processes":[{"pid":1,"cmdline":null,"cmdline_truncated":true,"cpu_ns":null}]}]}`))
	f.Add([]byte(`{"format":1,"total_memory_kb":9,"containers":[{"id":"` + id + `","memory_kb":null,"processes":[{"pid":1,"cmdline":"\u0001\"\ud800"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse(text, true)
		if err != nil {
			return
		}
		var first json.RawMessage
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&first); err != nil {
			t.Fatalf("took %q: %v", text, err)
		}
		if d.TotalKB == 0 || d.FreeKB > d.TotalKB {
			t.Errorf("%q: %d kB of %d", text, d.FreeKB, d.TotalKB)
		}
		for _, c := range d.Containers {
			records := []any{c.Container.Container}
			for _, p := range c.Listed {
				records = append(records, p.Process)
			}
			for _, one := range records {
				encoded, err := record.Marshal(one)
				var line record.Line
				if err == nil {
					err = line.Parse(bytes.TrimSpace(encoded))
				}
				if err != nil {
					t.Fatalf("%q gave the line %s, %v", text, encoded, err)
				}
			}
			if !record.IsID(c.ID) {
				t.Errorf("%q gave the id %q", text, c.ID)
			}
		}
	})
}
