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
	"unicode/utf8"

	"winnow/tools/internal/record"
	"winnow/tools/logd/door"
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

func newKillKey(class, result string) killKey {
	return killKey{oneOf(class, killClasses), oneOf(result, killResults)}
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

const (
	// maxSeries bounds the containers in the metrics, and maxLabels the bytes
	// of their labels, which each of their metrics has again.
	maxSeries = 5000
	maxLabels = 1 << 20
)

// exposition writes metrics as Prometheus reads them.
type exposition struct{ bytes.Buffer }

// family begins a metric.
func (e *exposition) family(name, kind, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// value writes a sample; labels are names and values in turn.
func (e *exposition) value(name string, value float64, labels ...string) {
	e.put(name, labelled(labels...), value)
}

func (e *exposition) put(name, labels string, value float64) {
	fmt.Fprintf(e, "%s%s %s\n", name, labels, strconv.FormatFloat(value, 'g', -1, 64))
}

// labelled are names and values in turn as a sample has them.
func labelled(labels ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		before := ","
		if i == 0 {
			before = "{"
		}
		b.WriteString(before + labels[i] + `="` + labelEscapes.Replace(labels[i+1]) + `"`)
	}
	if b.Len() > 0 {
		b.WriteByte('}')
	}
	return b.String()
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func (e *exposition) single(name, kind, help string, value float64) {
	e.family(name, kind, help)
	e.value(name, value)
}

func (s *server) metrics(ctx *fasthttp.RequestCtx) {
	err := s.work(ctx, &s.share.Scrapes, "text/plain; version=0.0.4; charset=utf-8", func(*door.Job) ([]byte, error) {
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
		writeHosts(&e, s.now(), hosts, fresh)
		writeStages(&e, fresh)
		writeContainers(&e, fresh)
		return e.Bytes(), nil
	})
	if err != nil {
		s.failWork(ctx, err)
	}
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
	e.single("winnow_logd_streams", "gauge", "Queries, followers and pages that are open.", float64(s.streams.Count()))
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

func writeHosts(e *exposition, now time.Time, all, fresh []liveHost) {
	e.family("winnow_host_snapshot_timestamp_seconds", "gauge", "When the host's last snapshot was taken.")
	for _, h := range all {
		if !h.at.IsZero() {
			e.value("winnow_host_snapshot_timestamp_seconds", float64(h.at.UnixMilli())/1000, "host", h.name)
		}
	}
	e.family("winnow_host_silent", "gauge", "Whether nothing was heard of the host for three of its own beats.")
	for _, h := range all {
		if !h.pulse.heard.IsZero() {
			silent := 0.0
			if h.pulse.silent(now) {
				silent = 1
			}
			e.value("winnow_host_silent", silent, "host", h.name)
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
		for i := range h.containers {
			c := &h.containers[i]
			counts[[2]string{oneOf(c.Class, hostClasses), oneOf(c.Verdict, hostVerdicts)}]++
		}
		for key, n := range counts {
			e.value("winnow_host_containers", float64(n), "host", h.name, "class", key[0], "verdict", key[1])
		}
	}
	e.family("winnow_host_doubled", "gauge", "Whether two machines send under the name of this host.")
	for _, h := range fresh {
		doubled := 0.0
		if h.boots.twins(now) {
			doubled = 1
		}
		e.value("winnow_host_doubled", doubled, "host", h.name)
	}
	e.family("winnow_host_containers_missing", "gauge", "Containers of the last snapshot that logd holds no figures of.")
	for _, h := range fresh {
		e.value("winnow_host_containers_missing", float64(max(0, h.record.Containers-len(h.containers))), "host", h.name)
	}
}

// writeStages writes what the pipeline of each host costs, by program: those of one
// name are added up.
func writeStages(e *exposition, fresh []liveHost) {
	for _, m := range []struct {
		name, kind, help string
		value            func(*record.Stage) float64
	}{
		{"winnow_stage_cpu_seconds_total", "counter", "CPU time of winnow's own pipeline since its programs started.",
			func(s *record.Stage) float64 { return float64(s.CPUNS) / 1e9 }},
		{"winnow_stage_memory_bytes", "gauge", "Resident memory of winnow's own pipeline.",
			func(s *record.Stage) float64 { return float64(s.MemoryKB) * 1024 }},
	} {
		e.family(m.name, m.kind, m.help)
		for _, h := range fresh {
			sums := make(map[string]float64)
			for i := range h.stages {
				sums[h.stages[i].Name] += m.value(&h.stages[i])
			}
			for _, stage := range slices.Sorted(maps.Keys(sums)) {
				e.value(m.name, sums[stage], "host", h.name, "stage", stage)
			}
		}
	}
}

// hostClasses and hostVerdicts are counted; "" is not known.
var (
	hostClasses  = []string{"", record.ClassLow, record.ClassHigh}
	hostVerdicts = []string{"", record.VerdictKeep, record.VerdictWarn, record.VerdictKill}
)

// oneOf is text if it is known, so that no client can make ever more series.
func oneOf(text string, known []string) string {
	if slices.Contains(known, text) {
		return text
	}
	return "other"
}

// series is a container with the labels of its metrics.
type series struct {
	*record.Container
	labels string
}

// containerSeries are the containers that there is room for, each once, and how
// many others there are.
func containerSeries(hosts []liveHost) (all []series, left int) {
	size := 0
	for _, h := range hosts {
		seen := make(map[string]bool)
		for i := range h.containers {
			c := &h.containers[i]
			id := c.ID
			if short := string([]rune(id)[:min(12, utf8.RuneCountInString(id))]); !seen[short] {
				id = short
			}
			labels := labelled("host", h.name, "id", id, "name", c.Name, "image", c.Image, "class", oneOf(c.Class, hostClasses))
			if seen[id] || len(all) == maxSeries || size+len(labels) > maxLabels {
				left++
				continue
			}
			seen[id] = true
			size += len(labels)
			all = append(all, series{c, labels})
		}
	}
	return all, left
}

func writeContainers(e *exposition, hosts []liveHost) {
	all, left := containerSeries(hosts)
	e.single("winnow_logd_containers_left_out", "gauge", "Containers that the metrics have no room for.", float64(left))
	for _, m := range []struct {
		name, kind, help string
		value            func(*record.Container) float64
	}{
		{"winnow_container_memory_bytes", "gauge", "Memory of the container, less inactive file cache.",
			func(c *record.Container) float64 { return float64(c.MemoryKB) * 1024 }},
		{"winnow_container_cpu_seconds_total", "counter", "CPU time since the container started.",
			func(c *record.Container) float64 { return float64(c.CPUNS) / 1e9 }},
		{"winnow_container_processes", "gauge", "Processes of the container.",
			func(c *record.Container) float64 { return float64(c.Processes) }},
	} {
		e.family(m.name, m.kind, m.help)
		for _, c := range all {
			e.put(m.name, c.labels, m.value(c.Container))
		}
	}
	e.family("winnow_container_cpu_cores", "gauge", "Cores in use over the last interval.")
	for _, c := range all {
		if c.CPUPercent != nil {
			e.put("winnow_container_cpu_cores", c.labels, *c.CPUPercent/100)
		}
	}
}
