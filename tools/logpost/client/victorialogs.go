package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"winnow/tools/internal/record"
)

// jsonLine is VictoriaLogs' JSON lines: the line itself, with its key and the message that this store wants. It answers
// 200 whatever becomes of a line, so what it would drop is not sent.
type jsonLine struct{}

// longestLine is what VictoriaLogs takes of a line, in bytes.
const longestLine = 256 << 10

// Endpoint is the store's /insert/jsonline, unless the address says more.
func (jsonLine) Endpoint(store *url.URL) (*url.URL, error) {
	to := *store
	if strings.Trim(to.Path, "/") == "" {
		to.Path = "/insert/jsonline"
	}
	query := to.Query()
	for name, value := range map[string]string{"_stream_fields": "host,type", "_time_field": "time", "_msg_field": "_msg"} {
		if query.Get(name) == "" {
			query.Set(name, value)
		}
	}
	to.RawQuery = query.Encode()
	return &to, nil
}

func (jsonLine) encode(batch []byte) (body []byte, unsent []record.Refusal, err error) {
	unsent = eachLine(batch, func(line *record.Line) error {
		key, err := record.Marshal(line.Key())
		if err != nil {
			return err
		}
		before := len(body)
		more := []record.Member{record.Text("_msg", message(line)), record.Text("winnow_key", strings.TrimSpace(string(key)))}
		if body = append(line.AppendWith(body, more...), '\n'); len(body)-before > longestLine {
			body = body[:before]
			return fmt.Errorf("longer than %d bytes, which the store would drop", longestLine)
		}
		return nil
	})
	return body, unsent, nil
}

// message is a line in words: what is said of whom.
func message(line *record.Line) string {
	words := []string{line.Type()}
	for _, name := range []string{"name", "verdict", "result", "reason", "text"} {
		if text := line.Get(name).Str; text != "" {
			words = append(words, text)
		}
	}
	return strings.Join(words, " ")
}

func (jsonLine) header(request *http.Request, _, token string) {
	request.Header.Set("Content-Type", "application/stream+json")
	bearer(request, token)
}

func (jsonLine) took(status int) bool { return succeeded(status) }

func (jsonLine) read(_ []byte, lines int) (*Answer, error) {
	return &Answer{Delivery: record.Delivery{Stored: lines}}, nil
}

func (jsonLine) final(status int, _ []byte) bool { return !passing(status) }

func (jsonLine) reason(answer []byte) string { return Shown(string(answer)) }
