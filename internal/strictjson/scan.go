package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner walks one document, recursively; depth is bounded by max.
type scanner struct {
	b             []byte
	i             int
	depth, max    int
	ignoreUnknown bool
	types         map[reflect.Type]*fields
}

func scan(b []byte, maxDepth int, t reflect.Type, ignoreUnknown bool) error {
	s := &scanner{b: b, max: min(maxDepth, deepest), ignoreUnknown: ignoreUnknown}
	if at := invalidUTF8(b); at >= 0 {
		s.i = at
		return s.fail(ErrUTF8, "")
	}
	s.space()
	if err := s.value(t); err != nil {
		return err
	}
	s.space()
	if s.i != len(b) {
		return s.fail(ErrTrailing, "")
	}
	return nil
}

// fail is an error at the current place. The path is filled in on the way out.
func (s *scanner) fail(kind error, detail string) *Error {
	at := min(s.i, len(s.b))
	return &Error{Err: kind, Detail: detail, Line: 1 + bytes.Count(s.b[:at], []byte("\n")), Offset: at}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0 // never valid where a token may start
}

// value reads one value. t is the Go type that it will be decoded into, nil
// where the names of keys are not known.
func (s *scanner) value(t reflect.Type) *Error {
	switch c := s.peek(); {
	case c == '{':
		return s.nested(t, s.object)
	case c == '[':
		return s.nested(t, s.array)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	if s.i >= len(s.b) {
		return s.fail(ErrSyntax, "it ends where a value should be")
	}
	return s.fail(ErrSyntax, fmt.Sprintf("unexpected character %q", s.b[s.i]))
}

func (s *scanner) nested(t reflect.Type, read func(reflect.Type) *Error) *Error {
	if s.depth >= s.max {
		return s.fail(ErrDepth, fmt.Sprintf("the limit is %d", s.max))
	}
	s.depth++
	err := read(t)
	s.depth--
	return err
}

func (s *scanner) object(t reflect.Type) *Error {
	s.i++ // {
	s.space()
	if s.peek() == '}' {
		s.i++
		return nil
	}
	known, elem := s.fieldsOf(t)
	var seen keySet
	for {
		at := s.i
		if s.peek() != '"' {
			return s.fail(ErrSyntax, "a key in quotes should be here")
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if !seen.add(key) {
			s.i = at
			return s.fail(ErrDuplicateKey, quote(key))
		}
		next := elem
		if known != nil {
			field, kind := known.find(key)
			if errors.Is(kind, ErrKeyCase) || errors.Is(kind, ErrUnknownField) && !s.ignoreUnknown {
				s.i = at
				return s.fail(kind, known.explain(key, kind))
			}
			next = field
		}
		s.space()
		if s.peek() != ':' {
			return s.fail(ErrSyntax, "a colon should follow the key")
		}
		s.i++
		s.space()
		if err := s.value(next); err != nil {
			return err.within(clip(string(key)))
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
			s.space()
		case '}':
			s.i++
			return nil
		default:
			return s.fail(ErrSyntax, "a comma or } should follow the value")
		}
	}
}

func (s *scanner) array(t reflect.Type) *Error {
	s.i++ // [
	s.space()
	if s.peek() == ']' {
		s.i++
		return nil
	}
	elem := elementOf(t)
	for n := 0; ; n++ {
		if err := s.value(elem); err != nil {
			return err.within("[" + strconv.Itoa(n) + "]")
		}
		s.space()
		switch s.peek() {
		case ',':
			s.i++
			s.space()
		case ']':
			s.i++
			return nil
		default:
			return s.fail(ErrSyntax, "a comma or ] should follow the value")
		}
	}
}

func (s *scanner) literal(word string) *Error {
	if !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return s.fail(ErrSyntax, "unknown word")
	}
	s.i += len(word)
	return nil
}

// number reads RFC 8259 section 6. Integers must fit 64 bits, everything else a
// float64: larger ones mean different things to different readers.
func (s *scanner) number() *Error {
	start := s.i
	whole := true
	if s.peek() == '-' {
		s.i++
	}
	switch {
	case s.peek() == '0':
		s.i++
	case !s.digits():
		return s.fail(ErrSyntax, "a digit should be here")
	}
	if s.peek() == '.' {
		whole = false
		s.i++
		if !s.digits() {
			return s.fail(ErrSyntax, "a digit should follow the decimal point")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		whole = false
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			return s.fail(ErrSyntax, "a digit should be in the exponent")
		}
	}
	if s.i-start <= 18 && whole { // always fits
		return nil
	}
	if !inRange(s.b[start:s.i], whole) {
		s.i = start
		return s.fail(ErrNumber, "")
	}
	return nil
}

// longestNumber is more than any float64 needs to be told apart.
const longestNumber = 64

func inRange(lit []byte, whole bool) bool {
	if len(lit) > longestNumber {
		return false
	}
	if !whole {
		_, err := strconv.ParseFloat(string(lit), 64)
		return err == nil
	}
	if lit[0] == '-' {
		_, err := strconv.ParseInt(string(lit), 10, 64)
		return err == nil
	}
	_, err := strconv.ParseUint(string(lit), 10, 64)
	return err == nil
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// within puts one step in front of the path.
func (e *Error) within(step string) *Error {
	switch {
	case e.Path == "":
		e.Path = step
	case e.Path[0] == '[':
		e.Path = step + e.Path
	default:
		e.Path = step + "." + e.Path
	}
	return e
}

// longestName is how much of a stranger's key goes into an error.
const longestName = 80

func clip(s string) string {
	if len(s) <= longestName {
		return s
	}
	return strings.ToValidUTF8(s[:longestName], "") + "…"
}

func quote(key []byte) string { return strconv.Quote(clip(string(key))) }

// invalidUTF8 is the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	i := 0
	for i < len(b) {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return i
}
