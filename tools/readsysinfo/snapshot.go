package main

import (
	"bufio"
	"io"
	"math"
	"time"

	"winnow/tools/internal/record"
)

// container is what was measured of one.
type container struct {
	id, engine   string
	first        process // the one that has run longest; pid 0 where none is known
	count        int
	rssKB, vszKB uint64 // summed over its processes
	memoryKB     uint64
	memoryLimit  *uint64 // in kB
	cpuNS        uint64
	cpuLimit     *float64  // in percent of a core
	atNS         int64     // when cpuNS was read, as boottime; 0 where that is not known
	processes    []process // where they were asked for
	hidden       bool      // procfs does not show its processes
}

// add counts a process in.
func (c *container) add(p process, keep bool) {
	c.count++
	c.rssKB += p.rssKB
	c.vszKB += p.vszKB
	if c.first.pid == 0 || p.startNS < c.first.startNS || p.startNS == c.first.startNS && p.pid < c.first.pid {
		c.first = p
	}
	if keep {
		c.processes = append(c.processes, p)
	}
}

// sample is the host and its containers as they were measured at one time.
type sample struct {
	source     string // as in record.Host
	time       time.Time
	atNS       int64 // the same as boottime; 0 where a document does not tell it
	memory     memory
	containers []container
	failed     []error  // why containers are left out that do run
	doubles    []string // which cgroups do not count, since others have the same id
}

// printer writes the records of a sample.
type printer struct {
	proc         procfs
	host, bootID string
	processes    bool
}

// print writes the sample's lines, and one that ends them. Rates are taken
// from before.
func (p printer) print(out io.Writer, s *sample, before bases) error {
	w := bufio.NewWriterSize(out, 64<<10)
	head := record.Header{
		Type: record.TypeHost, Time: s.time.UTC(), Host: p.host,
		Snapshot: s.time.UTC().Format("20060102T150405.000000000Z"),
	}
	lines := 0
	write := func(v any) error {
		lines++
		line, err := record.Marshal(v)
		w.Write(line) // its error stays until Flush
		return err
	}
	host, err := p.hostRecord(head, s, before)
	if err == nil {
		err = write(host)
	}
	for i := range s.containers {
		if err != nil {
			return err
		}
		err = p.printContainer(write, head, s.memory.total, &s.containers[i], before)
	}
	if err != nil {
		return err
	}
	head.Type = record.TypeEnd
	if err := write(record.End{Header: head, Lines: lines}); err != nil {
		return err
	}
	return w.Flush()
}

func (p printer) hostRecord(head record.Header, s *sample, before bases) (*record.Host, error) {
	var r reader
	cpus, err := p.proc.cpus(&r)
	if err != nil {
		return nil, err
	}
	return &record.Host{
		Header: head, Source: s.source, BootID: p.bootID, Containers: len(s.containers), CPUs: cpus, IntervalMS: before.interval(s.atNS),
		TotalMemoryKB: s.memory.total, FreeMemoryKB: s.memory.free,
		UsedMemoryKB: s.memory.total - s.memory.free, AvailableMemoryKB: s.memory.available,
		CPUPressurePercent:    p.proc.pressure(&r, "cpu"),
		MemoryPressurePercent: p.proc.pressure(&r, "memory"),
		IOPressurePercent:     p.proc.pressure(&r, "io"),
	}, nil
}

// printContainer writes a container's line, and those of its processes where
// they are asked for.
func (p printer) printContainer(write func(any) error, head record.Header, totalKB uint64, c *container, before bases) error {
	head.Type = record.TypeContainer
	one := record.Container{
		Header: head, ID: c.id, Engine: c.engine,
		PID: c.first.pid, Process: c.first.name, Cmdline: c.first.cmdline.pointer(), CmdlineTruncated: c.first.cmdline.truncated, Processes: c.count,
		MemoryKB: c.memoryKB, MemoryLimitKB: c.memoryLimit, RSSKB: c.rssKB, VSZKB: c.vszKB, MemoryPercent: percent(c.memoryKB, totalKB),
		CPUNS: c.cpuNS, CPULimitPercent: c.cpuLimit,
	}
	if c.atNS != 0 {
		one.AtNS = &c.atNS
	}
	one.CPUPercent, one.IntervalMS = before.ofContainer(c)
	err := write(one)
	head.Type = record.TypeProcess
	for i := 0; err == nil && p.processes && i < len(c.processes); i++ {
		of := &c.processes[i]
		one := record.Process{
			Header: head, ID: c.id, PID: of.pid, Name: of.name, State: of.state,
			Cmdline: of.cmdline.pointer(), CmdlineTruncated: of.cmdline.truncated,
			VSZKB: of.vszKB, RSSKB: of.rssKB, MemoryPercent: percent(of.rssKB, totalKB),
			CPUPercent: before.ofProcess(c, of),
		}
		if !of.cpuUnknown {
			one.CPUNS = &of.cpuNS
		}
		err = write(one)
	}
	return err
}

func percent(part, whole uint64) float64 { return round(float64(part) / float64(whole) * 100) }

// round keeps two decimals.
func round(x float64) float64 { return math.Round(x*100) / 100 }
