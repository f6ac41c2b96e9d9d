package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"winnow/tools/internal/cli"
)

func TestNoInput(t *testing.T) {
	store := newFakeStore(t)
	if out, errs, err := post(t, "", "--to", store.URL); err != nil || out != "" || errs != "" || store.posts != 0 {
		t.Errorf("%v, %q, %q, %d posts", err, out, errs, store.posts)
	}
}

func TestUsage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	to := func(url string) []string { return []string{"--to", url, "--spool", dir} }
	good := func(args ...string) []string { return append([]string{"--to", "http://127.0.0.1:1"}, args...) }
	tests := []struct {
		args []string
		want string
	}{
		{nil, "--to: say where the log store is"},
		{to("127.0.0.1:7070"), `--to: not a URL such as http://127.0.0.1:7070: "127.0.0.1:7070"`},
		{to("localhost:7070"), "--to: not a URL"},
		{to("ftp://x"), "--to: not a URL"},
		{to("http://[::1"), "--to: not a URL"},
		{to("http://a b"), "--to: not a URL"},
		{to("http://x:y"), "--to: not a URL"},
		{to("http://x:-1"), "--to: not a URL"},
		{to("http://x:0"), "--to: not a port from 1 to 65535: 0"},
		{to("http://x:00/logs"), "--to: not a port from 1 to 65535: 00"},
		{to("http://x:65536"), "--to: not a port from 1 to 65535: 65536"},
		{to("https://127.0.0.1:99999"), "--to: not a port from 1 to 65535: 99999"},
		{to("http://x:99999999999999999999"), "--to: not a port"},
		{to("http://"), `--to: not a host: ""`},
		{to("http://:7070"), `--to: not a host: ""`},
		{to("http://a..b"), `--to: not a host: "a..b"`},
		{to("http://256.1.1.1"), `--to: not a host: "256.1.1.1"`},
		{to("http://127.1"), `--to: not a host: "127.1"`},
		{to("http://-a"), `--to: not a host: "-a"`},
		{to("http://" + strings.Repeat("a", 64)), "--to: not a host"},
		{to("http://" + strings.Repeat("a.", 130)), "--to: not a host"},
		{to("http://winnow:secret@x"), "--to: a user or password in the URL is of no use"},
		{to("clickhouse://h"), "--to: not an address such as clickhouse://user@host:8123/database/table"},
		{to("clickhouse://h/winnow"), "--to: not an address such as clickhouse://"},
		{to("clickhouse://h/a/b/c"), "--to: not an address such as clickhouse://"},
		{to("clickhouse://h/winnow/lines;DROP"), "--to: not an address such as clickhouse://"},
		{to("clickhouse://u:secret@h/winnow/lines"), "--to: a password in the URL can be read by others"},
		{append(to("clickhouse://h/winnow/lines"), "--format", "otlp"), "--to: a ClickHouse takes no otlp"},
		{to("clickhouse:///winnow/lines"), "--to: not a host"},
		{good("--format", "loki"), `--format: not winnow, jsoneachrow, jsonline or otlp: "loki"`},
		{good("--format", "jsoneachrow"), "--to: the address has no query="},
		{good("--nope"), "unknown flag: --nope"},
		{good("y"), `unexpected argument: "y"`},
		{good("--timeout", "0"), "--timeout: not a time to wait: 0s"},
		{good("--timeout", "-5s"), "--timeout: not a time to wait: -5s"},
		{good("--timeout", "5"), `--timeout: not a time such as 10s or 1m30s: "5"`},
		{good("--timeout", "abc"), "--timeout: not a time such as"},
		{good("--spool-max", "0"), "--spool-max: 0 keeps nothing"},
		{good("--spool-max", "abc"), `--spool-max: not a size such as 64MB: "abc"`},
		{good("--spool-max", "-5"), "--spool-max: not a size such as"},
		{good("--spool-max", ""), "--spool-max: not a size such as"},
	}
	for _, test := range tests {
		out, _, err := post(t, records(1, 1), test.args...)
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), test.want) || out != "" {
			t.Errorf("%q: %v, passed on %q", test.args, err, out)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("made a spool")
	}
}

func TestHostsThatMayBe(t *testing.T) {
	for _, text := range []string{"http://x", "http://localhost:", "https://logs.example.org:443/winnow/", "http://a.b.", "http://h_1:65535", "http://h:1",
		"http://127.0.0.1:7070", "http://[::1]:7070", "http://[fe80::1%25eth0]:80", "http://münchen.example", "http://1.2.3.example", "http://3com"} {
		if _, _, err := parseStore(text, "winnow"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for of, want := range map[string]string{
		"winnow http://h/winnow/":                 "http://h/winnow/logs",
		"winnow clickhouse://u@h/a/b":             "http://h:8123/?query=INSERT+INTO+a.b+FORMAT+JSONEachRow",
		"winnow clickhouse://h:9/a/b?secure=1":    "https://h:9/?query=INSERT+INTO+a.b+FORMAT+JSONEachRow",
		"otlp http://h:4318":                      "http://h:4318/v1/logs",
		"otlp http://h/otlp/v1/logs":              "http://h/otlp/v1/logs",
		"jsonline http://h:9428/":                 "http://h:9428/insert/jsonline?_msg_field=_msg&_stream_fields=host%2Ctype&_time_field=time",
		"jsonline http://h/x?_stream_fields=host": "http://h/x?_msg_field=_msg&_stream_fields=host&_time_field=time",
	} {
		format, text, _ := strings.Cut(of, " ")
		if to, _, err := parseStore(text, format); err != nil || to.String() != want {
			t.Errorf("%s: %v, %v", of, to, err)
		}
	}
}
