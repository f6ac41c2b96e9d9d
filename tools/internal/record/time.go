package record

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// ParseTime reads RFC 3339 as ns since 1970. Years that do not fit are no
// times to it.
func ParseTime(text string) (int64, bool) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return 0, false
	}
	return at.UnixNano(), true
}

var durationText = regexp.MustCompile(`^(?:(\d+)d)?(0|(?:\d+(?:\.\d+)?(?:h|m|s|ms))*)$`)

// ParseDuration reads 30s, 15m, 4h, 7d, and such after each other, as in 1h30m, or 0.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 30s, 15m, 4h or 7d", text)
	parts := durationText.FindStringSubmatch(text)
	if parts == nil || text == "" {
		return 0, bad
	}
	var sum time.Duration
	if parts[1] != "" {
		days, err := strconv.Atoi(parts[1])
		if err != nil || days > 36500 {
			return 0, bad
		}
		sum = time.Duration(days) * 24 * time.Hour
	}
	if parts[2] != "" {
		rest, err := time.ParseDuration(parts[2])
		if err != nil || rest < 0 || rest > 36500*24*time.Hour {
			return 0, bad
		}
		sum += rest
	}
	return sum, nil
}
