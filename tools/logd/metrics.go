package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/logd/store"

	"github.com/valyala/fasthttp"
)

// killKey is what kills are counted by.
type killKey struct{ class, result string }

var (
	killClasses = []string{record.ClassLow, record.ClassHigh, "other"}
	killResults = []string{record.ResultKilled, record.ResultGone, record.ResultStale, record.ResultProtected,
		record.ResultDryRun, record.ResultFailed, "other"}
)

// newKillKey counts what is not known as other, so that no client can make
// ever more series.
func newKillKey(class, result string) killKey {
	if !slices.Contains(killClasses, class) {
		class = "other"
	}
	if !slices.Contains(killResults, result) {
		result = "other"
	}
	return killKey{class, result}
}

type killCounts struct {
	mu sync.Mutex
	by map[killKey]int64
}

func (k *killCounts) add(keys []killKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = make(map[killKey]int64)
	}
	for _, key := range keys {
		k.by[key]++
	}
}

func (k *killCounts) get() map[killKey]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.by)
}

// staleAfter is when a host that was not heard of has no figures any more.
const staleAfter = 5 * time.Minute

// maxSeries bounds the containers in the metrics.
const maxSeries = 5000

// exposition writes metrics as Prometheus reads them.
type exposition struct{ bytes.Buffer }

// family begins a metric.
func (e *exposition) family(name, kind, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// value writes a sample; labels are names and values in turn.
func (e *exposition) value(name string, value float64, labels ...string) {
	e.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		before := ","
		if i == 0 {
			before = "{"
		}
		fmt.Fprintf(e, "%s%s=\"%s\"", before, labels[i], labelEscapes.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		e.WriteByte('}')
	}
	fmt.Fprintf(e, " %s\n", strconv.FormatFloat(value, 'g', -1, 64))
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func (e *exposition) single(name, kind, help string, value float64) {
	e.family(name, kind, help)
	e.value(name, value)
}

func (s *server) metrics(ctx *fasthttp.RequestCtx) {
	var e exposition
	s.writeOwn(&e)
	s.writeKills(&e)
	var fresh []liveHost
	hosts := s.live.all()
	for _, h := range hosts {
		if s.now().Sub(h.at) < staleAfter {
			fresh = append(fresh, h)
		}
	}
	writeHosts(&e, hosts, fresh)
	writeContainers(&e, fresh)
	ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	ctx.SetBody(e.Bytes())
}

// writeOwn writes what logd says of itself.
func (s *server) writeOwn(e *exposition) {
	st := &s.store.Stats
	for _, c := range []struct {
		name, help string
		value      *atomic.Int64
	}{
		{"lines", "Lines stored.", &st.Lines},
		{"bytes", "Bytes of lines stored.", &st.Bytes},
		{"batches", "Batches stored.", &st.Batches},
		{"duplicate_batches", "Batches that had been stored before.", &st.Duplicates},
		{"writes", "Groups of batches that were written and synced at once.", &st.Groups},
		{"failed_writes", "Groups of batches that could not be stored.", &st.Failures},
		{"refused_lines", "Lines that were refused because they are no records.", &s.refused},
		{"panics", "Requests that failed by an error of logd's own.", &s.panics},
	} {
		e.single("winnow_logd_"+c.name+"_total", "counter", c.help, float64(c.value.Load()))
	}
	const write = "winnow_logd_write_seconds"
	e.family(write, "histogram", "How long it took to write and sync a group of batches.")
	count := int64(0)
	for i := range st.Sync.Buckets {
		count += st.Sync.Buckets[i].Load()
		bound := "+Inf"
		if i < len(store.SyncBuckets) {
			bound = strconv.FormatFloat(store.SyncBuckets[i], 'g', -1, 64)
		}
		e.value(write+"_bucket", float64(count), "le", bound)
	}
	e.value(write+"_sum", time.Duration(st.Sync.Sum.Load()).Seconds())
	e.value(write+"_count", float64(count))
	e.single("winnow_logd_streams", "gauge", "Queries, followers and pages that are open.", float64(s.streams.Load()))
	days, size := s.store.Size()
	e.single("winnow_logd_days", "gauge", "Day files.", float64(days))
	e.single("winnow_logd_stored_bytes", "gauge", "Size of all day files.", float64(size))
	if free, err := s.store.Free(); err == nil {
		e.single("winnow_logd_disk_free_bytes", "gauge", "Room left on the disk of the log.", float64(free))
	}
	e.single("winnow_logd_disk_min_free_bytes", "gauge", "Room below which nothing is stored.", float64(s.options.MinFree))
}

func (s *server) writeKills(e *exposition) {
	const name = "winnow_kills_total"
	e.family(name, "counter", "Verdicts carried out since logd started, by what became of them.")
	counts := s.kills.get()
	for _, class := range killClasses {
		for _, result := range killResults {
			if n, any := counts[killKey{class, result}]; any || class != "other" && result != "other" {
				e.value(name, float64(n), "class", class, "result", result)
			}
		}
	}
}

func writeHosts(e *exposition, all, fresh []liveHost) {
	e.family("winnow_host_snapshot_timestamp_seconds", "gauge", "When the host's last snapshot was taken.")
	for _, h := range all {
		if !h.at.IsZero() {
			e.value("winnow_host_snapshot_timestamp_seconds", float64(h.at.UnixMilli())/1000, "host", h.name)
		}
	}
	e.family("winnow_host_memory_bytes", "gauge", "The host's memory. used is total less free.")
	for _, h := range fresh {
		for state, kb := range map[string]uint64{"total": h.record.TotalMemoryKB, "free": h.record.FreeMemoryKB,
			"used": h.record.UsedMemoryKB, "available": h.record.AvailableMemoryKB} {
			e.value("winnow_host_memory_bytes", float64(kb)*1024, "host", h.name, "state", state)
		}
	}
	e.family("winnow_host_cpus", "gauge", "Cores online.")
	for _, h := range fresh {
		e.value("winnow_host_cpus", float64(h.record.CPUs), "host", h.name)
	}
	e.family("winnow_host_pressure_ratio", "gauge", "Share of the last 10 s in which some task waited for it.")
	for _, h := range fresh {
		for resource, percent := range map[string]*float64{"cpu": h.record.CPUPressurePercent,
			"memory": h.record.MemoryPressurePercent, "io": h.record.IOPressurePercent} {
			if percent != nil {
				e.value("winnow_host_pressure_ratio", *percent/100, "host", h.name, "resource", resource)
			}
		}
	}
	e.family("winnow_host_containers", "gauge", "Containers running, by class and verdict.")
	for _, h := range fresh {
		counts := make(map[[2]string]int)
		for _, c := range h.Containers {
			counts[[2]string{c.Class, c.Verdict}]++
		}
		for key, n := range counts {
			e.value("winnow_host_containers", float64(n), "host", h.name, "class", key[0], "verdict", key[1])
		}
	}
}

func writeContainers(e *exposition, hosts []liveHost) {
	for _, m := range []struct {
		name, kind, help string
		value            func(*liveContainer) (float64, bool)
	}{
		{"winnow_container_memory_bytes", "gauge", "Memory of the container, less inactive file cache.",
			func(c *liveContainer) (float64, bool) { return c.MemoryKB * 1024, true }},
		{"winnow_container_cpu_seconds_total", "counter", "CPU time since the container started.",
			func(c *liveContainer) (float64, bool) { return c.CPUNS / 1e9, true }},
		{"winnow_container_cpu_cores", "gauge", "Cores in use over the last interval.",
			func(c *liveContainer) (float64, bool) {
				if c.CPUPercent == nil {
					return 0, false
				}
				return *c.CPUPercent / 100, true
			}},
		{"winnow_container_processes", "gauge", "Processes of the container.",
			func(c *liveContainer) (float64, bool) { return float64(c.Processes), true }},
	} {
		e.family(m.name, m.kind, m.help)
		left := maxSeries
		for _, h := range hosts {
			for i := range h.Containers {
				c := &h.Containers[i]
				if v, known := m.value(c); known && left > 0 {
					left--
					e.value(m.name, v, "host", h.name, "id", c.ID[:min(12, len(c.ID))], "name", c.Name, "image", c.Image, "class", c.Class)
				}
			}
		}
	}
}
