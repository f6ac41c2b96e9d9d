package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"time"
)

// commitStart is how each commit begins.
const commitStart = `{"type":"commit",`

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	sumName    = []byte(`"crc32c":"`)
	noSum      = []byte("00000000")
)

// commit is the line that ends a group; the package's head tells what is in it.
type commit struct {
	Type    string    `json:"type"`
	Time    time.Time `json:"time"`
	At      int64     `json:"at"`
	Bytes   int64     `json:"bytes"`
	Lines   int       `json:"lines"`
	CRC32C  string    `json:"crc32c"`
	Batches []string  `json:"batches"`
	Adopted bool      `json:"adopted,omitempty"`
	Version int       `json:"version,omitempty"` // in the first of a day
}

// seal appends the commit to the group's lines.
func (c *commit) seal(lines []byte) []byte {
	return c.sealWith(lines, crc32.Checksum(lines, castagnoli))
}

// sealWith appends the commit of lines that have this checksum to dst.
func (c *commit) sealWith(dst []byte, lines uint32) []byte {
	c.CRC32C = string(noSum)
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // a time of year 10000, which the clock is kept from
	}
	text = append(text, '\n')
	c.CRC32C = sumWith(lines, text)
	copy(text[sumAt(text):], c.CRC32C)
	return append(dst, text...)
}

// sumAt is where the checksum's digits are in a commit, or -1.
func sumAt(line []byte) int {
	at := bytes.Index(line, sumName)
	if at < 0 || at+len(sumName)+len(noSum) > len(line) {
		return -1
	}
	return at + len(sumName)
}

// sumWith is the checksum of lines that have one, and of their commit.
func sumWith(lines uint32, line []byte) string {
	at := sumAt(line)
	sum := crc32.Update(lines, castagnoli, line[:at])
	sum = crc32.Update(sum, castagnoli, noSum)
	return fmt.Sprintf("%08x", crc32.Update(sum, castagnoli, line[at+len(noSum):]))
}

func isCommit(line []byte) bool { return bytes.HasPrefix(line, []byte(commitStart)) }

// parseCommit reads a commit. Whether it is as it was written, its checksum
// tells.
func parseCommit(line []byte) (c commit, ok bool) {
	if !isCommit(line) || line[len(line)-1] != '\n' || sumAt(line) < 0 {
		return c, false
	}
	return c, json.Unmarshal(line, &c) == nil && c.At >= 0 && c.Bytes >= 0
}
