package client

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"winnow/tools/internal/record"
)

// jsonEachRow is ClickHouse's JSONEachRow: a row a line, of the key that names it for good, its time, and the line itself. Its
// table is in the README.
type jsonEachRow struct{ user string }

// ClickHouse reads clickhouse://[USER@]HOST[:8123]/DATABASE/TABLE, with ?secure=1 over TLS, and gives the format and the
// address of the store.
func ClickHouse(to *url.URL) (Format, *url.URL, error) {
	parts := strings.Split(strings.Trim(to.Path, "/"), "/")
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
	if len(parts) != 2 || !name.MatchString(parts[0]) || !name.MatchString(parts[1]) {
		return nil, nil, errors.New("not an address such as clickhouse://user@host:8123/database/table")
	}
	if _, has := to.User.Password(); has {
		return nil, nil, errors.New("a password in the URL can be read by others: --token-file names it")
	}
	store := &url.URL{Scheme: "http", Host: to.Host, Path: "/"}
	if to.Query().Get("secure") == "1" {
		store.Scheme = "https"
	}
	if to.Port() == "" {
		store.Host = to.Host + ":8123"
	}
	store.RawQuery = url.Values{"query": {"INSERT INTO " + parts[0] + "." + parts[1] + " FORMAT JSONEachRow"}}.Encode()
	return jsonEachRow{user: to.User.Username()}, store, nil
}

// Endpoint is the address itself: its query says where to.
func (jsonEachRow) Endpoint(store *url.URL) (*url.URL, error) {
	if !strings.Contains(strings.ToUpper(store.Query().Get("query")), "FORMAT JSONEACHROW") {
		return nil, errors.New("the address has no query=INSERT INTO DATABASE.TABLE FORMAT JSONEachRow; clickhouse://HOST/DATABASE/TABLE makes one")
	}
	return store, nil
}

type row struct {
	record.Key
	Time string `json:"time"`
	Line string `json:"line"`
}

func (jsonEachRow) encode(batch []byte) (body []byte, unsent []record.Refusal, err error) {
	unsent = eachLine(batch, func(line *record.Line) error {
		text, err := record.Marshal(row{line.Key(), line.Get("time").Str, line.Text()})
		body = append(body, text...)
		return err
	})
	return body, unsent, nil
}

func (r jsonEachRow) header(request *http.Request, _, token string) {
	request.Header.Set("Content-Type", "application/x-ndjson")
	if r.user != "" {
		request.Header.Set("X-ClickHouse-User", r.user)
		request.Header.Set("X-ClickHouse-Key", token)
	} else {
		bearer(request, token)
	}
}

func (jsonEachRow) took(status int) bool { return succeeded(status) }

// read: ClickHouse takes all of a batch or nothing, and says nothing then.
func (jsonEachRow) read(answer []byte, lines int) (*Answer, error) {
	if code := exception(answer); code != 0 { // once it has begun to answer it can only say so in the text
		return nil, fmt.Errorf("took nothing: %s", Shown(string(answer)))
	}
	return &Answer{Delivery: record.Delivery{Stored: lines}}, nil
}

// What has status 500, or 400, is told apart by ClickHouse's own number: no memory or time, too many queries or parts, a
// server that is read-only, or what its user has to mend, a table, a database, a user or a right.
var passingCodes = map[int]bool{60: true, 81: true, 159: true, 164: true, 192: true, 193: true, 194: true, 202: true, 209: true, 210: true, 241: true,
	242: true, 243: true, 252: true, 285: true, 319: true, 439: true, 497: true, 516: true}

func (jsonEachRow) final(status int, answer []byte) bool {
	return !passing(status) && !passingCodes[exception(answer)]
}

func (jsonEachRow) reason(answer []byte) string { return Shown(string(bytes.TrimSpace(answer))) }

// exception is the number of ClickHouse's that an answer has, 0 where it has none.
func exception(answer []byte) int {
	found := regexp.MustCompile(`Code: ([0-9]{1,5})[,.]`).FindSubmatch(answer)
	if found == nil {
		return 0
	}
	code, _ := strconv.Atoi(string(found[1]))
	return code
}
