package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"winnow/tools/internal/dockertest"
	"winnow/tools/internal/filtertest"
	"winnow/tools/internal/record"
)

func TestBadLines(t *testing.T)  { filtertest.BadLines(t, run) }
func TestGoodLines(t *testing.T) { filtertest.GoodLines(t, run) }

// fakeEngine answers as Docker does, with list for the running containers. That is
// all that it can be asked, and it counts how often it was.
func fakeEngine(t testing.TB, list http.HandlerFunc) (asked *atomic.Int32) {
	asked = new(atomic.Int32)
	dockertest.Engine(t).HandleFunc("GET /v1.41/containers/json", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.RawQuery != "" { // such as all=1, which lists stopped ones too
			answerError(w, 400, "asked for "+r.URL.RawQuery)
			return
		}
		list(w, r)
	})
	return asked
}

func answerError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, "{\"message\":%q}\n", message)
}

// listed answers with these containers.
func listed(running ...container.Summary) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(running) }
}

func line(snapshot string, id int, more string) string {
	return fmt.Sprintf(`{"type":"container","snapshot":%q,"id":%q%s}`+"\n", snapshot, filtertest.ID(id), more)
}

func host(snapshot string) string {
	return fmt.Sprintf(`{"type":"host","snapshot":%q,"containers":3}`+"\n", snapshot)
}

// rest is what a snapshot may have that is not to be named.
func rest(snapshot string) string {
	return fmt.Sprintf(`{"type":"process","snapshot":%[1]q,"id":%[2]q}
{"type":"kill","snapshot":%[1]q,"id":%[2]q}
{ "type":"end", "snapshot":%[1]q,"lines":2.0}
`, snapshot, filtertest.ID(1))
}

func TestNames(t *testing.T) {
	asked := fakeEngine(t, listed(
		container.Summary{ID: filtertest.ID(1), Names: []string{"/web/db", "/quiet"}, Image: "low<1>", Created: 1700000000,
			Labels: map[string]string{record.LabelManaged: "true", `q"`: "a\nb"}},
		container.Summary{ID: filtertest.ID(2), Names: []string{"/bare"}, Image: "sha256:ab"},
	))
	in := host("s1") + line("s1", 1, "") + line("s1", 2, `,"name":"old","odd":1.0`) + line("s1", 3, `,"name":"old"`) + rest("s1") +
		host("s2") + rest("s2") + // nothing to name
		host("s3") + line("s3", 1, "") + rest("s3") + line("s3", 2, "") + line("s4", 2, "")
	one := `,"name":"quiet","image":"low<1>","labels":{"q\"":"a\nb","winnow.managed":"true"},"created":"2023-11-14T22:13:20Z"`
	two := `,"image":"sha256:ab","labels":{},"created":"1970-01-01T00:00:00Z"`
	want := host("s1") + line("s1", 1, one) + line("s1", 2, `,"name":"bare","odd":1.0`+two) + line("s1", 3, `,"name":"old"`) + rest("s1") +
		host("s2") + rest("s2") +
		host("s3") + line("s3", 1, one) + rest("s3") + line("s3", 2, `,"name":"bare"`+two) + line("s4", 2, `,"name":"bare"`+two)

	stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(in))
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if stdout != want {
		t.Errorf("got  %s\nwant %s", stdout, want)
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times for three containers, of which one is another engine's", asked.Load())
	}
}

// A container is called by its own name, not by those that links gave it.
func TestName(t *testing.T) {
	for want, names := range map[string][]string{
		"web":   {"/web"},
		"quiet": {"/a/b", "/quiet", "/c/d"},
		"first": {"/first", "/second"},
		"bare":  {"bare"},
		"":      {"/a/b"},
	} {
		if got := name(names); got != want {
			t.Errorf("%q: got %q, want %q", names, got, want)
		}
	}
	if got := name(nil); got != "" {
		t.Errorf("without names: %q", got)
	}
}

// engineFaults are the ways in which an engine leaves lines unnamed, and what is
// said about each. All but the hanging ones have begun a list that is right.
var engineFaults = map[string]struct {
	says string
	list http.HandlerFunc
}{
	"hangs": {"no answer from Docker within 1s", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(4 * time.Second): // for one that waits longer than it is told to
			listed(container.Summary{ID: filtertest.ID(1), Names: []string{"/late"}})(w, r)
		}
	}},
	"hangs half way": {"no answer from Docker within 1s", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, halfAList)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}},
	"fails":           {"out of order", func(w http.ResponseWriter, _ *http.Request) { answerError(w, 500, "out of order") }},
	"fails, in prose": {"out of order", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order", 503) }},
	"stops half way":  {"unexpected EOF", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, halfAList) }},
	"goes away":       {"EOF", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	"answers nonsense": {"invalid character", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, halfAList+`oops]`)
	}},
	"answers something else": {"cannot unmarshal", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, halfAList+`{"Id":7}]`)
	}},
}

var halfAList = fmt.Sprintf(`[{"Id":%q,"Names":["/half"],"Image":"half","Labels":{"winnow.managed":"true"}},`, filtertest.ID(1))

// An engine that fails leaves the lines unnamed: nothing of half an answer is in
// them. It is said once, and not asked for each snapshot.
func TestEngineFails(t *testing.T) {
	for name, fault := range engineFaults {
		t.Run(name, func(t *testing.T) {
			asked := fakeEngine(t, fault.list)
			in := ""
			for n := range 3 {
				snapshot := fmt.Sprint("s", n)
				in += host(snapshot) + line(snapshot, 1, "") + line(snapshot, 1, "") + rest(snapshot)
			}
			stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(in), "--timeout", "1s")
			if err == nil {
				t.Error("did not fail")
			}
			if stdout != in {
				t.Errorf("got  %s\nwant %s", stdout, in)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "namectr: lines pass unnamed: ") || !strings.Contains(stderr, fault.says) {
				t.Errorf("said %q, want %q once", stderr, fault.says)
			}
			if n := asked.Load(); n > 2 { // a question that is cut off may be sent again
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// A socket that accepts and never says anything is given up too.
func TestEngineNeverAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // nobody accepts: the kernel does
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	in := host("s1") + line("s1", 1, "") + rest("s1")
	stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(in), "--timeout", "50ms")
	if err == nil || stdout != in || stderr != "namectr: lines pass unnamed: no answer from Docker within 50ms\n" {
		t.Errorf("ended with %v, said %q, got %s", err, stderr, stdout)
	}
}

// Told to stop in the middle of a question, it does not say that Docker was slow.
func TestStopsAsking(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fakeEngine(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	in := host("s1") + line("s1", 1, "")
	stopped := func(_ context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
		return run(ctx, args, stdin, stdout, stderr)
	}
	stdout, stderr, err := filtertest.Run(t, stopped, strings.NewReader(in), "--timeout", "1h")
	if err == nil || stdout != in || strings.Contains(stderr, "within") || !strings.Contains(stderr, "context canceled") {
		t.Errorf("ended with %v, said %q, got %s", err, stderr, stdout)
	}
}

// What is read is answered before more comes.
func TestAnswersAtOnce(t *testing.T) {
	fakeEngine(t, listed(container.Summary{ID: filtertest.ID(1), Names: []string{"/a"}, Image: "i"}))
	named := `,"name":"a","image":"i","labels":{},"created":"1970-01-01T00:00:00Z"`
	filtertest.AnswersAtOnce(t, run, []filtertest.Exchange{
		{In: host("s1"), Out: host("s1")},
		{In: line("s1", 1, ""), Out: line("s1", 1, named)},
		{In: rest("s1") + host("s2"), Out: rest("s1") + host("s2")},
		{In: line("s2", 1, "") + rest("s2"), Out: line("s2", 1, named) + rest("s2")},
	})
}

func TestRealContainer(t *testing.T) {
	labels := map[string]string{"say": "\"<é>\"\n"}
	id := dockertest.Start(t, container.Config{Labels: labels}, container.HostConfig{})
	in := fmt.Sprintf(`{"type":"container","snapshot":"s","id":%q}`, id)
	stdout, stderr, err := filtertest.Run(t, run, strings.NewReader(in))
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	var got record.Container
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Name, "wtest-TestRealContainer-") || got.Image != dockertest.Image(t) || got.Labels["say"] != labels["say"] {
		t.Errorf("got %s", stdout)
	}
	if age := time.Since(*got.Created); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
}
