package testkit

import (
	"fmt"
	"strings"
)

// HostLine is the line of the host vm that begins a snapshot.
func HostLine(snapshot, at string, containers int) string {
	return fmt.Sprintf(`{"type":"host","time":%q,"host":"vm","snapshot":%q,"source":"cgroup2","containers":%d,"cpus":2,"interval_ms":500,"total_memory_kb":1000000,`+
		`"free_memory_kb":400000,"used_memory_kb":600000,"available_memory_kb":500000,"cpu_pressure_percent":2.5,"memory_pressure_percent":null,"io_pressure_percent":0}`,
		at, snapshot, containers) + "\n"
}

// ContainerLine is the line of a container of that host.
func ContainerLine(snapshot, at, id, name, class, verdict string, rank int) string {
	return fmt.Sprintf(`{"type":"container","time":%q,"host":"vm","snapshot":%q,"id":%q,"memory_kb":2048,"memory_percent":1.5,"cpu_ns":5000000000,`+
		`"cpu_percent":12.5,"processes":3,"name":%q,"image":"img","labels":{"a":"b"},"created":"2026-11-21T10:00:00Z","class":%q,"verdict":%q,"rank":%d,"reason":"because %s"}`,
		at, snapshot, id, name, class, verdict, rank, verdict) + "\n"
}

// WithoutCommits is what a day file of the log holds, but for the lines that are the log's own.
func WithoutCommits(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `{"type":"commit",`) {
			b.WriteString(line)
		}
	}
	return b.String()
}
