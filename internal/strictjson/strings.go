package strictjson

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string and returns its value: a part of the document where there
// is no escape, a copy otherwise.
func (s *scanner) str() ([]byte, *Error) {
	s.i++ // the opening quote
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], nil
		case c == '\\':
			return s.escaped(start)
		case c == 0:
			return nil, s.fail(ErrNUL, "")
		case c < ' ':
			return nil, s.fail(ErrSyntax, "control character in a string")
		default:
			s.i++
		}
	}
	return nil, s.fail(ErrSyntax, "a string does not end")
}

// escaped goes on where the first escape is.
func (s *scanner) escaped(start int) ([]byte, *Error) {
	out := bytes.Clone(s.b[start:s.i])
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return out, nil
		case c == 0:
			return nil, s.fail(ErrNUL, "")
		case c < ' ':
			return nil, s.fail(ErrSyntax, "control character in a string")
		case c != '\\':
			out = append(out, c)
			s.i++
		default:
			r, err := s.escape()
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return nil, s.fail(ErrSyntax, "a string does not end")
}

// escape reads one escape sequence, or the two that make a surrogate pair.
func (s *scanner) escape() (rune, *Error) {
	if s.i+1 >= len(s.b) {
		return 0, s.fail(ErrSyntax, "a string does not end")
	}
	switch c := s.b[s.i+1]; c {
	case '"', '\\', '/':
		s.i += 2
		return rune(c), nil
	case 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return rune("\b\f\n\r\t"[strings.IndexByte("bfnrt", c)]), nil
	case 'u':
	default:
		return 0, s.fail(ErrSyntax, "unknown escape in a string")
	}
	r, ok := s.unicode()
	switch {
	case !ok:
		return 0, s.fail(ErrSyntax, "four hex digits should follow \\u")
	case r == 0:
		return 0, s.fail(ErrNUL, "")
	}
	s.i += 6
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	// encoding/json makes U+FFFD of half a pair, so that different keys
	// become one.
	low, ok := s.unicode()
	pair := utf16.DecodeRune(r, low)
	if !ok || pair == utf8.RuneError {
		return 0, s.fail(ErrUTF8, "half a surrogate pair")
	}
	s.i += 6
	return pair, nil
}

// unicode reads \uXXXX at the current place without moving on.
func (s *scanner) unicode() (rune, bool) {
	if s.i+6 > len(s.b) || s.b[s.i] != '\\' || s.b[s.i+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s.b[s.i+2:s.i+6]), 16, 16)
	return rune(n), err == nil
}

// keySet notices a key that comes twice. Most objects are small, so the first
// keys are compared one by one and only then put into a map.
type keySet struct {
	few  [][]byte
	many map[string]struct{}
}

const fewKeys = 12

// add returns false if key is there already.
func (k *keySet) add(key []byte) bool {
	if k.many == nil {
		for _, have := range k.few {
			if bytes.Equal(have, key) {
				return false
			}
		}
		if len(k.few) < fewKeys {
			k.few = append(k.few, key)
			return true
		}
		k.many = make(map[string]struct{}, 4*fewKeys)
		for _, have := range k.few {
			k.many[string(have)] = struct{}{}
		}
	}
	if _, dup := k.many[string(key)]; dup {
		return false
	}
	k.many[string(key)] = struct{}{}
	return true
}
