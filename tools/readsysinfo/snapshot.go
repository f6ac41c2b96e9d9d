package main

import (
	"bufio"
	"io"
	"time"

	"winnow/tools/internal/record"
	"winnow/tools/readsysinfo/cgroup"
)

// sample is the host and its containers as they were measured at one time.
type sample struct {
	source string // as in record.Host
	time   time.Time
	atNS   int64 // the same since the host's boot
	cause  string
	memory memory
	pressures
	cgroup.Measured
	stages []record.Stage // where they are to be told
}

// printer writes the records of a sample.
type printer struct {
	proc         procfs
	host, bootID string
	processes    bool
}

// print writes the sample's lines, and one that ends them. Rates are taken from before, and stalls since.
func (p printer) print(out io.Writer, s *sample, before bases, since stalls) error {
	w := bufio.NewWriterSize(out, 64<<10)
	lines := record.NewEncoder(w)
	head := record.Header{
		Type: record.TypeHost, Time: s.time.UTC(), Host: p.host,
		Snapshot: s.time.UTC().Format("20060102T150405.000000000Z"),
	}
	for _, one := range s.stages {
		one.Header = head
		one.Type = record.TypeStage
		if err := lines.Encode(&one); err != nil {
			return err
		}
	}
	host, err := p.hostRecord(head, s, before, since)
	if err != nil {
		return err
	}
	if err := lines.Encode(&host); err != nil {
		return err
	}
	begins := [2][]byte{beginning(head, record.TypeContainer), beginning(head, record.TypeProcess)}
	count := 1 // of the lines
	for i := range s.Containers {
		c := &s.Containers[i]
		if count++; p.processes {
			count += len(c.Listed)
		}
		if err := p.printContainer(w, begins, s.memory.totalKB, c, before); err != nil {
			return err
		}
	}
	head.Type = record.TypeEnd
	if err := lines.Encode(record.End{Header: head, Lines: count}); err != nil {
		return err
	}
	return w.Flush()
}

func (p printer) hostRecord(head record.Header, s *sample, before bases, since stalls) (record.Host, error) {
	cpus, err := p.proc.cpus()
	stalled := s.stalls.percent(since)
	return record.Host{
		Header: head, Source: s.source, BootID: p.bootID, Containers: len(s.Containers), CPUs: cpus, IntervalMS: before.interval(s.atNS), Cause: s.cause,
		TotalMemoryKB: s.memory.totalKB, FreeMemoryKB: s.memory.freeKB,
		UsedMemoryKB: s.memory.totalKB - s.memory.freeKB, AvailableMemoryKB: s.memory.availableKB,
		CPUPressurePercent: s.avg10[0], MemoryPressurePercent: s.avg10[1], IOPressurePercent: s.avg10[2],
		CPUStallPercent: stalled[0], MemoryStallPercent: stalled[1], IOStallPercent: stalled[2],
	}, err
}

// beginning is what a snapshot's lines of a type begin with.
func beginning(head record.Header, of string) []byte {
	head.Type = of
	return head.Begin()
}

// printContainer writes a container's line, and those of its processes where they are asked for.
func (p printer) printContainer(w *bufio.Writer, begins [2][]byte, totalKB uint64, c *cgroup.Container, before bases) error {
	line := &c.Container
	line.MemoryPercent = percent(c.MemoryKB, totalKB)
	line.CPUPercent, line.IntervalMS = before.ofContainer(c)
	if _, err := w.Write(line.Append(w.AvailableBuffer(), begins[0])); err != nil || !p.processes {
		return err
	}
	for i := range c.Listed {
		one := &c.Listed[i]
		line := &one.Process
		line.ID = c.ID
		line.MemoryPercent = percent(one.RSSKB, totalKB)
		line.CPUPercent = before.ofProcess(c, one)
		if _, err := w.Write(line.Append(w.AvailableBuffer(), begins[1])); err != nil {
			return err
		}
	}
	return nil
}
