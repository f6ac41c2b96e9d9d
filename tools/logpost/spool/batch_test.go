package spool

import (
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 20 {
		run := NewIDs()
		for range 3 {
			id := run.Next()
			if seen[id] || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool {
				return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", r)
			}) {
				t.Errorf("%q", id)
			}
			if !run.Own(id) || NewIDs().Own(id) {
				t.Errorf("%q is not known by its run, or by another", id)
			}
			seen[id] = true
		}
	}
}
