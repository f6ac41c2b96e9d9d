package record

import "strings"

// TypeCommit is the type of the lines with which a log store ends its groups.
// Nobody can post one.
const TypeCommit = "commit"

// BatchHeader is the HTTP header in which a batch of lines that is posted has its
// id. One that comes again is stored once.
const BatchHeader = "Winnow-Batch"

// MaxBatchID is the longest id of a batch.
const MaxBatchID = 128

// ValidBatchID tells whether id can name a batch: 1 to 128 of A-Z a-z 0-9 . _ : -
func ValidBatchID(id string) bool {
	if id == "" || len(id) > MaxBatchID {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("._:-", r)
	}) < 0
}

// Delivery is the answer to a batch that was taken. It accounts for each line.
type Delivery struct {
	Stored      int       `json:"stored"`
	Refused     []Refusal `json:"refused"`                // lines that can never be stored
	RefusedMore int       `json:"refused_more,omitempty"` // such lines that are not named
	Duplicate   bool      `json:"duplicate"`              // it was stored before, and so 0 lines are now
}

// Refusal is a line that was not stored because it never can be.
type Refusal struct {
	Line  int    `json:"line"` // of the batch, from 1
	Error string `json:"error"`
}

// AccountsFor tells whether the answer is about so many lines.
func (d *Delivery) AccountsFor(lines int) bool {
	return d.Duplicate || d.Stored >= 0 && d.RefusedMore >= 0 && d.Stored+len(d.Refused)+d.RefusedMore == lines
}
