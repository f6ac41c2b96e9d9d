package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// lockedBuffer takes writes of one goroutine while another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestLive feeds it what each golden file says, and holds what is shown after a
// quiet moment against that.
func TestLive(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/golden/live.txtar")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		in, feed := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- live(in, &out, func() screen { return screen{width: 100} }) }()
		before := 0
		for i := 0; i+1 < len(archive.Files); i += 2 {
			io.WriteString(feed, string(archive.Files[i].Data))
			time.Sleep(quiet + 1)
			synctest.Wait()
			got := out.String()[before:]
			before += len(got)
			if got != string(archive.Files[i+1].Data) {
				t.Errorf("%s: got\n%s\nwant\n%s", archive.Files[i].Name, got, archive.Files[i+1].Data)
			}
		}
		feed.Close()
		if err := <-ended; err != nil || out.String()[before:] != "" {
			t.Errorf("ended with %v, and %q", err, out.String()[before:])
		}
	})
}

func one(n int) string {
	return host("s", fmt.Sprintf(`,"source":"number %d"`, n)) + `{"type":"end","host":"vm","snapshot":"s","lines":1}` + "\n"
}

// A terminal that is stopped holds nothing up: what it misses is counted.
func TestLiveIsNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, feed := io.Pipe()
		terminal, stdout := io.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- live(in, stdout, func() screen { return screen{} }) }()
		begun := time.Now()
		for n := range 100 {
			io.WriteString(feed, one(n))
			synctest.Wait()
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("held up for %v", took)
		}
		var titles []string
		lines := bufio.NewScanner(terminal)
		for lines.Scan() && !strings.Contains(lines.Text(), "number 98") { // 99 may be followed by kills
			if line := lines.Text(); strings.Contains(line, "number") || strings.Contains(line, "not shown") {
				titles = append(titles, strings.Fields(line)[0]+strings.TrimSuffix(strings.TrimPrefix(line, "vm  -  number"), ", - cores, - containers"))
			}
		}
		if want := "[vm 0 9494 before were not shown: the terminal took nothing vm 95 vm 96 vm 97]"; fmt.Sprint(titles) != want {
			t.Errorf("got %v", titles)
		}
		defer terminal.Close()
		feed.Close() // nobody reads on
		begun = time.Now()
		if err := <-ended; err == nil || time.Since(begun) != lastWords {
			t.Errorf("ended with %v after %v", err, time.Since(begun))
		}
	})
}

// A terminal that is gone ends it.
func TestLiveWithoutATerminal(t *testing.T) {
	in, feed := io.Pipe()
	terminal, stdout := io.Pipe()
	terminal.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- live(in, stdout, func() screen { return screen{} })
		in.Close()
	}()
	for n := 0; ; n++ {
		if _, err := io.WriteString(feed, one(n)); err != nil {
			break
		}
	}
	if err := <-ended; err == nil || !strings.HasPrefix(err.Error(), "writing: ") {
		t.Errorf("ended with %v", err)
	}
}
