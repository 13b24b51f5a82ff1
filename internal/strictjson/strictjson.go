package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// deepest bounds recursion whatever a caller asks for, as encoding/json does.
const deepest = 10000

// Check reports whether b is one JSON value that can mean one thing only,
// nested at most maxDepth objects and arrays deep. The error is an [*Error].
func Check(b []byte, maxDepth int) error {
	return scan(b, maxDepth, nil, false)
}

// Decode reads b into v, which must be a pointer. It does what [Check] does and
// refuses every key that the Go type does not name exactly. Numbers in fields of
// type any become [json.Number].
func Decode(b []byte, maxDepth int, v any) error {
	return decode(b, maxDepth, v, false)
}

// DecodeKnown is [Decode], except that unknown keys are ignored as long as they
// are not a known key in other letter case.
func DecodeKnown(b []byte, maxDepth int, v any) error {
	return decode(b, maxDepth, v, true)
}

func decode(b []byte, maxDepth int, v any, ignoreUnknown bool) error {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return fmt.Errorf("decoding JSON into %T: not a pointer", v)
	}
	if err := scan(b, maxDepth, t, ignoreUnknown); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	return dec.Decode(v)
}
