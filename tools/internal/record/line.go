package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// MaxLine is the longest line that a tool takes, in bytes without its newline.
// It holds the record of a container whose arguments fill the kernel's limit
// for one of them (128 KiB), escaped, many times over.
const MaxLine = 4 << 20

// maxBrackets is how many brackets a line may have for gjson's fast validator,
// which calls itself for each that is open and knows no bound. Of a line with
// more, encoding/json decides, which gives up at a depth of 10,000.
const maxBrackets = 1000

// Line is one record as it was read: its text, and where its members stand.
// The zero Line is ready for Parse, which can be called again to reuse it.
type Line struct {
	Number  int // counted from 1; 0 where Parse was called directly
	raw     string
	members []Member
	marks   uint64 // of the members' names
}

// Member is a name and a value of a line's object. For one to be set, the name
// needs no escapes in JSON, and of the value only Raw counts.
type Member struct {
	Name  string
	Value gjson.Result
}

// Raw makes a member from a value already encoded as JSON.
func Raw(name, json string) Member {
	return Member{Name: name, Value: gjson.Result{Raw: json}}
}

// Parse reads a line without its newline. It must be one JSON object in valid
// UTF-8 that names no member twice, since readers differ on which of the two
// counts. The Line does not keep text.
func (l *Line) Parse(text []byte) error {
	l.raw, l.members = "", l.members[:0]
	if len(text) > MaxLine {
		return fmt.Errorf("longer than %d bytes", MaxLine)
	}
	raw := string(text)
	if l.raw = raw; l.scan(text) {
		return l.checkNames()
	}
	l.raw, l.members = "", l.members[:0]
	if !utf8.Valid(text) {
		return errors.New("not valid UTF-8")
	}
	if err := checkJSON(text); err != nil {
		return err
	}
	l.raw = raw
	object := gjson.Parse(l.raw)
	if !object.IsObject() {
		return errors.New("not a JSON object")
	}
	object.ForEach(func(name, value gjson.Result) bool {
		l.members = append(l.members, Member{name.Str, value})
		return true
	})
	return l.checkNames()
}

// checkJSON says why text is not JSON.
func checkJSON(text []byte) error {
	brackets := bytes.Count(text, []byte{'['}) + bytes.Count(text, []byte{'{'})
	if brackets <= maxBrackets && gjson.ValidBytes(text) {
		return nil
	}
	var any json.RawMessage
	if err := json.Unmarshal(text, &any); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return nil
}

// checkNames refuses a name that is there twice, and notes the marks of all. Only
// names with the same mark are compared, and where there are many a map does it.
func (l *Line) checkNames() error {
	l.marks = 0
	var seen map[string]bool
	if len(l.members) > 64 {
		seen = make(map[string]bool, len(l.members))
	}
	for i := range l.members {
		name := l.members[i].Name
		m := mark(name)
		if seen[name] || seen == nil && l.marks&m != 0 && find(l.members[:i], name) >= 0 {
			return fmt.Errorf("%q is there twice", name)
		}
		if seen != nil {
			seen[name] = true
		}
		l.marks |= m
	}
	return nil
}

// mark is one of 64 bits for a name: where it is not among the marks of a line, the
// name is not in the line.
func mark(name string) uint64 {
	if name == "" {
		return 1
	}
	return 1 << ((uint(len(name)) ^ uint(name[0])*7 ^ uint(name[len(name)-1])*31) & 63)
}

func find(members []Member, name string) int {
	for i := range members {
		if members[i].Name == name {
			return i
		}
	}
	return -1
}

// Text is the line as it was read, without its newline.
func (l *Line) Text() string { return l.raw }

// Members are those of the object, in their order. They are valid until the
// Line is parsed again; the strings in them stay valid.
func (l *Line) Members() []Member { return l.members }

// Get is the value of the member called name; its Exists method tells whether
// there is one. Nothing in name has a special meaning.
func (l *Line) Get(name string) gjson.Result {
	if l.marks&mark(name) != 0 {
		if i := find(l.members, name); i >= 0 {
			return l.members[i].Value
		}
	}
	return gjson.Result{}
}

// Type is the line's record type, "" where it has none.
func (l *Line) Type() string { return l.Get("type").Str }

// Decode reads the line into v, a pointer to one of this package's types. The
// error names the member that has the wrong type.
func (l *Line) Decode(v any) error {
	err := json.Unmarshal([]byte(l.raw), v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%q is a %s", wrong.Field, wrong.Value)
	}
	return err
}

// AppendWith appends the line to dst, without a newline, with the given
// members set: in their place where the line has them, else at its end. All
// other bytes stay as they were read.
func (l *Line) AppendWith(dst []byte, set ...Member) []byte {
	return appendWith(dst, l.raw, l.members, set)
}

// Keep is what stays of the line when the Line is parsed again. Its AppendWith may
// set members of these names.
func (l *Line) Keep(names ...string) Kept {
	has := func(name string) bool { return l.Get(name).Exists() }
	return Kept{l.raw, slices.ContainsFunc(names, has)}
}

// Kept is the text of a line, for later. It takes hardly more memory than that.
type Kept struct {
	text string
	has  bool // a member that may be set
}

// Text is the line as it was read, without its newline.
func (k Kept) Text() string { return k.text }

// AppendWith is Line's. A line that has one of the names is parsed again for it,
// which few need.
func (k Kept) AppendWith(dst []byte, set ...Member) []byte {
	if k.has {
		var again Line
		if err := again.Parse([]byte(k.text)); err != nil {
			panic(err) // it was parsed before
		}
		return again.AppendWith(dst, set...)
	}
	return appendWith(dst, k.text, nil, set)
}

// appendWith appends text with the members set, of which those in has are there
// already.
func appendWith(dst []byte, text string, has, set []Member) []byte {
	from := 0
	for i := range has {
		m := &has[i]
		if n := find(set, m.Name); n >= 0 {
			dst = append(dst, text[from:m.Value.Index]...)
			dst = append(dst, set[n].Value.Raw...)
			from = m.Value.Index + len(m.Value.Raw)
		}
	}
	end := strings.LastIndexByte(text, '}')
	dst = append(dst, text[from:end]...)
	comma := !strings.HasSuffix(strings.TrimRight(text[:end], space), "{")
	for i := range set {
		s := &set[i]
		if find(has, s.Name) >= 0 {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(append(append(dst, '"'), s.Name...), '"', ':')
		dst = append(dst, s.Value.Raw...)
	}
	return append(dst, text[end:]...)
}

// space is what may stand between the parts of JSON.
const space = " \t\r\n"
