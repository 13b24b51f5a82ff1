package administration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/signet-policy/signet/internal/strictjson"
)

// patchDepth bounds how deep a patch is nested; real ones are two deep.
const patchDepth = 16

// mergePatch applies a JSON merge patch (RFC 7396) to current and returns the
// result as the same type. It is strict where the RFC leaves room: a field that T
// does not have, one of readOnly with another value than now, a value of a wrong
// type and null for one of required are mistakes, told all together.
func mergePatch[T any](current T, patch []byte, readOnly, required []string) (T, error) {
	var zero T
	target, err := objectOf(current)
	if err != nil {
		return zero, err
	}
	if err := strictjson.Check(patch, patchDepth); err != nil {
		return zero, fieldError("", "the patch is not a JSON object that can mean one thing only: %s", err)
	}
	var changes map[string]any
	if err := decodeNumbers(patch, &changes); err != nil || changes == nil {
		return zero, fieldError("", `the patch must be a JSON object with the fields to change, such as {"enabled": false}`)
	}
	known := jsonNames(reflect.TypeFor[T]())
	var mistakes FieldErrors
	for _, field := range slices.Sorted(maps.Keys(changes)) {
		value := changes[field]
		switch {
		case !slices.Contains(known, field):
			mistakes.add(field, "there is no such field; there are %s", strings.Join(known, ", "))
		case slices.Contains(readOnly, field):
			if was, is := target[field], merged(target[field], value); !reflect.DeepEqual(was, is) && (!blank(was) || !blank(is)) {
				mistakes.add(field, "is the server's to say; leave it out")
			}
		case value == nil && slices.Contains(required, field):
			mistakes.add(field, "cannot be removed; write what it shall be")
		}
	}
	if err := mistakes.err(); err != nil {
		return zero, err
	}
	for field, value := range changes {
		if result := merged(target[field], value); result != nil {
			target[field] = result
		} else {
			delete(target, field)
		}
	}
	return decodeFields[T](target)
}

// merged is MergePatch of RFC 7396, section 2, for one value. nil removes.
func merged(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if old, ok := target.(map[string]any); ok {
		maps.Copy(out, old)
	}
	for name, value := range changes {
		if result := merged(out[name], value); result != nil {
			out[name] = result
		} else {
			delete(out, name)
		}
	}
	return out
}

// blank says that a value is what leaving it out says too.
func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// decodeFields reads an object field by field, so that every mistake is told.
func decodeFields[T any](object map[string]any) (T, error) {
	var out T
	var mistakes FieldErrors
	for _, field := range slices.Sorted(maps.Keys(object)) {
		body, err := json.Marshal(map[string]any{field: object[field]})
		if err != nil {
			return out, fmt.Errorf("encoding field %s: %w", field, err)
		}
		if err := strictjson.Decode(body, patchDepth, &out); err != nil {
			mistakes.add(wrongField(field, err), "%s", wrongType(err))
		}
	}
	if err := mistakes.err(); err != nil {
		var zero T
		return zero, err
	}
	return out, nil
}

func wrongField(field string, err error) string {
	var strict *strictjson.Error
	if errors.As(err, &strict) && strict.Path != "" {
		return strict.Path
	}
	return field
}

func wrongType(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		if strings.Contains(err.Error(), "parsing time") {
			return "is not a time; write it as 2027-01-31T00:00:00Z"
		}
		return err.Error()
	}
	want := "an object"
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Bool:
		want = "true or false"
	case reflect.Slice:
		want = "a list"
	case reflect.Int, reflect.Int64:
		want = "a whole number"
	}
	return fmt.Sprintf("is of type %s, and must be %s", wrong.Value, want)
}

func objectOf(v any) (map[string]any, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	var object map[string]any
	if err := decodeNumbers(body, &object); err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return object, nil
}

func decodeNumbers(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return dec.Decode(v)
}

func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
