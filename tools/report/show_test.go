package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

func host(snapshot, more string) string {
	return `{"type":"host","host":"vm","snapshot":"` + snapshot + `"` + more + "}\n"
}

func container(snapshot string, n int, more string) string {
	return fmt.Sprintf(`{"type":"container","host":"vm","snapshot":%q,"id":%q%s}`+"\n", snapshot, filtertest.ID(n), more)
}

// hostile is input of every odd kind.
func hostile() map[string]string {
	judged := `,"class":"low","rank":1,"name":"web","verdict":"keep","reason":"kept"`
	cases := map[string]string{
		"nothing":                "",
		"garbage":                "\x00\x01\xfe\xff\n\n{\n[1]\n\"host\"\nnull\n7\n",
		"a bare host":            `{"type":"host"}`,
		"no type":                host("s", "") + "{}\n" + `{"type":null}` + "\n" + `{"type":{"a":1}}` + "\n",
		"nulls":                  `{"type":"host","time":null,"host":null,"snapshot":null,"source":null,"cpus":null,"containers":null,"total_memory_kb":null}` + "\n",
		"negative":               host("s", `,"cpus":-1,"containers":-2,"total_memory_kb":-3`) + container("s", 1, `,"memory_kb":-1`),
		"huge numbers":           host("s", `,"cpus":1e300,"containers":1e999,"total_memory_kb":1e-300`) + container("s", 1, `,"pid":1e18,"memory_kb":1e300,"cpu_percent":1.7e308,"memory_percent":9e99,"rank":1e99,"class":"low"`),
		"a host without memory":  host("s", `,"total_memory_kb":0`) + container("s", 1, `,"memory_kb":0`) + container("s", 2, `,"memory_kb":5`),
		"numbers as texts":       host("s", `,"cpus":"NaN","total_memory_kb":"Infinity"`) + container("s", 1, `,"cpu_percent":"NaN"`),
		"containers alone":       container("s", 1, judged) + container("t", 2, judged) + container("t", 2, judged),
		"kills alone":            `{"type":"kill"}` + "\n" + `{"type":"kill","id":5}` + "\n" + `{"type":"kill","id":null,"name":null,"result":null,"took_ms":null,"reason":null,"error":null,"signal":null}` + "\n",
		"wide":                   host("世界世界", "") + container("世界世界", 1, `,"class":"low","rank":1,"name":"世界é🐳❤️👨‍👩‍👧🇩🇪","image":"ｆｕｌｌ","reason":"한국어"`),
		"deep":                   host("s", "") + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + "\n" + container("s", 1, `,"name":`+strings.Repeat("[", 900)+strings.Repeat("]", 900)),
		"long":                   host("s", "") + container("s", 1, judged+`,"cmdline":"`+strings.Repeat("x", 4<<20)+`"`) + container("s", 1, `,"name":"`+strings.Repeat("界", 1<<20)+`"`),
		"marks upon marks":       host("s", "") + container("s", 1, `,"name":"a`+strings.Repeat("\u0301", 4000)+`b","reason":"`+strings.Repeat("\u20dd", 4000)+`"`),
		"duplicate members":      host("s", `,"cpus":1,"cpus":2`) + container("s", 1, judged+`,"name":"other"`),
		"rank of no known class": host("s", "") + container("s", 1, `,"class":"\u001b[2J","rank":1`),
	}
	for _, bad := range []string{`\u001b]0;title\u0007`, `\u202egnp.exe\u2066`, `line\nbreak\r\u2028\u2029\u0085`, `\u009b31m`, `\ud800`, `\uffff\ufffe`, "\xff", "\u061c", `\udb40\udc41`} {
		q := `"` + bad + `"`
		cases["forged "+bad] = `{"type":"host","host":` + q + `,"time":` + q + `,"source":` + q + `,"snapshot":` + q + `,"cpus":` + q + `,"containers":` + q + `}` + "\n" +
			`{"type":"host","host":` + q + `,"time":` + q + `,"source":` + q + `,"snapshot":` + q + `}` + "\n" +
			container("s", 1, `,"name":`+q+`,"image":`+q+`,"class":`+q+`,"verdict":`+q+`,"reason":`+q) +
			`{"type":"kill","id":` + q + `,"name":` + q + `,"result":` + q + `,"signal":` + q + `,"reason":` + q + `,"error":` + q + `}` + "\n" +
			container("s", 2, `,"verdict":"warn","would":`+q+`,"kill_at":`+q) +
			`{"type":"rule","snapshot":"s","id":` + q + `,"name":` + q + `,"rule":` + q + `,"event":` + q + `,"mode":` + q + `,"reason":` + q + `}` + "\n"
	}
	return cases
}

// Whatever comes in, report ends well, what comes out is safe, and it goes on
// to the good snapshot after it.
func TestHostileInput(t *testing.T) {
	for name, in := range hostile() {
		t.Run(name, func(t *testing.T) {
			for _, width := range []int{0, 1, 7, 20, 80} {
				out := shown(t, in+"\n"+host("last", `,"cpus":7`), screen{width: width}, maxKept)
				holdsTo(t, out, width)
				if width == 0 && !strings.Contains(out, "vm  -  -, 7 cores, - containers\n") {
					t.Errorf("lost the snapshot after it: %.500q", out)
				}
			}
			holdsTo(t, ownColours.Replace(shown(t, in, screen{width: 40, colour: true}, maxKept)), 40)
		})
	}
}

// ownColours takes out what report may say to a terminal.
var ownColours = strings.NewReplacer("\x1b[1m", "", "\x1b[1;31m", "", "\x1b[1;32m", "", "\x1b[1;33m", "", "\x1b[0m\n", "\n")

func TestShow(t *testing.T) {
	low := func(rank int, name string) string {
		return fmt.Sprintf(`,"class":"low","rank":%d,"name":%q`, rank, name)
	}
	kill := func(snapshot, more string) string {
		return `{"type":"kill","host":"vm","snapshot":"` + snapshot + `"` + more + "}\n"
	}
	rule := func(snapshot, more string) string {
		return `{"type":"rule","host":"vm","snapshot":"` + snapshot + `"` + more + "}\n"
	}
	tests := []struct {
		name, in string
		has      []string // in this order
		lacks    string
	}{
		{"unknown is a dash", `{"type":"host"}`, []string{"-  -  -, - cores, - containers\nmemory: - total, - used, - free, - available\nlow: none\nhigh: none\nkilled: none\n\n"}, "judged"},
		{"memory is cut", host("s", `,"total_memory_kb":10485759,"used_memory_kb":1048575`) + container("s", 1, `,"memory_kb":818`), []string{"9.9 GiB total, 1023.9 MiB used", " 0.7 MiB"}, "0.8"},
		{"the share is cut, and not the rounded one", host("s", `,"total_memory_kb":100000`) + container("s", 1, `,"memory_kb":9999,"memory_percent":10`), []string{" 9.9 %"}, "10.0 %"},
		{"the share without the host's memory", host("s", "") + container("s", 1, `,"memory_kb":9999,"memory_percent":9.99`), []string{" 9.9 %"}, "10.0 %"},
		{"cpu is cut", host("s", "") + container("s", 1, `,"cpu_percent":49.99`), []string{" 49.9 %"}, "50.0"},
		{"exact figures stay", host("s", "") + container("s", 1, `,"cpu_percent":0.7,"memory_percent":8.3`), []string{" 0.7 %", " 8.3 %"}, ""},
		{"in the order of the ranks", host("s", "") + container("s", 1, low(10, "ten")) + container("s", 2, low(2, "two")) + container("s", 3, low(1, "one")), []string{"low: 3", " one ", " two ", " ten ", "high: none"}, "judged"},
		{"nobody is lost", host("s", "") + container("s", 1, `,"class":"medium","rank":1,"name":"a"`) + container("s", 2, `,"rank":1,"name":"b"`) + container("s", 3, `,"class":"high","rank":null,"name":"c"`) + container("s", 4, `,"class":"low","name":"d"`), []string{"low: none", "high: none", "not judged: 4", " a ", " b ", " c ", " d "}, ""},
		{"a wrong type passes the line over", host("s", "") + container("s", 1, `,"name":"bad","memory_kb":"x"`) + container("s", 2, `,"name":"good"`), []string{"not judged: 1", " good "}, "bad"},
		{"so does a container without an id", host("s", "") + `{"type":"container","name":"bad"}` + "\n", []string{"low: none\nhigh: none\nkilled: none"}, "bad"},
		{"a host line with a wrong type", host("s", "") + host("t", `,"cpus":"two","source":"module"`) + container("t", 1, low(1, "one")), []string{"low: none", "vm  -  module, - cores", "low: 1"}, "two"},
		{"a host line too bad to be read", host("s", "") + `{"type":"host","snapshot":"t"` + "\n" + container("t", 1, low(1, "one")) + container("t", 2, low(2, "two")), []string{"low: none", "killed: none\n\nvm  -  -, - cores", "low: 2"}, ""},
		{"another host's containers", host("s", "") + `{"type":"container","host":"two","snapshot":"s","id":"` + filtertest.ID(1) + `"}` + "\n", []string{"killed: none\n\ntwo  -  -, ", "not judged: 1"}, ""},
		{"containers that name no snapshot", host("s", "") + `{"type":"container","id":"` + filtertest.ID(1) + `"}` + "\n", []string{"vm  -", "not judged: 1"}, "\n\n-"},
		{"what comes after the end", host("s", "") + `{"type":"end","host":"vm","snapshot":"s","lines":1}` + "\n" + kill("s", `,"result":"killed","name":"late"`), []string{"killed: 1 of 1\n  late "}, ""},
		{"a kill of the snapshot before", host("s", "") + host("t", `,"source":"module"`) + kill("s", `,"result":"killed","name":"late"`), []string{"killed: none\n\nvm", "module", "killed: 1 of 1\n  late "}, "vm  -  -, - cores, - containers\nmemory: - total, - used, - free, - available\nlow: none\nhigh: none\nkilled: 1"},
		{"a container does not tell of its host", container("s", 1, `,"time":"2026-11-21T23:46:13Z","source":"forged","cpus":8,"total_memory_kb":4096`), []string{"vm  -  -, - cores, - containers\nmemory: - total"}, "forged"},
		{"numbers that are none", host("s", `,"cpus":-1,"containers":1e999,"total_memory_kb":-5,"used_memory_kb":-0.5`), []string{"vm  -  -, - cores, - containers\nmemory: - total, - used"}, ""},
		{"an id of wide characters", host("s", "") + kill("s", `,"id":"世世世世世世世"`), []string{"  世世世世世世  -  "}, "世世世世世世世"},
		{"dry", host("s", "") + kill("s", `,"result":"dry_run","name":"a","reason":"rank 3 of 3"`) + kill("s", `,"result":"dry_run","name":"b","reason":""`) + kill("s", `,"result":"stale","error":"old"`),
			[]string{"killed: 0 of 3, 2 dry\n", "a  ", "dry run: would have been killed: rank 3 of 3\n", "b  ", "dry run: would have been killed\n", "old\n"}, ""},
		{"a kill that failed", host("s", "") + kill("s", `,"result":"failed","reason":"the verdict's","error":"the cause","signal":"","took_ms":7`), []string{"killed: 0 of 1\n  -  -  failed    7 ms  the cause\n"}, "verdict's"},
		{"an id is shortened", host("s", "") + container("s", 0xabc, "") + kill("s", `,"id":"short"`), []string{"  000000000000  -", "  short  "}, "0000000000000"},
		{"a column has an end", host("s", "") + container("s", 1, `,"name":"`+strings.Repeat("x", 300)+`","reason":"`+strings.Repeat("y", 5000)+`"`), []string{strings.Repeat("x", 128) + "…" + strings.Repeat("x", 127) + "  ", strings.Repeat("y", maxText) + "…\n"}, strings.Repeat("y", maxText+1)},
		{"a warning tells from when on", host("s", "") + container("s", 1, low(1, "one")+`,"time":"2026-11-21T22:46:13Z","verdict":"warn","kill_at":"2026-11-21T23:46:43.5+01:00"`) +
			container("s", 2, low(2, "two")+`,"time":"2026-11-21T22:46:13Z","verdict":"warn","kill_at":"2026-11-22T01:00:00Z"`),
			[]string{"one ", " warn, kill 22:46:43Z\n", "two ", " warn, kill 2026-11-22T01:00:00Z\n"}, "keep"},
		{"a rule that is dry", host("s", "") + container("s", 1, low(1, "one")+`,"verdict":"keep","would":"kill"`) + container("s", 2, low(2, "two")+`,"verdict":"keep","would":null,"kill_at":null`),
			[]string{" keep, would kill\n", " keep\n"}, ""},
		{"dry, it gives no time", host("s", "") + container("s", 1, low(1, "one")+`,"verdict":"keep","would":"warn","kill_at":"2026-11-21T22:46:43Z"`), []string{" keep, would warn\n"}, ""},
		{"judged by a rule that does not hold", host("s", "") + container("s", 1, `,"class":"low","rank":null,"rule":"hot","name":"a"`) + container("s", 2, low(1, "b")), []string{"low: 2", " a ", " b "}, "judged"},
		{"what rules say", host("s", "") + rule("s", `,"event":"withdrawn","mode":"enforce","id":"`+filtertest.ID(0xabc)+`","name":"web","rule":"hot","reason":"holds no more"`) +
			rule("s", `,"event":"limited","mode":"dry","id":"","name":"","rule":"","reason":"2 within 10m"`),
			[]string{"high: none\nrules: 2\n  web  000000000000  hot  withdrawn     holds no more\n  -    -             -    limited, dry  2 within 10m\nkilled: none"}, ""},
		{"a rule of another snapshot", host("s", "") + rule("t", `,"event":"unread"`) + container("t", 1, low(1, "one")), []string{"low: none", "killed: none\n\nvm", "low: 1", "rules: 1"}, ""},
		{"a rule with a wrong type", host("s", "") + rule("s", `,"rule":5`), []string{"high: none\nkilled: none"}, "rules"},
		{"process and unknown lines", host("s", "") + `{"type":"process","host":"other","snapshot":"t","name":"p"}` + "\n" + `{"type":"weather"}` + "\n", []string{"low: none\nhigh: none\nkilled: none\n\n"}, "other"},
		{"the time, to the second and in UTC", host("s", `,"time":"2026-11-21T23:46:13.9+01:00"`), []string{"vm  2026-11-21T22:46:13Z  -"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := shown(t, test.in, screen{}, maxKept)
			rest := got
			for _, want := range test.has {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Fatalf("no %q (in its place) in\n%s", want, got)
				}
				rest = after
			}
			if test.lacks != "" && strings.Contains(got, test.lacks) {
				t.Errorf("%q is in\n%s", test.lacks, got)
			}
		})
	}
}

// Red is for what was killed, or should have been; not where all was dry.
func TestKillsAreRed(t *testing.T) {
	kill := func(result string) string { return `{"type":"kill","result":"` + result + `"}` + "\n" }
	for in, want := range map[string]string{
		"":                               "\x1b[1mkilled: none",
		kill("killed"):                   "\x1b[1;31mkilled: 1 of 1\x1b",
		kill("dry_run"):                  "\x1b[1mkilled: 0 of 1, 1 dry\x1b",
		kill("dry_run") + kill("failed"): "\x1b[1;31mkilled: 0 of 2, 1 dry\x1b",
	} {
		if got := shown(t, host("s", "")+in, screen{colour: true}, maxKept); !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// Who is to be killed now or soon is seen at once, and what rules say.
func TestRowsToBeNoticedHaveColours(t *testing.T) {
	in := host("s", "") + `{"type":"rule","snapshot":"s","event":"limited"}` + "\n"
	for i, verdict := range []string{"keep", "warn", "kill"} {
		in += container("s", i, `,"class":"low","rank":1,"verdict":"`+verdict+`"`)
	}
	got := shown(t, in, screen{colour: true}, maxKept)
	for _, want := range []string{" keep\n", " warn\x1b[0m\n", " kill\x1b[0m\n", "\x1b[1;33m    -  -     0", "\x1b[1;31m    -  -     0", "\x1b[1;33mrules: 1\x1b"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// atOnce runs report and gives it text; it must say want while it waits for more.
func atOnce(t *testing.T, text, want string, args ...string) {
	in, feed := io.Pipe()
	out, print := io.Pipe()
	late := time.AfterFunc(time.Minute, func() { print.CloseWithError(errors.New("nothing comes out")) })
	defer late.Stop()
	done := make(chan error, 1)
	go func() {
		err := run(t.Context(), args, in, print, io.Discard)
		print.Close()
		done <- err
	}()
	go io.WriteString(feed, text)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, want) {
		t.Errorf("got %q, %v", line, err)
	}
	go io.Copy(io.Discard, out)
	feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A snapshot is shown when the next one begins, not only at the end.
func TestShownWhenTheNextBegins(t *testing.T) {
	atOnce(t, host("s", `,"source":"first"`)+host("t", ""), "first")
}

func TestTextComesOutAtOnce(t *testing.T) {
	atOnce(t, "a line\nand part of", "a line\n", "--text")
}

// reading gives lines as they come, however many, without holding them.
func reading(lines iter.Seq[string]) (io.Reader, func()) {
	next, stop := iter.Pull(lines)
	return readerFunc(func(p []byte) (int, error) {
		line, ok := next()
		if !ok {
			return 0, io.EOF
		}
		if len(line) > len(p) {
			return 0, io.ErrShortBuffer
		}
		return copy(p, line), nil
	}), stop
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A stream without host lines does not grow for ever: what is too much is
// counted, and the memory stays bounded.
func TestMemoryIsBounded(t *testing.T) {
	const lines, room = 4_000, 1 << 20
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, test := range []struct{ name, line string }{
		{"containers", container("s", 1, `,"name":"web","cmdline":"`+strings.Repeat("x", 8000)+`"`)},
		{"long texts", container("s", 1, `,"image":"`+strings.Repeat("x", 2000)+`","reason":"`+strings.Repeat("x", 2000)+`"`)},
		{"kills", `{"type":"kill","id":"1","result":"killed","image":"` + strings.Repeat("x", 8000) + `"}` + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, most := heap(), uint64(0)
			in, stop := reading(func(yield func(string) bool) {
				for i := range lines {
					if i%(lines/4) == lines/4-1 {
						most = max(most, heap())
					}
					if !yield(test.line) {
						return
					}
				}
			})
			defer stop()
			var out strings.Builder
			if err := show(in, bufio.NewWriter(&out), screen{}, room); err != nil {
				t.Fatal(err)
			}
			if most > before+8*room {
				t.Errorf("held %d bytes more, with room for %d", most-before, room)
			}
			rows := strings.Count(out.String(), filtertest.ID(1)[:12]+"  ") + strings.Count(out.String(), "  killed  ")
			if want := fmt.Sprintf("\n%d more lines are not shown: the snapshot is too large\n", lines-rows); rows == 0 || !strings.Contains(out.String(), want) {
				t.Errorf("%d rows, and not %q", rows, want)
			}
		})
	}
}

// The next snapshot has all the room again, and maxKept holds 100,000 containers,
// a tenth of it a tenth of them.
func TestManyContainers(t *testing.T) {
	const many = 20_000
	in, stop := reading(func(yield func(string) bool) {
		for _, snapshot := range []string{"s", "t"} {
			if !yield(host(snapshot, "")) {
				return
			}
			for n := range many / 2 {
				if !yield(container(snapshot, n, `,"class":"high","rank":1,"name":"winnow-high-memory-2bd1b9f5a453","image":"winnow/high-memory","verdict":"kill","reason":"rank 5 of 6 high, the heaviest go first, 2 kept: cpu 0.0 % of a core (high from 5 %), memory 98.2 MiB, 0.4 % of the host (high from 64.0 MiB)"`)) {
					return
				}
			}
		}
	})
	defer stop()
	var out strings.Builder
	if err := show(in, bufio.NewWriter(&out), screen{width: 80}, maxKept/10); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "  kill     rank"); n != many || strings.Contains(out.String(), "not shown") {
		t.Errorf("%d rows, want %d", n, many)
	}
}

// A writer that is gone ends it, with one message; so does an input that
// breaks, after what it gave is shown.
func TestErrors(t *testing.T) {
	broken := bufio.NewWriter(brokenWriter{})
	endless, stop := reading(func(yield func(string) bool) {
		for yield(host("s", "")) {
		}
	})
	defer stop()
	if err := show(endless, broken, screen{}, maxKept); !errors.Is(err, io.ErrClosedPipe) || strings.Count(err.Error(), "writing") != 1 {
		t.Errorf("show: %v", err)
	}
	more, stop := reading(func(yield func(string) bool) {
		for yield("text\n") {
		}
	})
	defer stop()
	broken.Reset(brokenWriter{})
	if err := passText(record.FlushBefore(more, broken), broken); !errors.Is(err, io.ErrClosedPipe) || strings.Count(err.Error(), "writing") != 1 {
		t.Errorf("passText: %v", err)
	}
	broken.Reset(brokenWriter{})
	if err := passText(strings.NewReader("short"), broken); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("passText, at the end: %v", err)
	}

	failing := func(text string) io.Reader {
		return io.MultiReader(strings.NewReader(text), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
	}
	var out strings.Builder
	w := bufio.NewWriter(&out)
	if err := show(failing(host("s", "")), w, screen{}, maxKept); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(out.String(), "killed: none") {
		t.Errorf("show: %v, %q", err, out.String())
	}
	out.Reset()
	if err := passText(failing("line\npart"), w); !errors.Is(err, io.ErrUnexpectedEOF) || out.String() != "line\npart" {
		t.Errorf("passText: %v, %q", err, out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
