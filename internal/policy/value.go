package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/internal/facts"
)

// inputValue makes OPA's value of an input directly, without the way through
// JSON text and back. It is what encoding/json and OPA together would make of it;
// a test compares the two for every field. limit caps the bytes of its strings
// and raw JSON.
func inputValue(in *facts.Input, limit int64) (ast.Value, error) {
	e := &encoder{left: limit}
	t := inputPlan()(e, reflect.ValueOf(in).Elem())
	switch {
	case e.left < 0:
		return nil, fmt.Errorf("%w: over %d bytes (limits.policy_input_bytes)", ErrInputTooLarge, limit)
	case e.err != nil:
		return nil, fmt.Errorf("%w: input: %w", ErrPolicy, e.err)
	}
	return t.Value, nil
}

// encoder is the state of one conversion.
type encoder struct {
	left int64
	err  error
}

func (e *encoder) spend(n int) { e.left -= int64(n) + 2 }

// step converts a value of the one type that it was made for.
type step func(e *encoder, v reflect.Value) *ast.Term

// inputPlan is made once: the types do not change.
var inputPlan = sync.OnceValue(func() step { return planFor(reflect.TypeFor[facts.Input]()) })

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

func planFor(t reflect.Type) step {
	switch {
	case t == timeType:
		return func(e *encoder, v reflect.Value) *ast.Term {
			at, _ := v.Interface().(time.Time)
			return e.text(at.Format(time.RFC3339Nano))
		}
	case t == rawType:
		return func(e *encoder, v reflect.Value) *ast.Term { return e.raw(v.Bytes()) }
	}
	switch t.Kind() {
	case reflect.String:
		return func(e *encoder, v reflect.Value) *ast.Term { return e.text(v.String()) }
	case reflect.Bool:
		return func(_ *encoder, v reflect.Value) *ast.Term { return ast.BooleanTerm(v.Bool()) }
	case reflect.Int, reflect.Int64:
		return func(e *encoder, v reflect.Value) *ast.Term {
			e.spend(8)
			return ast.InternedTerm(int(v.Int()))
		}
	case reflect.Pointer:
		inner := planFor(t.Elem())
		return func(e *encoder, v reflect.Value) *ast.Term {
			if v.IsNil() {
				return ast.NullTerm()
			}
			return inner(e, v.Elem())
		}
	case reflect.Slice:
		return planSlice(planFor(t.Elem()))
	case reflect.Map:
		return planMap(planFor(t.Elem()))
	case reflect.Struct:
		return planStruct(t)
	default:
		// The types of package facts are ours: a kind that is not handled shows in
		// the first test that converts an input.
		panic(fmt.Sprintf("policy: no conversion for %s", t))
	}
}

func planSlice(inner step) step {
	return func(e *encoder, v reflect.Value) *ast.Term {
		if v.IsNil() {
			return ast.NullTerm()
		}
		terms := make([]*ast.Term, v.Len())
		for i := range terms {
			terms[i] = inner(e, v.Index(i))
		}
		return ast.ArrayTerm(terms...)
	}
}

func planMap(inner step) step {
	return func(e *encoder, v reflect.Value) *ast.Term {
		if v.IsNil() {
			return ast.NullTerm()
		}
		object := ast.NewObjectWithCapacity(v.Len())
		for it := v.MapRange(); it.Next(); {
			object.Insert(e.text(it.Key().String()), inner(e, it.Value()))
		}
		return ast.NewTerm(object)
	}
}

// field is one field of a struct, embedded structs laid open.
type field struct {
	key   *ast.Term
	index []int
	inner step
	// optional: left out where there is nothing in it (omitempty).
	optional bool
}

func planStruct(t reflect.Type) step {
	var fields []field
	size := 0
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		size += len(name) + 2
		fields = append(fields, field{key: ast.StringTerm(name), index: f.Index, inner: planFor(f.Type), optional: options == "omitempty"})
	}
	return func(e *encoder, v reflect.Value) *ast.Term {
		e.spend(size)
		object := ast.NewObjectWithCapacity(len(fields))
		for _, f := range fields {
			value := v.FieldByIndex(f.index)
			if f.optional && nothing(value) {
				continue
			}
			object.Insert(f.key, f.inner(e, value))
		}
		return ast.NewTerm(object)
	}
}

// nothing is what encoding/json leaves out for omitempty.
func nothing(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func (e *encoder) text(s string) *ast.Term {
	e.spend(len(s))
	if !utf8.ValidString(s) {
		s = string([]rune(s)) // U+FFFD for each bad byte, as encoding/json does
	}
	return ast.StringTerm(s)
}

// raw decodes JSON from evidence, whose numbers stay as they were written.
func (e *encoder) raw(body []byte) *ast.Term {
	if body == nil {
		return ast.NullTerm()
	}
	if e.spend(len(body)); e.left < 0 {
		return ast.NullTerm()
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		e.err = err
		return ast.NullTerm()
	}
	value, err := ast.InterfaceToValue(doc)
	if err != nil {
		e.err = err
		return ast.NullTerm()
	}
	return ast.NewTerm(value)
}
