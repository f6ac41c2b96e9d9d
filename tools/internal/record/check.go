package record

import (
	"errors"
	"fmt"
	"math"

	"github.com/tidwall/gjson"
)

// Check says why the line cannot be a record of the type that it names: a
// member has the wrong type, a number is negative, a container has no id. Null
// is right for every member but that. Lines of other types than this package's
// pass.
func (l *Line) Check() error {
	kind := l.Type()
	switch kind {
	case TypeHost, TypeContainer, TypeProcess, TypeEnd, TypeKill:
	default:
		return nil
	}
	for i := range l.members {
		if err := checkMember(&l.members[i]); err != nil {
			return err
		}
	}
	if kind == TypeContainer && !IsID(l.Get("id").Str) {
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

func checkMember(m *Member) error {
	if m.Value.Type == gjson.Null {
		return nil
	}
	switch m.Name {
	case "time", "host", "snapshot", "source", "boot_id", "id", "engine", "process", "cmdline", "name", "image", "created", "state",
		"class", "verdict", "reason", "result", "signal", "error":
		if m.Value.Type != gjson.String {
			return fmt.Errorf("%q is not a string", m.Name)
		}
	case "containers", "cpus", "interval_ms", "total_memory_kb", "free_memory_kb", "used_memory_kb",
		"available_memory_kb", "cpu_pressure_percent", "memory_pressure_percent", "io_pressure_percent",
		"pid", "processes", "memory_kb", "rss_kb", "vsz_kb", "memory_percent", "cpu_ns", "cpu_percent",
		"memory_limit_kb", "at_ns", "cpu_limit_percent", "rank", "took_ms", "lines":
		if m.Value.Type != gjson.Number || m.Value.Num < 0 || math.IsInf(m.Value.Num, 0) {
			return fmt.Errorf("%q is not a number from 0 up", m.Name)
		}
	case "cmdline_truncated":
		if !m.Value.IsBool() {
			return fmt.Errorf("%q is not true or false", m.Name)
		}
	case "labels":
		return checkLabels(m.Value)
	}
	return nil
}

// checkLabels wants an object of strings. Of the labels that decide over a
// container, each may be there once only, since readers differ on which counts.
func checkLabels(labels gjson.Result) error {
	if !labels.IsObject() {
		return errors.New(`"labels" is not an object`)
	}
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
