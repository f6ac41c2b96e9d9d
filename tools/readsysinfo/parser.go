package main

import (
	"fmt"
	"strconv"
	"unsafe"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/jsonscan"
)

// maxDepth bounds how deep a member that is passed over nests.
const maxDepth = 64

// parser reads a document in one pass. err is what was wrong first; from then
// on it reads nothing.
type parser struct {
	jsonscan.Scanner
	keep bool // processes
	err  error
}

// object reads an object: member is called with each name, and reads the value.
func (p *parser) object(member func(name []byte)) {
	p.items('{', '}', func() {
		name := p.string()
		if !p.expect(':') {
			return
		}
		if member(name); p.err != nil {
			p.err = fmt.Errorf("%.64s: %w", name, p.err)
		}
	})
}

// items reads a list or an object: item is called at each, and reads it.
func (p *parser) items(begin, end byte, item func()) {
	if !p.expect(begin) {
		return
	}
	for first := true; !p.Take(end); first = false {
		if !first && !p.expect(',') {
			return
		}
		if item(); p.err != nil {
			return
		}
		p.Space()
	}
}

// number reads a whole number.
func (p *parser) number() uint64 {
	n, ok := parseWhole(p.skip())
	if !ok {
		p.fail("not a whole number")
	}
	return n
}

func (p *parser) numberOrNull() (n uint64, known bool) {
	if p.null() {
		return 0, false
	}
	return p.number(), true
}

// percentOrNull reads a number that may have decimals.
func (p *parser) percentOrNull() *float64 {
	if p.null() {
		return nil
	}
	x, err := strconv.ParseFloat(string(p.skip()), 64)
	if err != nil || x < 0 {
		p.fail("not a number from 0 up")
	}
	return &x
}

// flag reads true or false.
func (p *parser) flag() bool {
	value := string(p.skip())
	if value != "true" && value != "false" {
		p.fail("not true or false")
	}
	return value == "true"
}

// null reads a null, if that is next.
func (p *parser) null() bool {
	is := p.At < len(p.Text) && p.Text[p.At] == 'n'
	if is {
		p.skip()
	}
	return is
}

// text reads a string, which shares its bytes with the document where it can.
func (p *parser) text() string {
	text := p.string()
	return unsafe.String(unsafe.SliceData(text), len(text))
}

func (p *parser) textOrNull() (text string, known bool) {
	if p.null() {
		return "", false
	}
	return p.text(), true
}

// string reads a string.
func (p *parser) string() []byte {
	p.Escaped = false
	value := p.skip()
	switch {
	case len(value) == 0 || value[0] != '"':
		p.fail("not a string")
		return nil
	case p.Escaped:
		return []byte(gjson.ParseBytes(value).Str)
	}
	return value[1 : len(value)-1]
}

// skip reads a value of any kind, and returns it as it stands; nil where it
// cannot be read.
func (p *parser) skip() []byte {
	from := p.At
	if p.err == nil && !p.Value(maxDepth) {
		p.fail(fmt.Sprintf("not JSON, cut short, or nested deeper than %d", maxDepth))
	}
	if p.err != nil {
		return nil
	}
	return p.Text[from:p.At]
}

// expect reads a byte of JSON's own and the space around it.
func (p *parser) expect(c byte) bool {
	p.Space()
	if !p.Take(c) {
		p.fail(fmt.Sprintf("no %q, or cut short", c))
	}
	p.Space()
	return p.err == nil
}

// parseWhole is the whole number that text is, below 2^63. There are thousands of
// them, and strconv takes five times as long.
func parseWhole[T string | []byte](text T) (n uint64, ok bool) {
	if len(text) > 18 { // it may be too large
		n, err := strconv.ParseUint(string(text), 10, 63)
		return n, err == nil
	}
	for i := range len(text) {
		digit := text[i] - '0'
		if digit > 9 {
			return 0, false
		}
		n = 10*n + uint64(digit)
	}
	return n, len(text) > 0
}

func (p *parser) fail(why string) {
	if p.err == nil {
		p.err = fmt.Errorf("byte %d: %s", p.At, why)
	}
}
