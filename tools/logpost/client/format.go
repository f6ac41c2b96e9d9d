package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidwall/gjson"

	"winnow/tools/internal/record"
)

// Format is what a kind of store wants lines to be like, and what its answers say.
type Format interface {
	// Endpoint is where on the store at an address lines are posted.
	Endpoint(store *url.URL) (*url.URL, error)

	// encode gives what is posted of a batch, and those of its lines that the store would drop without a word.
	encode(batch []byte) (body []byte, unsent []record.Refusal, err error)
	header(request *http.Request, id, token string)
	// took tells whether a status says that a batch was taken, and read what is said of it.
	took(status int) bool
	read(answer []byte, lines int) (*Answer, error)
	// final tells whether the same batch will be refused whenever it is sent.
	final(status int, answer []byte) bool
	// reason is what an answer that refuses says.
	reason(answer []byte) string
}

// Formats are those that a command line can name; winnow's own is that of logd.
func Formats() map[string]Format {
	return map[string]Format{"winnow": winnow{}, "jsoneachrow": jsonEachRow{}, "jsonline": jsonLine{}, "otlp": otlp{}}
}

// winnow is the format of logd, which answers for each line.
type winnow struct{}

func (winnow) Endpoint(store *url.URL) (*url.URL, error) { return store.JoinPath("logs"), nil }

func (winnow) encode(batch []byte) ([]byte, []record.Refusal, error) { return batch, nil, nil }

func (winnow) header(request *http.Request, id, token string) {
	request.Header.Set("Content-Type", "application/x-ndjson")
	request.Header.Set(record.BatchHeader, id)
	bearer(request, token)
}

func (winnow) took(status int) bool { return status == http.StatusOK }

func (winnow) read(answer []byte, lines int) (*Answer, error) {
	var a Answer
	if err := json.Unmarshal(answer, &a.Delivery); err != nil || gjson.GetBytes(answer, "stored").Type != gjson.Number {
		return nil, errors.New("answers, but is no log store")
	}
	if !a.AccountsFor(lines) { // one that has lost some answers 200 all the same
		of := "lines"
		if lines == 1 {
			of = "line"
		}
		return nil, fmt.Errorf("%w: of %d %s it stored %d and refused %d", ErrMiscounted, lines, of, a.Stored, len(a.Refused)+a.RefusedMore)
	}
	return &a, nil
}

// A wrong token or a wrong address is mended by its user, so it is not final.
func (winnow) final(status int, _ []byte) bool {
	return slices.Contains([]int{http.StatusBadRequest, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}, status)
}

func (winnow) reason(answer []byte) string {
	var said struct{ Error string }
	if json.Unmarshal(answer, &said) == nil && said.Error != "" {
		return Shown(said.Error)
	}
	return Shown(string(answer))
}

func bearer(request *http.Request, token string) {
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
}

// eachLine hands on the lines of a batch, and gives those that are none, or that put refuses.
func eachLine(batch []byte, put func(*record.Line) error) (refused []record.Refusal) {
	var line record.Line
	n := 0
	for text := range bytes.Lines(batch) {
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		n++
		err := line.Parse(text)
		if err == nil {
			err = put(&line)
		}
		if err != nil {
			refused = append(refused, record.Refusal{Line: n, Error: err.Error()})
		}
	}
	return refused
}

func succeeded(status int) bool { return status >= 200 && status <= 299 }

// passing tells whether a store's status says that the same batch may be taken later: it is busy, or its user has to mend
// the address or the token.
func passing(status int) bool {
	return slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout}, status)
}
