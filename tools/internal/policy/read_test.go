package policy

import (
	"math"
	"testing"

	"winnow/tools/internal/record"
)

func TestReadHost(t *testing.T) {
	var line record.Line
	err := line.Parse([]byte(`{"type":"host","cause":"available","cpu_stall_percent":1.5,"memory_stall_percent":2.5,"io_stall_percent":null}`))
	if err != nil {
		t.Fatal(err)
	}
	s := ReadHost(&line)
	if s.Cause != record.CauseAvailable || s.CPUStall != 1.5 || s.MemoryStall != 2.5 || !math.IsNaN(s.IOStall) {
		t.Errorf("got %+v", s)
	}
}

// What of the host fails is told with its figure, and what is not known as that.
func TestReasonsOfTheHost(t *testing.T) {
	for _, test := range []struct{ rule, cause, want string }{
		{`cause="available"`, "clock", "kept, nearest is rule 1: the snapshot's cause is clock, not available: cpu"},
		{`cause="available"`, "", "kept, nearest is rule 1: the snapshot's cause is not known, not available: cpu"},
		{`host_memory_stall="> 10%"`, "", "kept, nearest is rule 1: host memory stall 7.5 % since the snapshot before is not > 10%: cpu"},
	} {
		s := snap(0, box("a", 9, 9))
		s.Cause, s.MemoryStall = test.cause, 7.5
		p := rules(t, "[[rule]]\n"+test.rule)
		verdicts, _ := p.Judge(s, new(Memory))
		if got := verdicts[0].Reason; len(got) < len(test.want) || got[:len(test.want)] != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
