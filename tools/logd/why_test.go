package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"winnow/tools/testkit"
)

func TestWhy(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", testkit.ContainerLine("s0", "2026-11-20T11:59:30Z", "dddd11112222", "web", "low", "keep", 1))
	l.mustPost(t, "", twoSnapshots())
	for _, name := range []string{"web", "aaaa11112222", "aaaa"} {
		status, text := l.get(t, "/why/"+name)
		var st story
		if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 {
			t.Fatalf("%s: status %d, %s: %v", name, status, text, err)
		}
		if st.ID != "aaaa11112222" || st.Name != "web" || st.Image != "img" || st.Host != "vm" || st.Labels["a"] != "b" || st.Count != 2 || len(st.Samples) != 2 {
			t.Errorf("%s: %s", name, text)
		}
		if s := st.Samples[1]; s.Verdict != "kill" || s.Reason != "because kill" || s.Class != "high" || s.Rank != 2 {
			t.Errorf("%s: the second sample is %+v", name, s)
		}
		if len(st.Considered) != 3 || st.Considered[1].Name != "db" || st.Considered[1].Verdict != "keep" {
			t.Errorf("%s: considered %+v", name, st.Considered)
		}
		if st.End == nil || st.End.Signal != "SIGTERM" || len(st.Kills) != 1 {
			t.Errorf("%s: its end is %+v", name, st.End)
		}
		if fmt.Sprint(st.Others) != "[dddd11112222]" {
			t.Errorf("%s: others are %v", name, st.Others)
		}
	}
	for _, name := range []string{"nobody", "ffff", "%22%3E", "..%2f..%2fetc"} {
		if status, text := l.get(t, "/why/"+name); status != 404 || !strings.Contains(text, `{"error"`) {
			t.Errorf("%s: status %d, %s", name, status, text)
		}
	}
}

// What is asked for is a whole id, or else an exact name, or else an id's
// beginning.
// The clock went back after it was created.
func TestWhyOfAContainerThatIsYetToBeCreated(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	l.mustPost(t, "", strings.ReplaceAll(twoSnapshots(), `"created":"2026-11-21T10:00:00Z"`, `"created":"2026-11-21T13:00:00Z"`))
	if status, text := l.get(t, "/why/db"); status != 200 || !strings.Contains(text, `"sample_count":2`) {
		t.Errorf("status %d, %s", status, text)
	}
}

func TestWhyWhich(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	long := strings.Repeat("beef", 16)
	for i, c := range [][2]string{
		{"aaaa11112222", "cafe"}, {"cafe11112222", "other"}, // a name like the beginning of another's id
		{long, "victim"}, {"bbbb11112222", long}, {"cccc11112222", "aaaa11112222"}, // names that are others' ids
		{"dddd11112222", "100%"}, {"eeee11112222", "a%20b"}, {"ffff11112222", "a b"}, {"9999", "short"},
	} {
		l.mustPost(t, "", testkit.ContainerLine("s", testkit.Noon.Add(time.Duration(i)*time.Second).Format(time.RFC3339), c[0], c[1], "low", "keep", 1))
	}
	for asked, want := range map[string]string{
		"cafe": "aaaa11112222", "cafe1": "cafe11112222", "cafe11112222": "cafe11112222", long: long, "beefbeef": long, "aaaa11112222": "aaaa11112222",
		"100%25": "dddd11112222", "a%2520b": "eeee11112222", "a%20b": "ffff11112222", "9999": "9999",
	} {
		status, text := l.get(t, "/why/"+asked)
		var st story
		if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 || st.ID != want {
			t.Errorf("%s: status %d, %.60s, want %s", asked, status, text, want)
		}
	}
}

func TestWhyOfAContainerThatLivedLong(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	var b strings.Builder
	for i := range 5000 {
		verdict := "keep"
		if i == 2500 {
			verdict = "warn"
		}
		b.WriteString(testkit.ContainerLine(fmt.Sprint("s", i), testkit.Noon.Add(time.Duration(i-5000)*time.Second).Format(time.RFC3339), "aaaa11112222", "web", "low", verdict, 1))
	}
	l.mustPost(t, "", b.String())
	_, text := l.get(t, "/why/web")
	var st story
	if err := json.Unmarshal([]byte(text), &st); err != nil {
		t.Fatal(err)
	}
	warned := 0
	for _, s := range st.Samples {
		if s.Verdict == "warn" {
			warned++
		}
	}
	if st.Count != 5000 || len(st.Samples) > 2*maxSamples || len(st.Samples) < maxSamples/2 || warned != 1 {
		t.Errorf("%d samples of %d, %d warned", len(st.Samples), st.Count, warned)
	}
}

func TestAStoryHoldsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	l := startLog(t, t.TempDir())
	const others, samples, attempts = 3000, 1500, 300
	long := strings.Repeat("<", 700) // each is six bytes in JSON
	var b strings.Builder
	line := func(i int, id string) {
		at := testkit.Noon.Add(-time.Hour + time.Duration(min(i, samples))*time.Second).Format(time.RFC3339)
		fmt.Fprintf(&b, `{"type":"container","time":%q,"host":"vm","snapshot":"s%d","id":%q,"name":"web","memory_kb":1.6e7,"class":"c%d","verdict":"keep","reason":%q,"labels":{"a":%[5]q}}`+"\n",
			at, min(i, samples), id, i%2, long)
	}
	for i := range samples {
		line(i, "beef")
	}
	for i := range attempts {
		fmt.Fprintf(&b, `{"type":"kill","time":"2026-11-21T11:59:59Z","host":"vm","id":"beef","name":"web","result":"failed","reason":%q,"error":"%d"}`+"\n", long, i)
	}
	l.mustPost(t, "", b.String())
	b.Reset()
	line(samples, "beef")
	for i := range others {
		line(samples, fmt.Sprintf("%064x", i))
	}
	l.mustPost(t, "", b.String())
	status, text := l.get(t, "/why/beef")
	var st story
	if err := json.Unmarshal([]byte(text), &st); err != nil || status != 200 {
		t.Fatalf("status %d: %v", status, err)
	}
	if len(text) > 4<<20 || len(st.Kills) != maxAttempts || st.Kills[maxAttempts-1].Error != fmt.Sprint(attempts-1) {
		t.Errorf("has %d bytes, %d attempts", len(text), len(st.Kills))
	}
	if n := len(st.Considered); n == 0 || n+st.ConsideredMore != others+1 || st.Considered[0].MemoryKB != 16_000_000 {
		t.Errorf("%d were considered, and %d more", n, st.ConsideredMore)
	}
	if st.Count != samples+1 || len(st.Samples) < maxSamples/2 || len(st.Others) != maxOthers {
		t.Errorf("%d samples of %d, %d others", len(st.Samples), st.Count, len(st.Others))
	}
}
