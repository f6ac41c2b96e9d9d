package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

// engine answers as Docker does, with list for the running containers.
func engine(t testing.TB, list http.HandlerFunc) {
	dockertest.Engine(t).HandleFunc("/v1.41/containers/json", list)
}

func line(snapshot string, id int, more string) string {
	return fmt.Sprintf(`{"type":"container","snapshot":%q,"id":%q%s}`+"\n", snapshot, filtertest.ID(id), more)
}

func host(snapshot string) string {
	return fmt.Sprintf(`{"type":"host","snapshot":%q,"containers":3}`+"\n", snapshot)
}

func TestNames(t *testing.T) {
	var asked atomic.Int32
	engine(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		json.NewEncoder(w).Encode([]container.Summary{
			{ID: filtertest.ID(1), Names: []string{"/web/db", "/quiet"}, Image: "low<1>", Created: 1700000000,
				Labels: map[string]string{record.LabelManaged: "true", `q"`: "a\nb"}},
			{ID: filtertest.ID(2), Names: []string{"/bare"}, Image: "sha256:ab"},
		})
	})
	in := host("s1") + line("s1", 1, "") + line("s1", 2, `,"name":"old","odd":1.0`) + line("s1", 3, `,"name":"old"`) +
		host("s2") + line("s2", 1, "") + line("s3", 2, "")
	one := `,"name":"quiet","image":"low<1>","labels":{"q\"":"a\nb","winnow.managed":"true"},"created":"2023-11-14T22:13:20Z"`
	two := `,"image":"sha256:ab","labels":{},"created":"1970-01-01T00:00:00Z"`
	want := host("s1") + line("s1", 1, one) + line("s1", 2, `,"name":"bare","odd":1.0`+two) + line("s1", 3, `,"name":"old"`) +
		host("s2") + line("s2", 1, one) + line("s3", 2, `,"name":"bare"`+two)

	var stdout, stderr strings.Builder
	if err := run(t.Context(), nil, strings.NewReader(in), &stdout, &stderr); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if stdout.String() != want {
		t.Errorf("got  %s\nwant %s", stdout.String(), want)
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times for 3 snapshots", asked.Load())
	}
}

// An engine that hangs or answers nonsense leaves the lines unnamed.
func TestEngineFails(t *testing.T) {
	tests := []struct {
		name, want string
		list       http.HandlerFunc
	}{
		{"hangs", "no answer from Docker within 200ms", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"fails", "out of order", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order", 500) }},
		{"stops halfway", "unexpected EOF", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `[{"Id":%q,"Names":["/a"]},`, filtertest.ID(1))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			engine(t, test.list)
			in := host("s1") + line("s1", 1, "") + host("s2") + line("s2", 1, "")
			var stdout, stderr strings.Builder
			err := run(t.Context(), []string{"--timeout", "200ms"}, strings.NewReader(in), &stdout, &stderr)
			if err == nil {
				t.Error("did not fail")
			}
			if stdout.String() != in {
				t.Errorf("got %s, want it unchanged", stdout.String())
			}
			if strings.Count(stderr.String(), "lines pass unnamed") != 1 || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("said %q, want %q once", stderr.String(), test.want)
			}
		})
	}
}

// What is read is answered before more comes.
func TestAnswersAtOnce(t *testing.T) {
	stdin, feed := io.Pipe()
	answer, stdout := io.Pipe()
	done := make(chan error)
	go func() { done <- run(t.Context(), nil, stdin, stdout, io.Discard) }()
	for _, text := range []string{host("s1"), host("s2")} {
		io.WriteString(feed, text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(answer, got); err != nil || string(got) != text {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRealContainer(t *testing.T) {
	labels := map[string]string{"say": "\"<é>\"\n"}
	id := dockertest.Start(t, container.Config{Labels: labels}, container.HostConfig{})
	var stdout, stderr strings.Builder
	in := fmt.Sprintf(`{"type":"container","snapshot":"s","id":%q}`, id)
	if err := run(t.Context(), nil, strings.NewReader(in), &stdout, &stderr); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var got record.Container
	if err := json.Unmarshal([]byte(stdout.String()), &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Name, "wtest-TestRealContainer-") || got.Image != dockertest.Image(t) || got.Labels["say"] != labels["say"] {
		t.Errorf("got %s", stdout.String())
	}
	if age := time.Since(*got.Created); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
}
