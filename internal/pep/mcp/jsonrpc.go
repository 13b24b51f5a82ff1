package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// Versions of the protocol, the newest first; they are alike in all that is used
// here (https://modelcontextprotocol.io/specification).
func versions() []string {
	return []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}
}

// Error codes (https://www.jsonrpc.org/specification, section 5.1).
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
)

// mostInBatch bounds a batch, which protocol version 2025-03-26 has.
const mostInBatch = 16

// object reads a JSON object, keys as they are written. A key that is there twice
// is an error: two readers could each believe another one.
func object(raw json.RawMessage) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	t, err := dec.Token()
	if err != nil || t != json.Delim('{') {
		return nil, errors.New("is no JSON object")
	}
	out := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, errors.New("is no JSON object")
		}
		key, _ := t.(string) // of an object nothing else comes here
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("has the key %q twice", clipped(key))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errors.New("is no JSON object")
		}
		out[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("is no JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has something behind the object")
	}
	return out, nil
}

// clipped is for saying back what a caller sent.
func clipped(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// text reads a string; "" and false for anything else.
func text(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

type response struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

func failed(id json.RawMessage, code int, format string, args ...any) *response {
	if id == nil {
		id = json.RawMessage("null")
	}
	return &response{JSONRPC: "2.0", ID: id, Error: &rpcError{code, fmt.Sprintf(format, args...)}}
}

// encode writes JSON without the escapes that are for HTML.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Handle answers one message, or one batch of them, on behalf of the caller that
// ask decides for. Status is that of HTTP; body is nil where nothing is answered,
// as for notifications.
func (s *Server) Handle(ctx context.Context, ask Decider, message []byte) (status int, body []byte) {
	answered := func(status int, v any) (int, []byte) {
		body, err := encode(v)
		if err != nil { // what is answered is made of strings and numbers
			return http.StatusInternalServerError, nil
		}
		return status, body
	}
	trimmed := bytes.TrimSpace(message)
	if !json.Valid(trimmed) {
		return answered(http.StatusBadRequest, failed(nil, codeParse, "The message is not JSON."))
	}
	if trimmed[0] != '[' {
		out, status := s.one(ctx, ask, trimmed)
		if out == nil {
			return http.StatusAccepted, nil
		}
		return answered(status, out)
	}
	var batch []json.RawMessage
	if err := json.Unmarshal(trimmed, &batch); err != nil || len(batch) == 0 || len(batch) > mostInBatch {
		return answered(http.StatusBadRequest, failed(nil, codeInvalidRequest, "A batch has 1 to %d messages.", mostInBatch))
	}
	var list []*response
	for _, m := range batch {
		if out, _ := s.one(ctx, ask, m); out != nil {
			list = append(list, out)
		}
	}
	if list == nil {
		return http.StatusAccepted, nil
	}
	return answered(http.StatusOK, list)
}

// one answers one message; nil where it is a notification, or somebody's answer.
func (s *Server) one(ctx context.Context, ask Decider, raw json.RawMessage) (*response, int) {
	m, err := object(raw)
	if err != nil {
		return failed(nil, codeInvalidRequest, "The message %s.", err), http.StatusBadRequest
	}
	id, hasID := m["id"]
	if hasID && !validID(id) {
		return failed(nil, codeInvalidRequest, "The id is neither a string nor a number."), http.StatusBadRequest
	}
	if v, _ := text(m["jsonrpc"]); v != "2.0" {
		return failed(id, codeInvalidRequest, `The message has no "jsonrpc": "2.0".`), http.StatusBadRequest
	}
	method, isMethod := text(m["method"])
	if !isMethod {
		if m["result"] != nil || m["error"] != nil {
			return nil, http.StatusAccepted // we ask nothing, so it answers nothing
		}
		return failed(id, codeInvalidRequest, "The message has no method."), http.StatusBadRequest
	}
	if !hasID {
		return nil, http.StatusAccepted
	}
	params := map[string]json.RawMessage{}
	if p, ok := m["params"]; ok {
		if params, err = object(p); err != nil {
			return failed(id, codeInvalidParams, "params %s.", err), http.StatusOK
		}
	}
	switch method {
	case "initialize":
		return done(id, s.initialize(params)), http.StatusOK
	case "ping":
		return done(id, struct{}{}), http.StatusOK
	case "tools/list":
		return done(id, toolList), http.StatusOK
	case "tools/call":
		return s.call(ctx, ask, id, params), http.StatusOK
	}
	return failed(id, codeNoMethod, "There is no method %q.", clipped(method)), http.StatusOK
}

func done(id json.RawMessage, result any) *response {
	return &response{JSONRPC: "2.0", ID: id, Result: result}
}

// validID accepts strings and numbers, the kinds that MCP has.
func validID(id json.RawMessage) bool {
	return len(id) > 0 && (id[0] == '"' || id[0] == '-' || id[0] >= '0' && id[0] <= '9')
}

type initializeResult struct {
	ProtocolVersion string          `json:"protocolVersion"`
	Capabilities    json.RawMessage `json:"capabilities"`
	ServerInfo      serverInfo      `json:"serverInfo"`
}

type serverInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// initialize takes the caller's version where it is known, else offers the newest.
func (s *Server) initialize(params map[string]json.RawMessage) initializeResult {
	version, _ := text(params["protocolVersion"])
	if !slices.Contains(versions(), version) {
		version = versions()[0]
	}
	return initializeResult{version, json.RawMessage(`{"tools":{"listChanged":false}}`), serverInfo{"signet", s.cfg.Version}}
}

// Unreachable answers a message for which no server could be asked: for a hook an
// error of the plugin, which the gateway takes for no pass; nil where the message
// wants no answer.
func Unreachable(message []byte) []byte {
	const why = "Signet cannot be reached. Ask again; the operator finds the cause in the plugin's output."
	m, err := object(bytes.TrimSpace(message))
	if err != nil || !validID(m["id"]) {
		return nil
	}
	out := failed(m["id"], codeInternal, why)
	if params, err := object(m["params"]); err == nil {
		if tool, _ := text(params["name"]); tool == "invoke_hook" {
			args, _ := object(params["arguments"])
			plugin, _ := text(args["plugin_name"])
			body, err := encode(trouble(plugin, CodeUnavailable, why, nil))
			if err != nil {
				return nil
			}
			out = done(m["id"], toolResult{Content: []content{{"text", string(body)}}})
		}
	}
	body, err := encode(out)
	if err != nil {
		return nil
	}
	return body
}
