package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaskFunc decides about one event, a JSON object as it would be written. An
// error means that this could not be found out: the event is then written
// without its input and result.
type MaskFunc func(ctx context.Context, event map[string]any) (Masking, error)

// Masking is what is to be done with an event.
type Masking struct {
	// Drop leaves it out of the log.
	Drop bool
	// Rules is the value of OPA's data.system.log.mask: a list of JSON pointers to
	// remove, or of objects {"op": "remove" | "upsert", "path", "value"}. Nil: none.
	Rules any
}

// Parts of an event that rules may speak of. OPA has nd_builtin_cache too, which
// is never there.
const (
	partInput  = "input"
	partResult = "result"
	partNDB    = "nd_builtin_cache"
)

const (
	opRemove = "remove"
	opUpsert = "upsert"
)

// errNoSuchPath says that a rule does not fit the event. OPA lets such a rule do
// nothing, and so do we.
var errNoSuchPath = errors.New("no such path")

// rule is one of OPA's mask rules.
type rule struct {
	op    string
	parts []string // of the path; escaped, as OPA compares them
	value any
}

func (r rule) String() string { return "/" + strings.Join(r.parts, "/") }

// parseRules reads what a mask gave. As in OPA one that is wrong makes all of it
// an error.
func parseRules(value any) ([]rule, error) {
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("mask: is %T; it should be a set or a list of rules", value)
	}
	rules := make([]rule, 0, len(list))
	for _, item := range list {
		r, err := parseRule(item)
		if err != nil {
			return nil, fmt.Errorf("mask: %w", err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(item any) (rule, error) {
	switch v := item.(type) {
	case string:
		return newRule(opRemove, v, nil)
	case map[string]any:
		op, _ := v["op"].(string)
		path, _ := v["path"].(string)
		return newRule(op, path, v["value"])
	}
	return rule{}, fmt.Errorf("a rule is %T; it should be a path such as \"/input/context\", or an object with op, path and value", item)
}

func newRule(op, path string, value any) (rule, error) {
	if op != opRemove && op != opUpsert {
		return rule{}, fmt.Errorf("op %q is neither remove nor upsert", op)
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return rule{}, fmt.Errorf("path %q does not begin with a slash", path)
	}
	r := rule{op: op, value: value}
	for _, part := range strings.Split(rest, "/") {
		if _, err := url.PathUnescape(part); err != nil {
			return rule{}, fmt.Errorf("path %q: %w", path, err)
		}
		r.parts = append(r.parts, url.PathEscape(part))
	}
	switch r.parts[0] {
	case partInput, partResult, partNDB:
		return r, nil
	}
	return rule{}, fmt.Errorf("path %q speaks of neither /input nor /result", path)
}

// apply changes the documents of ev by rule, and keeps note in erased and masked.
func apply(rules []rule, input, result *document, ev *event) {
	for _, r := range rules {
		doc := input
		switch r.parts[0] {
		case partResult:
			doc = result
		case partNDB:
			continue
		}
		if !doc.there || r.apply(doc) != nil {
			continue
		}
		if r.op == opRemove {
			ev.erased = append(ev.erased, r.String())
		} else {
			ev.masked = append(ev.masked, r.String())
		}
	}
}

// document is a part of an event, decoded.
type document struct {
	value any
	there bool
}

func (r rule) apply(doc *document) error {
	path := r.parts[1:]
	switch {
	case len(path) == 0 && r.op == opRemove:
		*doc = document{}
		return nil
	case len(path) == 0:
		doc.value = r.value
		return nil
	case r.op == opRemove:
		return remove(&doc.value, path)
	}
	return upsert(doc.value, path, r.value)
}

// remove takes what path leads to out of *node.
func remove(node *any, path []string) error {
	switch v := (*node).(type) {
	case map[string]any:
		child, ok := v[path[0]]
		switch {
		case !ok:
			return errNoSuchPath
		case len(path) == 1:
			delete(v, path[0])
			return nil
		}
		err := remove(&child, path[1:])
		v[path[0]] = child // a list that became shorter
		return err
	case []any:
		i, err := index(path[0], v)
		switch {
		case err != nil:
			return err
		case len(path) == 1:
			*node = slices.Delete(v, i, i+1)
			return nil
		}
		return remove(&v[i], path[1:])
	}
	return errNoSuchPath
}

// upsert puts value where path leads, and makes the objects on the way.
func upsert(node any, path []string, value any) error {
	switch v := node.(type) {
	case map[string]any:
		if len(path) == 1 {
			v[path[0]] = value
			return nil
		}
		child, ok := v[path[0]]
		if !ok {
			child = map[string]any{}
			v[path[0]] = child
		}
		return upsert(child, path[1:], value)
	case []any:
		i, err := index(path[0], v)
		switch {
		case err != nil:
			return err
		case len(path) == 1:
			v[i] = value
			return nil
		}
		return upsert(v[i], path[1:], value)
	}
	return errNoSuchPath
}

func index(part string, list []any) (int, error) {
	i, err := strconv.Atoi(part)
	if err != nil || i < 0 || i >= len(list) {
		return 0, errNoSuchPath
	}
	return i, nil
}

// masked asks fn about ev and does what it says. drop leaves the event out. An
// error leaves ev without what might have been masked.
func (e *event) mask(ctx context.Context, fn MaskFunc) (drop bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			e.withhold()
		}
	}()
	whole, err := decode(e.append(nil))
	if err != nil {
		return false, err
	}
	doc, ok := whole.(map[string]any)
	if !ok {
		return false, errors.New("the event is no object")
	}
	m, err := fn(ctx, doc)
	if err != nil || m.Drop {
		return m.Drop && err == nil, err
	}
	rules, err := parseRules(m.Rules)
	if err != nil || len(rules) == 0 {
		return false, err
	}
	// Decoded anew: whoever was asked may have changed what it was given.
	input, err := decodePart(e.input)
	if err != nil {
		return false, err
	}
	result, err := decodePart(e.result)
	if err != nil {
		return false, err
	}
	apply(rules, &input, &result, e)
	if e.input, err = input.encode(); err != nil {
		return false, err
	}
	e.result, err = result.encode()
	return false, err
}

// withhold leaves out what a mask that failed might have hidden.
func (e *event) withhold() {
	e.erased, e.masked = nil, nil
	if e.input != nil {
		e.input, e.erased = nil, append(e.erased, "/"+partInput)
	}
	if e.result != nil {
		e.result, e.erased = nil, append(e.erased, "/"+partResult)
	}
	e.custom = json.RawMessage(`{"masking":"failed"}`)
}

func decodePart(raw json.RawMessage) (document, error) {
	if raw == nil {
		return document{}, nil
	}
	v, err := decode(raw)
	return document{value: v, there: err == nil}, err
}

func decode(raw []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}

func (d document) encode() (json.RawMessage, error) {
	if !d.there {
		return nil, nil
	}
	return json.Marshal(d.value)
}
