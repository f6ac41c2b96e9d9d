package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/document"
)

func TestTornDocument(t *testing.T) {
	whole := strings.TrimSpace(moduleDocument(5, 3e9))
	for end := range whole {
		if d, err := document.Parse([]byte(whole[:end]), true); err == nil {
			t.Fatalf("took the first %d bytes as %+v", end, d)
		}
	}
	if _, err := document.Parse([]byte(whole), true); err != nil {
		t.Error(err)
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"total_memory_kb":9,"processes":[{"Cmdline":"x -id ` + shimID + ` ","pid":1,"rss_kb":3,"Cpu_Utilizado":2 }]}`))
	f.Add([]byte(`{"format":1,"total_memory_kb":9,"containers":[{"id":"` + idA + `","engine":"crio","cgroup_id":7,"at_ns":9,"memory_limit_kb":null,"memory_kb":1,` +
		`"cpu_ns":2,"cpu_limit_percent":1e300,"process_count":3,"processes":[{"pid":1,"cmdline":null,"cmdline_truncated":true,"cpu_ns":null}]}]}`))
	f.Add([]byte(`{"format":1,"total_memory_kb":9,"containers":[{"id":"` + idA + `","memory_kb":null,"processes":[{"pid":1,"cmdline":"\u0001\"\ud800"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := document.Parse(text, true)
		if err != nil {
			return
		}
		var first json.RawMessage
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&first); err != nil {
			t.Fatalf("took %q: %v", text, err)
		}
		var out bytes.Buffer
		write := func(v any) error {
			line, err := record.Marshal(v)
			out.Write(line)
			return err
		}
		for i := range d.Containers {
			p := printer{processes: true}
			if err := p.printContainer(write, record.Header{}, d.TotalKB, &d.Containers[i].Container, nil); err != nil {
				t.Fatal(err)
			}
		}
		containers := 0
		for line, err := range record.Lines(&out) {
			if err != nil {
				t.Fatalf("%q gave a bad line: %v", text, err)
			}
			if line.Type() == record.TypeContainer {
				containers++
			}
		}
		if containers != len(d.Containers) {
			t.Errorf("%d container lines of %d", containers, len(d.Containers))
		}
	})
}
