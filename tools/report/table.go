package main

import (
	"iter"
	"slices"
	"strings"
)

// maxColumn is how wide a column gets, but for the last: one long name would
// make every line of the table as long.
const maxColumn = 256

// column is one of a table.
type column struct {
	title string
	right bool // its cells are set to the right
	goes  int  // where the screen is narrow: 1 goes first, then 2; 0 stays
}

// table is rows of cells. Where the screen is narrow, columns go, then the
// names are shortened, and the last cells are cut.
type table struct {
	columns []column
	name    int // the column of the names
	titled  bool
	rows    []row
}

// lines lays the table out for a screen of that width, or for none with 0, and
// gives each line's colour. On a screen of a few columns only, they may still be
// too long.
func (t *table) lines(width int) iter.Seq2[string, string] {
	// Where every column of the screen counts, titles may be cut too.
	tight := width > 0 && width < 30
	indent, gap := "  ", "  "
	if tight {
		indent, gap = "", " "
	}
	rows := t.rows
	if t.titled {
		var titles []string
		for _, c := range t.columns {
			titles = append(titles, c.title)
		}
		rows = slices.Concat([]row{{cells: titles}}, rows)
	}
	measured := rows
	if tight {
		measured = t.rows
	}
	widths := t.widths(measured)
	if width > 0 {
		t.narrow(widths, width-len(indent), len(gap))
	}
	return func(yield func(line, code string) bool) {
		for _, row := range rows {
			if !yield(strings.TrimRight(indent+strings.Join(t.cells(row.cells, widths), gap), " "), row.code) {
				return
			}
		}
	}
}

func (t *table) widths(rows []row) []int {
	widths := make([]int, len(t.columns))
	for _, row := range rows {
		for i, cell := range row.cells {
			widths[i] = max(widths[i], columns(cell))
		}
	}
	for i := range len(widths) - 1 {
		widths[i] = min(widths[i], maxColumn)
	}
	return widths
}

// gone is the width of a column that is left out.
const gone = -1

// narrow makes the widths fit into so many columns of the screen.
func (t *table) narrow(widths []int, width, gap int) {
	const enoughName, enoughLast = 16, 24 // for these, other columns go
	last := len(widths) - 1
	enough := min(widths[t.name], enoughName) + min(widths[last], enoughLast)
	for n := 1; t.room(widths, width, gap) < enough; n++ {
		i := slices.IndexFunc(t.columns, func(c column) bool { return c.goes == n })
		if i < 0 {
			break
		}
		widths[i] = gone
	}
	room := t.room(widths, width, gap)
	if widths[t.name]+widths[last] > room {
		widths[t.name] = max(1, min(widths[t.name], max(room/2, room-widths[last])))
		widths[last] = max(1, room-widths[t.name])
	}
}

// room is what the other columns leave for the names and the last column.
func (t *table) room(widths []int, width, gap int) int {
	room := width + gap
	for i, w := range widths {
		if w == gone {
			continue
		}
		room -= gap
		if i != t.name && i != len(widths)-1 {
			room -= w
		}
	}
	return room
}

// cells are those of a row that are shown, each as wide as its column.
func (t *table) cells(row []string, widths []int) []string {
	var cells []string
	for i, cell := range row {
		if widths[i] == gone {
			continue
		}
		if i == t.name {
			cell = squeeze(cell, widths[i])
		} else {
			cell = cut(cell, widths[i])
		}
		space := strings.Repeat(" ", max(0, widths[i]-columns(cell)))
		switch {
		case t.columns[i].right:
			cell = space + cell
		case i < len(row)-1:
			cell += space
		}
		cells = append(cells, cell)
	}
	return cells
}
