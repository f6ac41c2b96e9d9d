package main

import (
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

// Two machines of one name are told of once; one that was started anew, or whose lines came late, is not.
func TestTwins(t *testing.T) {
	for name, test := range map[string]struct {
		boots string // one a snapshot, a minute apart; a dash is half an hour
		told  int
		twins bool
	}{
		"one":                    {"aaaa", 0, false},
		"started anew":           {"aabb", 0, false},
		"started anew often":     {"abcdef", 0, false},
		"its last came late":     {"aabab", 0, false},
		"late, once":             {"aaba", 0, false},
		"two":                    {"abababab", 1, true},
		"two, and one goes":      {"ababab-bb", 1, false},
		"back after a long time": {"ab-a-b-a", 0, false},
		"of another program":     {"a\x00a\x00", 0, false},
		"three":                  {"abcabc", 0, false},
	} {
		var b boots
		now, told := testkit.Noon, 0
		for _, boot := range test.boots {
			now = now.Add(time.Minute)
			if boot == '-' {
				now = now.Add(30 * time.Minute)
				continue
			}
			if b.add(strings.Trim(string(boot), "\x00"), now) {
				told++
			}
		}
		if told != test.told || b.twins(now) != test.twins {
			t.Errorf("%s: told %d times, twins %v", name, told, b.twins(now))
		}
	}
}
