// Command namectr adds to each container line the name, image, labels and time
// of creation that Docker knows.
package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"winnow/tools/internal/cli"
	"winnow/tools/internal/record"
)

const summary = `namectr adds the name, image, labels and time of creation to the container lines
of a stream. It asks Docker when an id is new to it, and after --fresh for renames.
One that Docker does not list is asked for again after 1 s, 2 s and so on. All other
lines pass as they are. Where Docker does not answer, what is known stays known, new
containers' lines pass unnamed and the exit status is 1: the later stages keep what
they cannot name. Docker is asked again after 1 to 30 s.
What the engine runs and a snapshot does not have is named on stderr: it cannot be seen
from here, as a rootless Podman's containers where no controller is delegated.
The engine is the one that DOCKER_HOST names, as for docker itself; Podman's socket will do.

Examples:

  readsysinfo | namectr | jq -r 'select(.type == "container") | [.memory_kb, .name] | @tsv'`

func main() { cli.Main("namectr", run) }

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	t := cli.New("namectr", "[--timeout 5s] [--fresh 1m] < records", summary, stderr)
	timeout := t.Duration("timeout", 5*time.Second, "how long to wait for Docker's answer")
	fresh := t.Duration("fresh", time.Minute, "how old a name may be, and the longest until a container that Docker did not list is asked for again")
	t.LockMemoryFlag()
	if err := t.Parse(args, stdout, 0); err != nil {
		return err
	}
	if *timeout <= 0 || *fresh <= 0 {
		return t.Misused("--timeout and --fresh must be above 0: %v, %v", *timeout, *fresh)
	}
	if err := t.NeedInput(stdin); err != nil {
		return err
	}

	docker := engine{timeout: *timeout}
	names := newNamer(*fresh, docker.list, t)
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); names.wait(); docker.close() }()
	out := bufio.NewWriterSize(stdout, 64<<10)
	var text []byte
	for line, err := range record.Records(record.FlushBefore(stdin, out)) {
		var bad *record.LineError
		if errors.As(err, &bad) {
			t.Complain(bad)
			continue
		}
		if err != nil {
			return err
		}
		text = append(names.appendLine(ctx, text[:0], line), '\n')
		out.Write(text) // its error stays until the next flush
	}
	return t.Done(out.Flush())
}
