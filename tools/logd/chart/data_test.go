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
