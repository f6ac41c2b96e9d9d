package record

import (
	"crypto/sha256"
	"encoding/hex"
)

// Key names a line for good. One that is delivered twice, to whatever store, has the same key both times, and no two
// lines have one: the digest is of the line's bytes, the other members are what it is looked up by.
type Key struct {
	Host     string `json:"host"`
	Snapshot string `json:"snapshot"`
	Type     string `json:"type"`
	ID       string `json:"id"`     // the container's, or empty
	PID      int64  `json:"pid"`    // the process's, or 0
	Digest   string `json:"digest"` // the first 32 hexadecimal digits of the line's SHA-256, without its newline
}

// Key gives the line's.
func (l *Line) Key() Key {
	sum := sha256.Sum256([]byte(l.Text()))
	return Key{
		Host: l.Get("host").Str, Snapshot: l.Get("snapshot").Str, Type: l.Type(), ID: l.Get("id").Str, PID: l.Get("pid").Int(),
		Digest: hex.EncodeToString(sum[:16]),
	}
}
