package main

import (
	"fmt"
	"strings"
	"unicode"
)

// label is the flag --only.
type label struct{ key, value string }

// on tells whether it is among labels. Where none was named, it is on all.
func (l *label) on(labels map[string]string) bool {
	value, there := labels[l.key]
	return l.key == "" || there && (l.value == "" || value == l.value)
}

func (l *label) String() string {
	if l.value == "" {
		return l.key
	}
	return l.key + "=" + l.value
}

// Type is the flag's placeholder in --help.
func (l *label) Type() string { return "LABEL[=VALUE]" }

// Set takes no empty value: that is a variable that was not set.
func (l *label) Set(text string) error {
	key, value, valued := strings.Cut(text, "=")
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if key == "" || valued && value == "" || strings.ContainsFunc(key, odd) {
		return fmt.Errorf("not a label such as winnow.test or winnow.test=NAME: %q", text)
	}
	l.key, l.value = key, value
	return nil
}
