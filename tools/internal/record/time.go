package record

import (
	"fmt"
	"strconv"
	"strings"
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

// ParseDuration reads 30s, 15m, 1h30m and what else time.ParseDuration does, or a
// number of days, up to a hundred years of them, such as 7d. A negative one is
// refused.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 30s, 15m, 4h or 7d", text)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.Atoi(number)
		if err != nil || days < 0 || days > 36500 {
			return 0, bad
		}
		return time.Duration(days) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, bad
	}
	return d, nil
}
