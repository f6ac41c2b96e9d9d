package main

import (
	"bufio"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// shown is what show prints of in on a screen.
func shown(t *testing.T, in string, s screen, room int) string {
	t.Helper()
	var out strings.Builder
	if err := show(strings.NewReader(in), bufio.NewWriter(&out), s, room); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Whatever the width, the name, the verdict and the reason are there.
func TestWidths(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/golden/widths.txtar")
	if err != nil {
		t.Fatal(err)
	}
	records := string(archive.Files[0].Data)
	for _, file := range archive.Files[1:] {
		t.Run(file.Name, func(t *testing.T) {
			width, err := strconv.Atoi(file.Name)
			if err != nil {
				t.Fatal(err)
			}
			got := shown(t, records, screen{width: width}, maxKept)
			if got != string(file.Data) {
				t.Errorf("got\n%s\nwant\n%s", got, file.Data)
			}
			holdsTo(t, got, width)
		})
	}
}

// What the reasons leave free the names get.
func TestNamesGetWhatIsFree(t *testing.T) {
	name := "winnow-high-memory-2bd1b9f5a453"
	in := host("s", "") + container("s", 1, `,"class":"low","rank":1,"verdict":"keep","reason":"kept","name":"`+name+`"`)
	want := "  winnow-hig…d1b9f5a453  keep     kept\n"
	if got := shown(t, in, screen{width: 40}, maxKept); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
}
