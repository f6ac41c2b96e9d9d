package chart

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestAChartHoldsNoMoreThanItMay(t *testing.T) { // alone, as it measures
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const snapshots, containers = 400, 1000
	d := New("vm", noon.Add(-time.Hour).UnixNano(), noon.UnixNano())
	long := strings.Repeat("<", 300)
	for i := range snapshots {
		at := noon.Add(time.Duration(i-snapshots) * 9 * time.Second).Format(time.RFC3339)
		d.Add(fmt.Appendf(nil, `{"type":"host","time":%q,"host":"vm","snapshot":"s","containers":%d,"total_memory_kb":16000000}`, at, containers))
		for j := range containers {
			cpu := j % 10
			if j == 77 { // heaviest throughout
				cpu = 300
			} else if j == 78 && i > snapshots/2 { // heavier still, but later
				cpu = 400
			}
			d.Add(fmt.Appendf(nil, `{"type":"container","time":%q,"host":"vm","snapshot":"s","id":"%064x","name":"%d%s","memory_kb":%d,"cpu_percent":%d,"class":"low"}`, at, j, j, long, 1000+j, cpu))
		}
	}
	at := noon.Add(-time.Second).Format(time.RFC3339)
	for j := range 20_000 { // more than there is room for
		d.Add(fmt.Appendf(nil, `{"type":"container","time":%q,"host":"vm","snapshot":"t","id":"f%063x","name":"%s","memory_kb":1,"class":"low"}`, at, j, long))
	}
	d.End()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2*maxChartBytes {
		t.Errorf("takes %d bytes", grown)
	}
	if len(d.containers) > 5000 || d.points > maxChartBytes/2 {
		t.Errorf("tells %d containers apart, by %d bytes of points", len(d.containers), d.points)
	}
	top := d.top(2, byPeakCPU)
	if !strings.HasPrefix(top[0].name, "78<") || !strings.HasPrefix(top[1].name, "77<") || len(top[1].slots) < snapshots-20 || len(top[0].slots) < snapshots/2-10 {
		t.Errorf("the heaviest are %.9s with %d points and %.9s with %d", top[0].name, len(top[0].slots), top[1].name, len(top[1].slots))
	}
	sum := 0.0
	for _, slot := range d.used() {
		sum = max(sum, d.hosts[slot].low.value())
	}
	if sum != containers {
		t.Errorf("counts %v containers", sum)
	}
}

// TestWholeIsASpanThatFits has the span of the lines found while they come: what
// is drawn is as if it had been known.
func TestWholeIsASpanThatFits(t *testing.T) {
	t.Parallel()
	var lines [][]byte
	for i := range 3000 {
		at := noon.Add(time.Duration(i*i/40) * time.Second).Format(time.RFC3339)
		head := fmt.Sprintf(`"time":%q,"host":"vm","snapshot":"s%d"`, at, i)
		lines = append(lines, fmt.Appendf(nil, `{"type":"host",%s,"containers":2,"total_memory_kb":16000000,"used_memory_kb":%d,"free_memory_kb":%d}`, head, 1000*i, 16000000-1000*i))
		for j := range 2 {
			lines = append(lines, fmt.Appendf(nil, `{"type":"container",%s,"id":"%064x","name":"c%d","memory_kb":%d,"cpu_percent":%d,"class":"low"}`, head, j, j, i+j, i%100))
		}
		if i%500 == 100 {
			lines = append(lines, fmt.Appendf(nil, `{"type":"kill",%s,"id":"%064x","class":"low","result":"killed"}`, head, 1))
		}
		lines = append(lines, fmt.Appendf(nil, `{"type":"host","time":"2027-01-01T00:00:00Z","host":"other","snapshot":"x"}`))
	}
	whole := Whole("")
	for _, line := range lines {
		whole.Add(line)
	}
	whole.End()
	known := New("vm", whole.since, whole.until)
	for i, line := range lines {
		if i == 0 || !strings.Contains(string(line), `"other"`) {
			known.Add(line)
		}
	}
	known.End()
	if whole.host != "vm" || whole.since != noon.UnixNano() || len(whole.hosts) < slots/3 || len(whole.hosts) > slots {
		t.Errorf("of %s from %d on: %d slots", whole.host, whole.since, len(whole.hosts))
	}
	for _, name := range Names() {
		var pictures [2]strings.Builder
		for i, d := range []*Data{whole, known} {
			c, err := Draw(name, d, Light)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WriteSVG(&pictures[i]); err != nil {
				t.Fatal(err)
			}
		}
		if pictures[0].String() != pictures[1].String() {
			t.Errorf("%s is drawn another way than with a span that is known", name)
		}
	}
	if _, err := Draw("nothing", whole, Dark); err == nil {
		t.Error("draws what there is not")
	}
}
