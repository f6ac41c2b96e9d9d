package record

import (
	"math"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

// maxLabels bounds all labels of a line that Read keeps together, in bytes.
const maxLabels = 16 << 10

// Read sets the fields of the struct that v points to, by their JSON names,
// from a line that was checked when it came in. A member of another type than
// its field's leaves the field as it is. A number is what it means, however it
// is written: 16000000.0 and 1.6e7 are 16000000. A text longer than limit is
// clipped, so what is kept of a line is small and keeps nothing else of it alive.
func Read(line []byte, v any, limit int) {
	into := reflect.ValueOf(v).Elem()
	fields := fieldsOf(into.Type())
	gjson.Parse(unsafe.String(unsafe.SliceData(line), len(line))).ForEach(func(name, value gjson.Result) bool {
		if index, ok := fields[name.Str]; ok {
			set(into.FieldByIndex(index), value, limit)
		}
		return true
	})
}

// fieldsByType has what fieldsOf gave before.
var fieldsByType sync.Map

// fieldsOf gives the places of a struct's fields, by their names in JSON.
func fieldsOf(t reflect.Type) map[string][]int {
	if known, ok := fieldsByType.Load(t); ok {
		return known.(map[string][]int)
	}
	fields := make(map[string][]int)
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			fields[name] = f.Index
		}
	}
	fieldsByType.Store(t, fields)
	return fields
}

func set(field reflect.Value, value gjson.Result, limit int) {
	if field.Kind() == reflect.Pointer {
		to := reflect.New(field.Type().Elem())
		if set(to.Elem(), value, limit); has(to.Elem(), value) {
			field.Set(to)
		}
		return
	}
	if !has(field, value) {
		return
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(Clip(value.Str, limit))
	case reflect.Bool:
		field.SetBool(value.Bool())
	case reflect.Float64:
		field.SetFloat(value.Num)
	case reflect.Int, reflect.Int64:
		field.SetInt(int64(whole(value, math.MaxInt64)))
	case reflect.Uint64:
		field.SetUint(whole(value, math.MaxUint64))
	case reflect.Map:
		field.Set(reflect.ValueOf(labels(value, limit)))
	case reflect.Struct:
		at, _ := moment(value.Str)
		field.Set(reflect.ValueOf(at))
	}
}

// has tells whether value is of the field's type.
func has(field reflect.Value, value gjson.Result) bool {
	switch field.Kind() {
	case reflect.String:
		return value.Type == gjson.String
	case reflect.Bool:
		return value.IsBool()
	case reflect.Float64:
		return value.Type == gjson.Number && !math.IsInf(value.Num, 0)
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return value.Type == gjson.Number && value.Num >= 0
	case reflect.Map:
		return value.IsObject()
	case reflect.Struct:
		_, ok := moment(value.Str)
		return ok
	}
	return false
}

// moment is a time in UTC. It is one that can be written again: time.Parse also
// takes zones of 24 hours, and years that are beyond 9999 in UTC.
func moment(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	at = at.UTC()
	return at, err == nil && at.Year() >= 0 && at.Year() <= 9999
}

// whole is a number without its fraction, and at most top.
func whole(value gjson.Result, top uint64) uint64 {
	if value.Num >= float64(top) {
		return top
	}
	return value.Uint()
}

func labels(object gjson.Result, limit int) map[string]string {
	labels := make(map[string]string)
	held := 0
	object.ForEach(func(name, value gjson.Result) bool {
		if value.Type != gjson.String {
			return true
		}
		key, text := Clip(name.Str, limit), Clip(value.Str, limit)
		if held += len(key) + len(text); held > maxLabels {
			labels["…"] = "and more"
			return false
		}
		labels[key] = text
		return true
	})
	return labels
}

// Clip is a copy of text in valid UTF-8 that takes at most limit bytes as a
// string in JSON; a mark follows where some of it is gone.
func Clip(text string, limit int) string {
	for i, r := range text {
		if limit -= encoded(r); limit < 0 {
			return strings.ToValidUTF8(text[:i], "\uFFFD") + "…"
		}
	}
	return strings.Clone(strings.ToValidUTF8(text, "\uFFFD"))
}

// encoded is how many bytes a character takes in JSON.
func encoded(r rune) int {
	switch {
	case r == '"' || r == '\\':
		return 2
	case r < ' ' || r == '<' || r == '>' || r == '&' || r == '\u2028' || r == '\u2029':
		return len(`\u0000`)
	default:
		return utf8.RuneLen(r)
	}
}
