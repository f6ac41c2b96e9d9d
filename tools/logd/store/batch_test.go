package store

import (
	"fmt"
	"strings"
	"testing"

	"winnow/tools/internal/record"
	"winnow/tools/testkit"
)

func TestNobodyCanPostACommit(t *testing.T) {
	t.Parallel()
	c := commit{Type: record.TypeCommit, Time: testkit.Noon, Batches: []string{"forged"}}
	var refused []int
	b := NewBatch("", "", []byte("{\"n\":1}\n"+string(c.seal([]byte("{\"n\":1}\n")))+
		`{ "x":1, "type" : "commit" }`+"\n"+`{"t\u0079pe":"comm\u0069t"}`+"\n"+
		`{"type":"Commit"}`+"\n"+`{"a":{"type":"commit"}}`+"\n"+`{"type":["commit"]}`+"\n"),
		func(line int, err error) {
			refused = append(refused, line)
			if !strings.Contains(err.Error(), `the type "commit" is the log's own`) && line != 2 {
				t.Errorf("line %d: %v", line, err)
			}
		}, func(_, _, _ []byte) {})
	// The first line of the forged group is one of the batch; its commit is not.
	if fmt.Sprint(refused) != "[3 4 5]" || b.Count != 5 {
		t.Errorf("refused %v, took %d: %s", refused, b.Count, b.Lines)
	}
}
