package decisionlog

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// Decision is one verdict as it was given. It shares memory with the answer:
// nobody may change it after it was handed over.
type Decision struct {
	// At is when it was given, Took how long that took.
	At   time.Time
	Took time.Duration
	// Body is the verdict, the bytes that were answered.
	Body []byte
	// Cache says where it came from: memory, redis or miss.
	Cache string
	// What was asked.
	Image, Platform string
	Context         map[string]string
	Roles           []string
	// Principal is the name of who asked.
	Principal string
	// RequestID names the request; BatchID the batch that it was an item of, ""
	// for none.
	RequestID, BatchID string
}

// Event is something else that a reader of the log should see, such as a verdict
// that has changed. It is written in the same shape: readers tell it from a
// verdict by its path, which is "signing/events/" and its type.
type Event struct {
	// ID becomes decision_id: that of the verdict which the event is about.
	ID   string
	Type string
	At   time.Time
	// Input is what the event is about, Result what has happened: JSON, which the
	// mask sees as it sees a verdict's.
	Input, Result json.RawMessage
	// By is whom the event is owed to: requested_by.
	By string
}

// Paths of events; that of a verdict is the entrypoint of a policy, as OPA would
// have it in a query to its data API.
const (
	pathVerdict = "signing/verdict"
	pathEvents  = "signing/events/"
)

// logType and logMessage mark the lines that OPA's console logger writes.
const (
	logType    = "openpolicyagent.org/decision_logs"
	logMessage = "Decision Log"
)

// event is an EventV1 of OPA with its parts as JSON. nd_builtin_cache is never
// there: no policy can call a builtin that is not deterministic.
type event struct {
	labels      json.RawMessage
	decisionID  string
	batchID     string
	bundles     json.RawMessage // nil: none
	path        string
	input       json.RawMessage // nil: none
	result      json.RawMessage // nil: none
	erased      []string
	masked      []string
	requestedBy string
	at          time.Time
	metrics     json.RawMessage // nil: none
	requestID   uint64
	custom      json.RawMessage // nil: none
}

// append adds the event as EventV1 encodes it, in the same order.
func (e *event) append(b []byte) []byte { return e.fields(append(b, '{')) }

// appendLine adds the event as a line of OPA's console logger.
func (e *event) appendLine(b []byte) []byte {
	b = append(b, `{"type":"`+logType+`","level":"info","msg":"`+logMessage+`","time":"`...)
	b = append(e.at.UTC().AppendFormat(b, time.RFC3339), `",`...)
	return append(e.fields(b), '\n')
}

// fields is what stands between the braces, and the second of them.
func (e *event) fields(b []byte) []byte {
	raw := func(name string, value json.RawMessage) {
		if value != nil {
			b = append(append(append(append(b, ",\""...), name...), "\":"...), value...)
		}
	}
	text := func(name, value string) {
		if value != "" {
			b = appendString(append(append(append(b, ",\""...), name...), "\":"...), value)
		}
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			b = appendStrings(append(append(append(b, ",\""...), name...), "\":"...), values)
		}
	}
	b = append(append(b, `"labels":`...), e.labels...)
	b = appendString(append(b, `,"decision_id":`...), e.decisionID)
	text("batch_decision_id", e.batchID)
	raw("bundles", e.bundles)
	text("path", e.path)
	raw("input", e.input)
	raw("result", e.result)
	list("erased", e.erased)
	list("masked", e.masked)
	text("requested_by", e.requestedBy)
	b = append(e.at.UTC().AppendFormat(append(b, `,"timestamp":"`...), time.RFC3339Nano), '"')
	raw("metrics", e.metrics)
	b = strconv.AppendUint(append(b, `,"req_id":`...), e.requestID, 10)
	raw("custom", e.custom)
	return append(b, '}')
}

// input is what was asked. Who asked is not in it, nor from where.
func (d *Decision) appendInput(b []byte) []byte {
	b = appendString(append(b, `{"image":`...), d.Image)
	if d.Platform != "" {
		b = appendString(append(b, `,"platform":`...), d.Platform)
	}
	b = append(b, `,"context":{`...)
	if len(d.Context) > 0 {
		for i, key := range slices.Sorted(maps.Keys(d.Context)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(append(appendString(b, key), ':'), d.Context[key])
		}
	}
	b = appendStrings(append(b, `},"roles":`...), d.Roles)
	return append(b, '}')
}

func (d *Decision) appendMetrics(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"counter_server_query_cache_hit":`...), hit(d.Cache), 10)
	b = strconv.AppendInt(append(b, `,"timer_server_handler_ns":`...), d.Took.Nanoseconds(), 10)
	return append(b, '}')
}

func hit(cache string) int64 {
	if cache == "memory" || cache == "redis" {
		return 1
	}
	return 0
}

func (d *Decision) appendCustom(b []byte) []byte {
	b = appendString(append(b, `{"cache":`...), d.Cache)
	if d.RequestID != "" {
		b = appendString(append(b, `,"request_id":`...), d.RequestID)
	}
	return append(b, '}')
}

// bundlesOf are a verdict's policies as OPA names bundles; nil where there are none.
func bundlesOf(body []byte) json.RawMessage {
	var v struct {
		Policies []struct {
			Name     string `json:"name"`
			Revision string `json:"revision"`
		} `json:"policies"`
	}
	if err := json.Unmarshal(body, &v); err != nil || len(v.Policies) == 0 {
		return nil
	}
	type bundle struct {
		Revision string `json:"revision,omitempty"`
	}
	all := map[string]bundle{}
	for _, p := range v.Policies {
		all[p.Name] = bundle{Revision: p.Revision}
	}
	out, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return out
}

// verdictID reads the id from the front of a verdict, where the encoder puts it;
// "" where it is not there.
func verdictID(body []byte) string {
	rest, ok := bytes.CutPrefix(body, []byte(`{"id":"`))
	if !ok {
		return ""
	}
	id, _, ok := bytes.Cut(rest[:min(len(rest), 128)], []byte(`"`))
	if !ok {
		return ""
	}
	return string(id)
}

// oneLine is a document without line breaks; nil when it is not JSON.
func oneLine(body []byte) json.RawMessage {
	body = bytes.TrimSpace(body)
	if bytes.IndexByte(body, '\n') < 0 && bytes.IndexByte(body, '\r') < 0 {
		return body
	}
	var out bytes.Buffer
	if err := json.Compact(&out, body); err != nil {
		return nil
	}
	return out.Bytes()
}

func appendStrings(b []byte, values []string) []byte {
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, v)
	}
	return append(b, ']')
}

// appendString adds a JSON string; most need no escaping.
func appendString(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil { // a string always encodes
		return append(b, `""`...)
	}
	return append(b, quoted...)
}
