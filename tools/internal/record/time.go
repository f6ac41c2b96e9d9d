package record

import "time"

// ParseTime reads RFC 3339 as ns since 1970. Years that do not fit are no
// times to it.
func ParseTime(text string) (int64, bool) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 {
		return 0, false
	}
	return at.UnixNano(), true
}
