package record

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"

	"github.com/tidwall/gjson"
)

// types are the records of this package, by the type that a line names.
var types = map[string]reflect.Type{
	TypeHost:      reflect.TypeFor[Host](),
	TypeContainer: reflect.TypeFor[Container](),
	TypeProcess:   reflect.TypeFor[Process](),
	TypeEnd:       reflect.TypeFor[End](),
	TypeRule:      reflect.TypeFor[Rule](),
	TypeKill:      reflect.TypeFor[Kill](),
	TypeStage:     reflect.TypeFor[Stage](),
}

// kinds are the kinds of JSON that the members of all these records have, by
// their names. A name means the same in every record.
var kinds = sync.OnceValue(func() map[string]kind {
	all := make(map[string]kind)
	for _, t := range types {
		for name, index := range fieldsOf(t) {
			all[name] = kindOf(t.FieldByIndex(index).Type)
		}
	}
	return all
})

// kind is a kind of JSON value.
type kind int

const (
	aString kind = iota + 1
	aNumber
	aBool
	anObject
)

// kindOf is how a field of type t is written.
func kindOf(t reflect.Type) kind {
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String, reflect.Struct: // the one struct is a time
		return aString
	case reflect.Bool:
		return aBool
	case reflect.Map:
		return anObject
	}
	return aNumber
}

// Check says why the line cannot be a record of the type that it names: a
// member has the wrong type, a number is negative, a container has no id. Null
// is right for every member but that. Lines of other types than this package's
// pass.
func (l *Line) Check() error {
	name := l.Type()
	if types[name] == nil {
		return nil
	}
	known := kinds()
	for i := range l.members {
		m := &l.members[i]
		if err := known[m.Name].check(m); err != nil {
			return err
		}
	}
	if name == TypeContainer && !IsID(l.Get("id").Str) {
		return errors.New("a container without an id of 64 hex digits")
	}
	return nil
}

// IsID tells whether id is a container's: 64 lower-case hex digits.
func IsID(id string) bool {
	if len(id) != 64 {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// check says why the member is not of kind k. Members of no kind are not this
// package's.
func (k kind) check(m *Member) error {
	if m.Value.Type == gjson.Null {
		return nil
	}
	switch k {
	case aString:
		if m.Value.Type != gjson.String {
			return fmt.Errorf("%q is not a string", m.Name)
		}
	case aNumber:
		if m.Value.Type != gjson.Number || m.Value.Num < 0 || math.IsInf(m.Value.Num, 0) {
			return fmt.Errorf("%q is not a number from 0 up", m.Name)
		}
	case aBool:
		if !m.Value.IsBool() {
			return fmt.Errorf("%q is not true or false", m.Name)
		}
	case anObject:
		if !m.Value.IsObject() {
			return fmt.Errorf("%q is not an object", m.Name)
		}
		return checkLabels(m.Value) // the one object there is
	}
	return nil
}

// checkLabels wants strings. Of the labels that decide over a container, each
// may be there once only, since readers differ on which counts.
func checkLabels(labels gjson.Result) error {
	var err error
	managed, protect := 0, 0
	labels.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case LabelManaged:
			managed++
		case LabelProtect:
			protect++
		}
		if value.Type != gjson.String {
			err = fmt.Errorf("label %q is not a string", name.Str)
		}
		return err == nil
	})
	if err == nil && max(managed, protect) > 1 {
		err = errors.New("a label of winnow's is there twice")
	}
	return err
}
