package client

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"winnow/tools/internal/record"
)

// otlp is the OpenTelemetry protocol's logs over HTTP, in JSON, which brings the least with it: a log record a line, whose body is the line, with its
// members as attributes; those of a host are under one resource.
type otlp struct{}

// Endpoint is the collector's /v1/logs, unless the address says more.
func (otlp) Endpoint(store *url.URL) (*url.URL, error) {
	if strings.Trim(store.Path, "/") != "" {
		return store, nil
	}
	return store.JoinPath("v1", "logs"), nil
}

func (otlp) encode(batch []byte) ([]byte, []record.Refusal, error) {
	hosts := map[string]*logs.ResourceLogs{}
	unsent := eachLine(batch, func(line *record.Line) error {
		host := line.Get("host").Str
		of := hosts[host]
		if of == nil {
			of = &logs.ResourceLogs{
				Resource:  &resource.Resource{Attributes: []*common.KeyValue{attribute("service.name", "winnow"), attribute("host.name", host)}},
				ScopeLogs: []*logs.ScopeLogs{{Scope: &common.InstrumentationScope{Name: "winnow"}}},
			}
			hosts[host] = of
		}
		of.ScopeLogs[0].LogRecords = append(of.ScopeLogs[0].LogRecords, logRecord(line))
		return nil
	})
	// An ExportLogsServiceRequest is the same on the wire, and its package brings all of gRPC.
	request := &logs.LogsData{}
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		request.ResourceLogs = append(request.ResourceLogs, hosts[host])
	}
	body, err := protojson.MarshalOptions{UseEnumNumbers: true}.Marshal(request)
	return body, unsent, err
}

func attribute(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

// logRecord is a line: its time, what it tells of, and each of its members.
func logRecord(line *record.Line) *logs.LogRecord {
	r := &logs.LogRecord{
		ObservedTimeUnixNano: uint64(time.Now().UnixNano()),
		EventName:            "winnow." + line.Type(),
		SeverityNumber:       logs.SeverityNumber_SEVERITY_NUMBER_INFO,
		Body:                 attribute("", line.Text()).Value,
		Attributes:           []*common.KeyValue{attribute("winnow.digest", line.Key().Digest)},
	}
	if at, ok := record.ParseTime(line.Get("time").Str); ok && at > 0 {
		r.TimeUnixNano = uint64(at)
	}
	if kind := line.Type(); kind == record.TypeKill || line.Get("verdict").Str == "kill" || line.Get("verdict").Str == "warn" {
		r.SeverityNumber = logs.SeverityNumber_SEVERITY_NUMBER_WARN
	}
	gjson.Parse(line.Text()).ForEach(func(name, value gjson.Result) bool {
		r.Attributes = append(r.Attributes, &common.KeyValue{Key: "winnow." + name.Str, Value: anyValue(value)})
		return true
	})
	return r
}

func anyValue(value gjson.Result) *common.AnyValue {
	switch {
	case value.IsObject():
		list := &common.KeyValueList{}
		value.ForEach(func(name, of gjson.Result) bool {
			list.Values = append(list.Values, &common.KeyValue{Key: name.Str, Value: anyValue(of)})
			return true
		})
		return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: list}}
	case value.IsArray():
		list := &common.ArrayValue{}
		for _, of := range value.Array() {
			list.Values = append(list.Values, anyValue(of))
		}
		return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: list}}
	case value.IsBool():
		return &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: value.Bool()}}
	case value.Type == gjson.Number && !strings.ContainsAny(value.Raw, ".eE"):
		return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: value.Int()}}
	case value.Type == gjson.Number:
		return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: value.Float()}}
	case value.Type == gjson.Null:
		return &common.AnyValue{}
	}
	return attribute("", value.Str).Value
}

func (otlp) header(request *http.Request, _, token string) {
	request.Header.Set("Content-Type", "application/json")
	bearer(request, token)
}

func (otlp) took(status int) bool { return succeeded(status) }

// read: what the store did not take of a batch it will not take when that is sent again.
func (otlp) read(answer []byte, lines int) (*Answer, error) {
	if !gjson.ValidBytes(answer) && len(answer) > 0 {
		return nil, errors.New("answers, but is no OTLP store")
	}
	partial := gjson.GetBytes(answer, "partialSuccess")
	rejected := int(min(partial.Get("rejectedLogRecords").Uint(), uint64(lines)))
	return &Answer{Delivery: record.Delivery{Stored: lines - rejected, RefusedMore: rejected}, Said: Shown(partial.Get("errorMessage").Str)}, nil
}

func (otlp) final(status int, _ []byte) bool { return !passing(status) }

func (otlp) reason(answer []byte) string {
	if said := gjson.GetBytes(answer, "message").Str; said != "" {
		return Shown(said)
	}
	return Shown(string(answer))
}
