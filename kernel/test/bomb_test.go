package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// bomb is what vm/bomb prints of a round.
type bomb struct {
	Round            int
	Killer           string
	Swap             bool
	Rate             string
	SecondsToEnd     *float64 `json:"seconds_to_end"`     // nil: it did not end
	SecondsFromAlarm *float64 `json:"seconds_from_alarm"` // 0 where it ended before the alarm was seen
	Died             []string
	Requests         int
	RequestsLost     int     `json:"requests_lost"`
	FullStallSeconds float64 `json:"full_stall_seconds"`
	KernelKills      int     `json:"kernel_kills"` // which no other killer is to wait for
}

// bombs finds the rounds in what a machine printed.
func bombs(t testing.TB, output []byte) (all []bomb) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), `{"round":`) {
			continue
		}
		var one bomb
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Errorf("%s: %v", lines.Bytes(), err)
			continue
		}
		all = append(all, one)
	}
	return all
}

// onlyTheBomb checks that it ended in every round and nothing else did. How soon is for the benchmark: an emulator
// beside other tests is no measure.
func onlyTheBomb(t *testing.T, output []byte, rounds int) {
	t.Helper()
	all := bombs(t, output)
	if len(all) != rounds {
		t.Errorf("%d rounds of %d", len(all), rounds)
	}
	for _, b := range all {
		if !slices.Equal(b.Died, []string{"bomb"}) {
			t.Errorf("round %d: %q ended, not the bomb alone", b.Round, b.Died)
		}
	}
}

// BenchmarkBomb measures winnow against earlyoom and the kernel alone when a container takes memory without end: as
// fast as it can in ten rounds, or WINNOW_ROUNDS, in three right after its start, and slower in one.
func BenchmarkBomb(b *testing.B) {
	rounds := 10
	if text := os.Getenv("WINNOW_ROUNDS"); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil || rounds < 1 {
			b.Fatalf("WINNOW_ROUNDS=%s is no number of rounds", text)
		}
	}
	var all []bomb
	for _, killer := range []string{"winnow", "earlyoom", "kernel"} {
		for _, swap := range []string{"none", "swap"} {
			command := []string{"kernel/vm/bomb", killer, swap, "0", strconv.Itoa(rounds)}
			if killer != "kernel" {
				command = append(command, "once", "3", "200MB", "1", "50MB", "1", "10MB", "1")
			}
			all = append(all, bombs(b, full(b, command, "LIMIT=5400"))...)
		}
	}
	for _, swap := range []bool{false, true} {
		for _, rate := range []string{"max", "max at once", "200MB", "50MB", "10MB"} {
			compareBombs(b, all, swap, rate)
		}
	}
}

// compareBombs prints what winnow did, and beside it each of the others.
func compareBombs(b *testing.B, all []bomb, swap bool, rate string) {
	b.Helper()
	with := map[bool]string{false: "without swap", true: "with 1 GiB of swap"}[swap]
	for _, peer := range []string{"earlyoom", "kernel"} {
		for _, m := range measures() {
			ours, theirs := m.of(all, "winnow", swap, rate), m.of(all, peer, swap, rate)
			if len(ours) == 0 || len(theirs) == 0 {
				continue // not all rates are tried with all
			}
			name := fmt.Sprintf("bomb at %s %s: %s", rate, with, m.name)
			against := peer + ", in another such machine"
			compare(b, name+", median", ours[len(ours)/2], theirs[len(theirs)/2], m.unit, against)
			compare(b, name+", worst", ours[len(ours)-1], theirs[len(theirs)-1], m.unit, against)
		}
	}
}

// measure is a figure of a round, less of which is better.
type measure struct {
	name, unit string
	value      func(bomb) float64
}

func measures() []measure {
	return []measure{
		{"from the first allocation to its end", "s", func(b bomb) float64 { return seconds(b.SecondsToEnd) }},
		{"from the alarm to its end", "s", func(b bomb) float64 { return seconds(b.SecondsFromAlarm) }},
		{"others that died", "processes", func(b bomb) float64 {
			return float64(len(slices.DeleteFunc(slices.Clone(b.Died), func(name string) bool { return name == "bomb" })))
		}},
		{"requests lost by the innocent", "requests", func(b bomb) float64 { return float64(b.RequestsLost) }},
		{"times that the kernel had to", "kills", func(b bomb) float64 { return float64(b.KernelKills) }},
		{"full memory stall", "s", func(b bomb) float64 { return b.FullStallSeconds }},
	}
}

// seconds counts what never came as long as vm/bomb waits for it.
func seconds(s *float64) float64 {
	if s == nil {
		return 400
	}
	return *s
}

// of is the figure in all rounds of a kind, the least first.
func (m measure) of(all []bomb, killer string, swap bool, rate string) (values []float64) {
	for _, b := range all {
		if b.Killer == killer && b.Swap == swap && b.Rate == rate {
			values = append(values, m.value(b))
		}
	}
	slices.Sort(values)
	return values
}
