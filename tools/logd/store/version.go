package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// dayVersion is the layout of the day files that this package writes and reads. The commit that a day begins with has
// it; a day from before, which has none there, is of version 1.
const dayVersion = 1

// ErrNewer is a day that a newer winnow wrote, which is left as it is.
var ErrNewer = errors.New("was written by a newer winnow")

// refuseNewer fails where a day is of a later version: what it says of its lines would be taken for damage.
func refuseNewer(days []*day) error {
	for _, d := range days {
		version, err := d.version()
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		if version > dayVersion {
			return fmt.Errorf("%s %w: it is of version %d, and this one reads up to %d", d.path, ErrNewer, version, dayVersion)
		}
	}
	return nil
}

// version reads the day's first line; of one that cannot be read the load tells.
func (d *day) version() (int, error) {
	f, err := os.Open(d.path)
	if err != nil {
		return dayVersion, nil
	}
	defer f.Close()
	var in io.Reader = f
	if d.packed {
		z, err := newUnpacker(f)
		if err != nil {
			return 0, err
		}
		defer z.Close()
		in = z
	}
	first, _ := bufio.NewReader(io.LimitReader(in, 4<<10)).ReadBytes('\n')
	if c, ok := parseCommit(first); ok && c.CRC32C == sumWith(0, first) { // else it is damaged, which the load tells
		return max(c.Version, 1), nil
	}
	return 1, nil
}
