package main

import (
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// Where the tests run it is never UTC, so that a time which is not made so shows.
func TestMain(m *testing.M) {
	time.Local = time.FixedZone("elsewhere", 3*60*60)
	testscript.Main(m, map[string]func(){"namectr": main})
}

func TestScripts(t *testing.T) { testscript.Run(t, testscript.Params{Dir: "testdata"}) }
