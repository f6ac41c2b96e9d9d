// Package cli is what winnow's tools have alike: flags, --help, --version,
// messages and exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// Run is a tool without its process: all that it reads and writes is given.
type Run func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error

// Main runs a tool as this process and exits: 0 done, 1 failed, 2 wrong usage.
func Main(name string, run Run) {
	log.SetOutput(io.Discard) // libraries have nothing to say here: what matters they return
	stderr := &patient{name: name, w: os.Stderr}
	err := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, stderr)
	os.Exit(report(name, err, stderr))
}

func report(name string, err error, stderr io.Writer) int {
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %s\n%s", name, Printable(err.Error()), usage.Help)
		return 2
	default:
		fmt.Fprintf(stderr, "%s: %s\n", name, Printable(err.Error()))
		return 1
	}
}

// UsageError is a call that the tool cannot take: exit status 2.
type UsageError struct {
	Err  error
	Help string // printed after the message
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Tool is one call of a tool. Its flags are declared on Flags, then Parse is
// called.
type Tool struct {
	*pflag.FlagSet
	name, usage, summary string
	stderr               io.Writer
	complaints           int
	lockMemory           *bool // nil where the tool has no such flag
}

// New makes a tool. usage is what follows its name in the usage line, summary
// one or more sentences for --help and then, after a line "Examples:", calls.
func New(name, usage, summary string, stderr io.Writer) *Tool {
	t := &Tool{pflag.NewFlagSet(name, pflag.ContinueOnError), name, usage, summary, stderr, 0, nil}
	t.SortFlags = false
	t.SetInterspersed(true)
	t.SetOutput(io.Discard)
	return t
}

// version is set by the Makefile.
var version = "devel"

// Parse reads the flags. With --help or --version it prints that to stdout and
// returns pflag.ErrHelp; other arguments than flags are refused beyond operands
// many.
func (t *Tool) Parse(args []string, stdout io.Writer, operands int) error {
	t.Usage = func() {}
	asked := t.Bool("version", false, "print the version and do nothing else")
	err := t.FlagSet.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, t.help())
		return err
	}
	if err != nil {
		return &UsageError{inWords(err), t.hint()}
	}
	if *asked {
		fmt.Fprintln(stdout, t.name, version)
		return pflag.ErrHelp
	}
	if t.NArg() > operands {
		return t.Misused("unexpected argument: %q", t.Arg(operands))
	}
	if t.lockMemory != nil && *t.lockMemory {
		if err := lock(); err != nil {
			t.Warn("memory is not locked: %v", err)
		}
	}
	return nil
}

// inWords tells of a value that a flag cannot take what it should be, where
// the library tells which of Go's functions refused it.
func inWords(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag, cause := invalid.GetFlag(), errors.Unwrap(invalid)
	should := map[string]string{"int": "a whole number", "float64": "a number", "duration": "a time such as 10s or 1m30s",
		"bool": "true or false"}[flag.Value.Type()]
	if should == "" {
		return fmt.Errorf("--%s: %w", flag.Name, cause)
	}
	return fmt.Errorf("--%s: not %s: %q", flag.Name, should, invalid.GetValue())
}

// Misused makes a UsageError.
func (t *Tool) Misused(format string, a ...any) error {
	return &UsageError{fmt.Errorf(format, a...), t.hint()}
}

// NeedInput refuses a terminal as stdin, with the help: a filter that waits
// there in silence looks broken.
func (t *Tool) NeedInput(stdin io.Reader) error {
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &UsageError{errors.New("reads records from a pipe or a file, and stdin is a terminal"), t.help()}
	}
	return nil
}

func (t *Tool) hint() string {
	return fmt.Sprintf("usage: %s %s\n`%s --help` tells more.\n", t.name, t.usage, t.name)
}

func (t *Tool) help() string {
	summary, examples, _ := strings.Cut(strings.TrimSpace(t.summary), "\n\nExamples:\n\n")
	if examples != "" {
		examples = "\nExamples:\n\n" + examples + "\n"
	}
	return fmt.Sprintf("usage: %s %s\n\n%s\n\n%s%s", t.name, t.usage, summary, t.FlagUsages(), examples)
}

// Warn prints a message: `tool: lowercase text: cause`.
func (t *Tool) Warn(format string, a ...any) {
	fmt.Fprintf(t.stderr, "%s: %s\n", t.name, Printable(fmt.Sprintf(format, a...)))
}

// Complain prints an error that does not stop the tool but fails it in the
// end, such as a bad line.
func (t *Tool) Complain(err error) {
	t.complaints++
	t.Warn("%v", err)
}

// Done is the tool's result: err, or that there were complaints, or nil.
func (t *Tool) Done(err error) error {
	if err == nil && t.complaints > 0 {
		return fmt.Errorf("done, but for the %d named above", t.complaints)
	}
	return err
}

// Size is a flag's value in bytes, written as Docker writes it: 64MB, 1.5GiB.
// Both MB and MiB are 1024 * 1024 bytes, as in `docker run --memory`.
type Size int64

func (s *Size) String() string { return units.BytesSize(float64(*s)) }

// Type is the flag's placeholder in --help.
func (s *Size) Type() string { return "size" }

// Set parses a size; a negative one is refused.
func (s *Size) Set(text string) error {
	n, err := units.RAMInBytes(text)
	if err != nil || n < 0 {
		return fmt.Errorf("not a size such as 64MB: %q", text)
	}
	*s = Size(n)
	return nil
}
