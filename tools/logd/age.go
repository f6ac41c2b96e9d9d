package main

import (
	"fmt"
	"time"

	"winnow/tools/internal/record"
)

// age is a flag's value: a duration that may be given in days.
type age time.Duration

func (a *age) String() string {
	if d := time.Duration(*a); d%(24*time.Hour) != 0 {
		return d.String()
	}
	return fmt.Sprintf("%dd", time.Duration(*a)/(24*time.Hour))
}

// Type is the flag's placeholder in --help.
func (a *age) Type() string { return "age" }

// Set parses an age; a negative one is refused.
func (a *age) Set(text string) error {
	d, err := record.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("not an age such as 30d or 12h: %q", text)
	}
	*a = age(d)
	return nil
}
