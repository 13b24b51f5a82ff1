package strictjson

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// fields are the JSON names of a struct type.
type fields struct {
	types map[string]reflect.Type
	// fold maps each name in simple folded form to the name itself.
	fold map[string]string
}

// find gives the type of the field that key names exactly, else why there is
// none: ErrKeyCase or ErrUnknownField.
func (f *fields) find(key []byte) (reflect.Type, error) {
	if t, ok := f.types[string(key)]; ok {
		return t, nil
	}
	if _, ok := f.fold[folded(string(key))]; ok {
		return nil, ErrKeyCase
	}
	return nil, ErrUnknownField
}

func (f *fields) explain(key []byte, kind error) string {
	if errors.Is(kind, ErrKeyCase) {
		return fmt.Sprintf("%s should be %q", quote(key), f.fold[folded(string(key))])
	}
	return quote(key)
}

// folded gives equal strings for names that encoding/json holds equal, and for
// some more: upper-casing first brings Unicode's special forms (K for kelvin, ſ
// for s) to the letters that they fold to.
func folded(s string) string { return strings.ToLower(strings.ToUpper(strings.ToLower(s))) }

// fieldsOf gives the known keys of an object that is decoded into t, or the
// type of its values where t is a map. Both are nil where t says nothing.
func (s *scanner) fieldsOf(t reflect.Type) (*fields, reflect.Type) {
	t = indirect(t)
	if t == nil {
		return nil, nil
	}
	if t.Kind() == reflect.Map {
		return nil, t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, nil
	}
	if f, ok := s.types[t]; ok {
		return f, nil
	}
	f := &fields{types: map[string]reflect.Type{}, fold: map[string]string{}}
	f.addAll(t)
	if s.types == nil {
		s.types = map[reflect.Type]*fields{}
	}
	s.types[t] = f
	return f, nil
}

func (f *fields) addAll(t reflect.Type) {
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if sf.Anonymous && name == "" {
			if et := indirect(sf.Type); et != nil && et.Kind() == reflect.Struct {
				f.addAll(et)
				continue
			}
		}
		if tag == "-" || !sf.IsExported() {
			continue
		}
		if name == "" {
			name = sf.Name
		}
		f.types[name] = sf.Type
		f.fold[folded(name)] = name
	}
}

func elementOf(t reflect.Type) reflect.Type {
	t = indirect(t)
	if t == nil || t.Kind() != reflect.Slice && t.Kind() != reflect.Array {
		return nil
	}
	return t.Elem()
}

// indirect follows pointers. It gives nil for types that read JSON themselves,
// and for interfaces: below them every key is allowed.
func indirect(t reflect.Type) reflect.Type {
	for t != nil {
		if t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(unmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler) {
			return nil
		}
		if t.Kind() != reflect.Pointer {
			return t
		}
		t = t.Elem()
	}
	return nil
}
