package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"winnow/tools/internal/record"
)

// someRecords are lines of all kinds, two of which differ in nothing that they are looked up by.
var someRecords = []string{
	`{"type":"host","time":"2026-11-24T16:50:15.267466376Z","host":"h1","snapshot":"s1","containers":1,"cpu_pressure_percent":99.27,"memory_stall_percent":null}`,
	`{"type":"container","time":"2026-11-24T16:50:15.267466376Z","host":"h1","snapshot":"s1","id":"0123456789abcdef","pid":29888,"name":"web","labels":{"winnow.managed":"true"},"cmdline_truncated":false,"memory_kb":100856,"verdict":"kill","reason":"too much"}`,
	`{"type":"process","time":"2026-11-24T16:50:15.267466376Z","host":"h1","snapshot":"s1","id":"0123456789abcdef","pid":29889}`,
	`{"type":"end","time":"2026-11-24T16:50:15.267466376Z","host":"h1","snapshot":"s1","lines":3}`,
	`{"type":"kill","time":"2026-11-24T16:50:20Z","host":"h1","snapshot":"s1","id":"0123456789abcdef","name":"web","result":"killed","took_ms":16,"error":""}`,
	`{"type":"host","time":"2026-11-24T16:50:16Z","host":"h2","snapshot":"s1","containers":0}`,
	`{"type":"note","text":"of \"somebody\", é"}`,
	`{"type":"note","text":"of another"}`,
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

// taker is a store: it hands what is posted to take, whose status and text it answers.
func taker(t *testing.T, take func(r *http.Request, body []byte) (status int, answer string)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		status, answer := take(r, body)
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// victoria drops what VictoriaLogs drops, and answers 200 all the same.
type victoria struct{ kept []map[string]any }

func (v *victoria) take(r *http.Request, body []byte) (int, string) {
	query := r.URL.Query()
	if r.URL.Path != "/insert/jsonline" || r.Header.Get("Content-Type") != "application/stream+json" {
		return 200, ""
	}
	for line := range bytes.Lines(body) {
		var row map[string]any
		if len(line) > 256<<10 || json.Unmarshal(line, &row) != nil {
			continue
		}
		if at, ok := row[query.Get("_time_field")].(string); ok {
			when, err := time.Parse(time.RFC3339Nano, at)
			if err != nil || when.Before(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)) {
				continue // too old
			}
		}
		if said, _ := row[query.Get("_msg_field")].(string); said == "" {
			continue
		}
		for field := range strings.SplitSeq(query.Get("_stream_fields"), ",") {
			if field != "host" && field != "type" {
				continue
			}
		}
		v.kept = append(v.kept, row)
	}
	return 200, ""
}

// VictoriaLogs answers 200 whatever becomes of a line: nothing of ours is such that it drops it, and what would be is
// not sent, but named and set aside.
func TestJSONLine(t *testing.T) {
	store := &victoria{}
	url := taker(t, store.take)
	long := `{"type":"note","time":"2026-11-24T16:50:16Z","text":"` + strings.Repeat("x", 256<<10) + `"}`
	all := slices.Insert(slices.Clone(someRecords), 2, long)
	dir := t.TempDir()
	out, said, err := post(t, text(all), "--to", url, "--format", "jsonline", "--spool", dir)
	if err == nil || out != text(all) || !strings.Contains(said, "line 3 was refused: longer than 262144 bytes, which the store would drop") {
		t.Errorf("%v, %.200s", err, said)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "*.refused"))
	if len(aside) != 1 {
		t.Fatalf("set aside: %v", aside)
	}
	if kept, err := os.ReadFile(aside[0]); string(kept) != long+"\n" || err != nil {
		t.Errorf("set aside %d bytes, %v", len(kept), err)
	}
	if len(store.kept) != len(someRecords) {
		t.Fatalf("%d of %d lines were kept", len(store.kept), len(someRecords))
	}
	keys := map[any]bool{}
	for i, row := range store.kept {
		keys[row["winnow_key"]] = true
		delete(row, "winnow_key")
		delete(row, "_msg")
		var want map[string]any
		if json.Unmarshal([]byte(someRecords[i]), &want); !maps.EqualFunc(row, want, func(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("%v, want %v", row, want)
		}
	}
	if len(keys) != len(someRecords) {
		t.Errorf("%d keys", len(keys))
	}
}

// plain is the value of an attribute as encoding/json has it.
func plain(v *common.AnyValue) any {
	switch {
	case v == nil || v.Value == nil:
		return nil
	case v.GetKvlistValue() != nil:
		all := map[string]any{}
		for _, one := range v.GetKvlistValue().Values {
			all[one.Key] = plain(one.Value)
		}
		return all
	}
	switch of := v.Value.(type) {
	case *common.AnyValue_StringValue:
		return of.StringValue
	case *common.AnyValue_BoolValue:
		return of.BoolValue
	case *common.AnyValue_IntValue:
		return float64(of.IntValue)
	case *common.AnyValue_DoubleValue:
		return of.DoubleValue
	}
	return v.String()
}

// A collector gets each line as a log record, by the official types, field by field.
func TestOTLP(t *testing.T) {
	var got logs.LogsData
	url := taker(t, func(r *http.Request, body []byte) (int, string) {
		if r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != "Bearer a-token-of-16-bytes" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		if err := protojson.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		return 200, `{"partialSuccess":{}}`
	})
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token-of-16-bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said, err := post(t, text(someRecords), "--to", url, "--format", "otlp", "--token-file", token); err != nil || said != "" {
		t.Fatalf("%v, %s", err, said)
	}
	found := map[string]int{}
	for _, of := range got.ResourceLogs {
		resource := map[string]any{}
		for _, a := range of.Resource.Attributes {
			resource[a.Key] = plain(a.Value)
		}
		if resource["service.name"] != "winnow" || len(of.ScopeLogs) != 1 || of.ScopeLogs[0].Scope.Name != "winnow" {
			t.Errorf("%v", of.Resource)
		}
		for _, r := range of.ScopeLogs[0].LogRecords {
			found[r.Body.GetStringValue()]++
			var line map[string]any
			if err := json.Unmarshal([]byte(r.Body.GetStringValue()), &line); err != nil {
				t.Fatal(err)
			}
			host, _ := line["host"].(string)
			if resource["host.name"] != host || r.EventName != fmt.Sprint("winnow.", line["type"]) || r.ObservedTimeUnixNano == 0 {
				t.Errorf("%v under %v", r, resource)
			}
			var at time.Time
			if text, ok := line["time"].(string); ok {
				at, _ = time.Parse(time.RFC3339Nano, text)
			}
			if !at.IsZero() && r.TimeUnixNano != uint64(at.UnixNano()) || at.IsZero() && r.TimeUnixNano != 0 {
				t.Errorf("time %d of %v", r.TimeUnixNano, at)
			}
			has := map[string]any{}
			for _, a := range r.Attributes {
				has[a.Key] = plain(a.Value)
			}
			if digest, _ := has["winnow.digest"].(string); len(digest) != 32 {
				t.Errorf("digest %q", digest)
			}
			delete(has, "winnow.digest")
			want := map[string]any{}
			for name, value := range line {
				want["winnow."+name] = value
			}
			if fmt.Sprint(has) != fmt.Sprint(want) {
				t.Errorf("attributes\n%v, want\n%v", has, want)
			}
			warns := line["type"] == record.TypeKill || line["verdict"] == "kill"
			if (r.SeverityNumber == logs.SeverityNumber_SEVERITY_NUMBER_WARN) != warns {
				t.Errorf("severity %v of %v", r.SeverityNumber, line)
			}
		}
	}
	for _, line := range someRecords {
		if found[line] != 1 {
			t.Errorf("%d times: %s", found[line], line)
		}
	}
}

// What a store did not take in part is told, and not sent again.
func TestPartialSuccess(t *testing.T) {
	posts := 0
	url := taker(t, func(*http.Request, []byte) (int, string) {
		posts++
		return 200, `{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}`
	})
	dir := t.TempDir()
	_, said, err := post(t, text(someRecords), "--to", url, "--format", "otlp", "--spool", dir)
	if err == nil || !strings.Contains(said, "refused as well, and not named: 2 lines: too old") || posts != 1 {
		t.Errorf("%v, %d posts, %s", err, posts, said)
	}
}

// What may be taken later waits, the rest is set aside with the answer.
func TestWhatAStoreAnswers(t *testing.T) {
	for _, test := range []struct {
		format string
		status int
		answer string
		waits  bool
	}{
		{"otlp", 429, "", true}, {"otlp", 502, "", true}, {"otlp", 503, "", true}, {"otlp", 504, "", true}, {"otlp", 401, "", true}, {"otlp", 404, "", true},
		{"otlp", 400, `{"message":"bad data"}`, false}, {"otlp", 500, "bad data", false}, {"otlp", 413, "bad data", false},
		{"jsonline", 429, "", true}, {"jsonline", 503, "", true}, {"jsonline", 400, "bad data", false}, {"jsonline", 500, "bad data", false},
		{"clickhouse", 500, "Code: 27, e.displayText() = DB::Exception: bad data", false},
		{"clickhouse", 400, "Code: 117. DB::Exception: bad data", false},
		{"clickhouse", 500, "Code: 252, e.displayText() = DB::Exception: Too many parts", true},
		{"clickhouse", 404, "Code: 60, e.displayText() = DB::Exception: Table winnow.lines doesn't exist.", true},
		{"clickhouse", 500, "Code: 241, e.displayText() = DB::Exception: Memory limit", true},
		{"clickhouse", 503, "", true},
	} {
		t.Run(fmt.Sprint(test.format, test.status, test.answer), func(t *testing.T) {
			url := taker(t, func(*http.Request, []byte) (int, string) { return test.status, test.answer })
			dir := t.TempDir()
			args := []string{"--to", url, "--format", test.format, "--spool", dir}
			if test.format == "clickhouse" {
				args = []string{"--to", strings.Replace(url, "http:", "clickhouse:", 1) + "/winnow/lines", "--spool", dir}
			}
			_, said, err := post(t, text(someRecords), args...)
			waiting, _ := filepath.Glob(filepath.Join(dir, "*.ndjson"))
			aside, _ := filepath.Glob(filepath.Join(dir, "*.refused"))
			if test.waits && (err != nil || len(waiting) != 1 || len(aside) != 0) || !test.waits && (err == nil || len(waiting) != 0 || len(aside) != 1 || !strings.Contains(said, "bad data")) {
				t.Errorf("%v, waiting %v, set aside %v: %s", err, waiting, aside, said)
			}
			for _, path := range append(waiting, aside...) {
				if kept, err := os.ReadFile(path); string(kept) != text(someRecords) || err != nil {
					t.Errorf("kept %q, %v", kept, err)
				}
			}
		})
	}
}
