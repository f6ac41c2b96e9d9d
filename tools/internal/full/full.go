// Package full tells tests that need much from those that run anywhere.
package full

import "testing"

// Needs leaves a test out of a short run, `make check`, which has neither
// root, Docker nor much time. All others are for every run.
func Needs(t testing.TB, what string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("left to make test: needs %s", what)
	}
}
