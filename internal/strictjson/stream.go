package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrTooLong says that a value is longer than whoever asked for it would hold.
var ErrTooLong = errors.New("value too long")

// Bounds of what a [Stream] remembers to notice duplicate keys: of one object,
// and of all objects that are open at one place.
const (
	mostKeys     = 1 << 17
	mostKeyBytes = 16 << 20
)

// Kind is the kind of a JSON value.
type Kind byte

// Kinds of values. KindNone is where no value begins.
const (
	KindNone Kind = iota
	KindObject
	KindArray
	KindString
	KindNumber
	KindBool
	KindNull
)

func (k Kind) String() string {
	return [...]string{"nothing", "an object", "an array", "a string", "a number", "true or false", "null"}[k]
}

// Stream reads one JSON value from a reader, as strictly as [Check] does, without
// holding it: for documents that are larger than one wants in memory. Whoever reads
// walks with [Stream.Object] and [Stream.Array], takes what is wanted, and leaves
// the rest, which is checked and forgotten. An object may have 131,072 keys.
//
// Errors are an [*Error], or the reader's own. After an error everything fails.
type Stream struct {
	r    io.Reader
	buf  []byte
	i, n int // what is read and not yet used: buf[i:n]
	eof  bool
	// base is how many bytes were before buf[0], line the number of the line.
	base int64
	line int

	depth, max int
	keyBytes   int
	// keys are those of the objects that are open, one behind the other; what is
	// compared with them is no garbage, of which a large document would leave much.
	keys []byte
	// spare is where short strings are put together.
	spare []byte
	// pending says that a value is next that nobody has taken.
	pending bool
	err     error

	capture   bool
	captured  []byte
	from      int // captured from buf[from]
	mostBytes int
}

const streamBuffer = 64 << 10

// NewStream reads from r; values may be nested at most maxDepth deep.
func NewStream(r io.Reader, maxDepth int) *Stream {
	s := &Stream{
		r: r, buf: make([]byte, streamBuffer), line: 1, max: min(maxDepth, deepest), pending: true,
		keys: make([]byte, 0, 1<<10), spare: make([]byte, 0, 256),
	}
	s.space()
	return s
}

// Offset is the place in the document, in bytes from 0.
func (s *Stream) Offset() int64 { return s.base + int64(s.i) }

// End reports whatever went wrong, or what follows the document's value.
func (s *Stream) End() error {
	if s.err == nil && s.pending {
		_ = s.Skip()
	}
	s.space()
	if s.err == nil && s.more() {
		return s.fail(ErrTrailing, "")
	}
	return s.err
}

// Kind looks at the value that is next.
func (s *Stream) Kind() Kind {
	switch c := s.peek(); {
	case s.err != nil:
		return KindNone
	case c == '{':
		return KindObject
	case c == '[':
		return KindArray
	case c == '"':
		return KindString
	case c == '-' || '0' <= c && c <= '9':
		return KindNumber
	case c == 't' || c == 'f':
		return KindBool
	case c == 'n':
		return KindNull
	}
	return KindNone
}

// want takes the next value if it is of a kind.
func (s *Stream) want(kind Kind) error {
	if s.err != nil {
		return s.err
	}
	if is := s.Kind(); is != kind {
		if is == KindNone {
			return s.noValue()
		}
		return s.fail(ErrSyntax, fmt.Sprintf("it is %s and should be %s", is, kind))
	}
	s.pending = false
	return nil
}

func (s *Stream) noValue() error {
	if !s.more() {
		return s.fail(ErrSyntax, "it ends where a value should be")
	}
	return s.fail(ErrSyntax, fmt.Sprintf("unexpected character %q", s.peek()))
}

// Names are the keys of an object that mean something to its reader.
type Names struct{ fold map[string]string }

// NewNames makes a set of keys.
func NewNames(names ...string) *Names {
	n := &Names{fold: map[string]string{}}
	for _, name := range names {
		n.fold[folded(name)] = name
	}
	return n
}

// find gives the name that key is, but for letter case perhaps.
func (n *Names) find(key []byte) (string, bool) {
	var room [64]byte
	if len(key) > len(room) {
		name, ok := n.fold[folded(string(key))]
		return name, ok
	}
	lower := room[:len(key)]
	for i, c := range key {
		switch {
		case c >= utf8.RuneSelf:
			name, ok := n.fold[folded(string(key))]
			return name, ok
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	name, ok := n.fold[string(lower)]
	return name, ok
}

// Object reads an object, and calls each for every key with its value next; what
// each does not take is skipped. With names it is called for those alone, and a
// key that differs from one of them in letter case only is an error.
func (s *Stream) Object(names *Names, each func(key string) error) error {
	if err := s.want(KindObject); err != nil {
		return err
	}
	return s.object(names, each)
}

func (s *Stream) object(names *Names, each func(key string) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	held, open := s.keyBytes, len(s.keys)
	defer func() { s.depth, s.keyBytes, s.keys = s.depth-1, held, s.keys[:open] }()
	if s.peek() == '}' {
		return s.advance()
	}
	var seen openKeys
	for n := 1; ; n++ {
		if s.peek() != '"' {
			return s.fail(ErrSyntax, "a key in quotes should be here")
		}
		at := len(s.keys)
		raw, err := s.key()
		if err != nil {
			return err
		}
		s.keyBytes += len(raw)
		if n > mostKeys || s.keyBytes > mostKeyBytes {
			return s.fail(ErrTooLong, "an object has too many keys to be compared")
		}
		if !seen.add(s.keys, at) {
			return s.fail(ErrDuplicateKey, quote(raw))
		}
		key, meant := "", each != nil
		switch {
		case names != nil:
			name, known := names.find(raw)
			if known && name != string(raw) {
				return s.fail(ErrKeyCase, fmt.Sprintf("%s should be %q", quote(raw), name))
			}
			key, meant = name, meant && known
		case meant:
			key = string(raw)
		}
		step := func(err error) error { return s.within(err, clip(string(raw))) }
		s.space()
		if s.peek() != ':' {
			return s.fail(ErrSyntax, "a colon should follow the key")
		}
		_ = s.advance()
		s.space()
		s.pending = true
		if meant {
			if err := each(key); err != nil {
				return step(err)
			}
		}
		if err := s.rest(); err != nil {
			return step(err)
		}
		if seen.many != nil {
			s.keys = s.keys[:at]
		}
		switch s.peek() {
		case ',':
			_ = s.advance()
			s.space()
		case '}':
			return s.advance()
		default:
			return s.fail(ErrSyntax, "a comma or } should follow the value")
		}
	}
}

// longestKey is more than any key that is worth comparing.
const longestKey = 1 << 20

// key reads a key, and puts it behind the others that are open.
func (s *Stream) key() ([]byte, error) {
	at := len(s.keys)
	keys, err := s.chunks(longestKey, s.keys)
	if err != nil {
		return nil, err
	}
	s.keys = keys
	return keys[at:], nil
}

// openKeys is a [keySet] of one object, whose first keys are in [Stream.keys]: by
// where they begin and end.
type openKeys struct {
	few  [fewKeys][2]int
	n    int
	many map[string]struct{}
}

// add returns false if the last of keys, which begins at a place, is there already.
func (k *openKeys) add(keys []byte, at int) bool {
	key := keys[at:]
	if k.many == nil {
		for _, have := range k.few[:k.n] {
			if bytes.Equal(keys[have[0]:have[1]], key) {
				return false
			}
		}
		if k.n < fewKeys {
			k.few[k.n] = [2]int{at, len(keys)}
			k.n++
			return true
		}
		k.many = make(map[string]struct{}, 4*fewKeys)
		for _, have := range k.few {
			k.many[string(keys[have[0]:have[1]])] = struct{}{}
		}
	}
	if _, dup := k.many[string(key)]; dup {
		return false
	}
	k.many[string(key)] = struct{}{}
	return true
}

// Array reads an array, and calls each with every element next; what each does not
// take is skipped.
func (s *Stream) Array(each func() error) error {
	if err := s.want(KindArray); err != nil {
		return err
	}
	return s.array(each)
}

func (s *Stream) array(each func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth-- }()
	if s.peek() == ']' {
		return s.advance()
	}
	for n := 0; ; n++ {
		step := func(err error) error { return s.within(err, "["+strconv.Itoa(n)+"]") }
		s.pending = true
		if each != nil {
			if err := each(); err != nil {
				return step(err)
			}
		}
		if err := s.rest(); err != nil {
			return step(err)
		}
		switch s.peek() {
		case ',':
			_ = s.advance()
			s.space()
		case ']':
			return s.advance()
		default:
			return s.fail(ErrSyntax, "a comma or ] should follow the value")
		}
	}
}

// enter reads the bracket that opens an object or an array.
func (s *Stream) enter() error {
	if s.depth >= s.max {
		return s.fail(ErrDepth, fmt.Sprintf("the limit is %d", s.max))
	}
	s.depth++
	_ = s.advance()
	s.space()
	return s.err
}

// rest skips the value if nobody took it, and the space behind it.
func (s *Stream) rest() error {
	if s.err == nil && s.pending {
		_ = s.Skip()
	}
	s.space()
	return s.err
}

// Skip checks the next value and forgets it.
func (s *Stream) Skip() error {
	if s.err != nil {
		return s.err
	}
	s.pending = false
	switch s.Kind() {
	case KindObject:
		return s.object(nil, nil)
	case KindArray:
		return s.array(nil)
	case KindString:
		_, err := s.chunks(0, nil)
		return err
	case KindNumber:
		return s.number()
	case KindBool:
		if s.peek() == 't' {
			return s.literal("true")
		}
		return s.literal("false")
	case KindNull:
		return s.literal("null")
	}
	return s.noValue()
}

// String reads a string of at most limit bytes.
func (s *Stream) String(limit int) (string, error) {
	if err := s.want(KindString); err != nil {
		return "", err
	}
	b, err := s.chunks(limit, s.spare[:0])
	if cap(b) <= mostSpare && err == nil {
		s.spare = b
	}
	return string(b), err
}

// mostSpare is how much room for strings is kept for the next one.
const mostSpare = 4 << 10

// Raw reads the next value, whatever it is, as it is written: at most limit bytes.
func (s *Stream) Raw(limit int) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.capture {
		return nil, errors.New("a value is read while one around it is")
	}
	s.capture, s.captured, s.from, s.mostBytes = true, nil, s.i, limit
	err := s.Skip()
	s.keep(s.i)
	raw := s.captured
	s.capture, s.captured = false, nil
	if err == nil {
		err = s.err
	}
	if err != nil {
		return nil, err
	}
	return raw, nil
}

// keep adds what was used up to buf[to] to what is captured.
func (s *Stream) keep(to int) {
	if !s.capture || s.err != nil {
		return
	}
	if len(s.captured)+to-s.from > s.mostBytes {
		_ = s.fail(ErrTooLong, fmt.Sprintf("more than %d bytes", s.mostBytes))
		return
	}
	s.captured = append(s.captured, s.buf[s.from:to]...)
	s.from = to
}

// Text reads a string piece by piece, without holding it. It is to be read to its
// end before the stream goes on.
func (s *Stream) Text() (io.Reader, error) {
	if err := s.want(KindString); err != nil {
		return nil, err
	}
	_ = s.advance()
	return &textReader{s: s}, s.err
}

type textReader struct {
	s    *Stream
	left []byte // decoded and not yet handed out
	room [textRoom]byte
	done bool
}

const textRoom = 16 << 10

// Read implements io.Reader.
func (t *textReader) Read(p []byte) (int, error) {
	for len(t.left) == 0 {
		if t.s.err != nil {
			return 0, t.s.err
		}
		if t.done {
			return 0, io.EOF
		}
		out := t.room[:0]
		for len(out) < textRoom-utf8.UTFMax && !t.done && t.s.err == nil {
			out, t.done = t.s.piece(out, textRoom-utf8.UTFMax-len(out))
		}
		t.left = out
	}
	n := copy(p, t.left)
	t.left = t.left[n:]
	return n, nil
}

// chunks reads a string behind what is in into, which is nil where nobody wants it.
func (s *Stream) chunks(limit int, into []byte) ([]byte, error) {
	before := len(into)
	_ = s.advance() // the opening quote
	var room [512]byte
	for done := false; !done && s.err == nil; {
		if into == nil {
			_, done = s.piece(room[:0], len(room)-utf8.UTFMax)
			continue
		}
		into, done = s.piece(into, 4096)
		if len(into)-before > limit {
			return nil, s.fail(ErrTooLong, fmt.Sprintf("a string of more than %d bytes", limit))
		}
	}
	return into, s.err
}

// piece appends the next part of a string to out, some most bytes at most, and says
// whether the string has ended.
func (s *Stream) piece(out []byte, most int) ([]byte, bool) {
	if !s.more() {
		_ = s.fail(ErrSyntax, "a string does not end")
		return out, true
	}
	end := min(s.n, s.i+most)
	j := s.i
	for j < end {
		if c := s.buf[j]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
		j++
	}
	out = append(out, s.buf[s.i:j]...)
	s.i = j
	if j == end {
		return out, s.err != nil
	}
	switch c := s.buf[j]; {
	case c == '"':
		s.i++
		return out, true
	case c == 0:
		_ = s.fail(ErrNUL, "")
	case c < ' ':
		_ = s.fail(ErrSyntax, "control character in a string")
	case c == '\\':
		return s.escape(out)
	default:
		s.ahead(utf8.UTFMax)
		r, size := utf8.DecodeRune(s.buf[s.i:s.n])
		if r == utf8.RuneError && size == 1 {
			_ = s.fail(ErrUTF8, "")
			return out, true
		}
		out = append(out, s.buf[s.i:s.i+size]...)
		s.i += size
		return out, s.err != nil
	}
	return out, true
}

// escape reads one escape sequence, with the scanner's own eyes.
func (s *Stream) escape(out []byte) ([]byte, bool) {
	s.ahead(len(`\ud83d\ude00`))
	in := scanner{b: s.buf[s.i:s.n]}
	r, err := in.escape()
	if err != nil {
		_ = s.fail(err.Err, err.Detail)
		return out, true
	}
	s.i += in.i
	return utf8.AppendRune(out, r), false
}

func (s *Stream) literal(word string) error {
	s.ahead(len(word))
	if s.n-s.i < len(word) || string(s.buf[s.i:s.i+len(word)]) != word {
		return s.fail(ErrSyntax, "unknown word")
	}
	s.i += len(word)
	return s.err
}

// number reads a number with the scanner's own eyes; one that does not end within
// longestNumber bytes is out of range.
func (s *Stream) number() error {
	s.ahead(longestNumber + 2)
	in := scanner{b: s.buf[s.i:min(s.n, s.i+longestNumber+1)]}
	if err := in.number(); err != nil {
		return s.fail(err.Err, err.Detail)
	}
	if in.i > longestNumber {
		return s.fail(ErrNumber, "")
	}
	s.i += in.i
	return s.err
}

func (s *Stream) space() {
	for s.more() {
		switch s.buf[s.i] {
		case '\n':
			s.line++
			s.i++
		case ' ', '\t', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte, 0 where there is none.
func (s *Stream) peek() byte {
	if s.more() {
		return s.buf[s.i]
	}
	return 0
}

func (s *Stream) advance() error {
	if s.more() {
		s.i++
	}
	return s.err
}

// more says whether there is another byte.
func (s *Stream) more() bool {
	if s.i < s.n {
		return s.err == nil
	}
	s.ahead(1)
	return s.err == nil && s.i < s.n
}

// ahead reads on until want bytes are there, or all that there are.
func (s *Stream) ahead(want int) {
	for s.n-s.i < want && !s.eof && s.err == nil {
		if s.i > 0 {
			s.keep(s.i)
			s.base += int64(s.i)
			copy(s.buf, s.buf[s.i:s.n])
			s.n, s.i, s.from = s.n-s.i, 0, 0
		}
		n, err := s.r.Read(s.buf[s.n:])
		s.n += n
		switch {
		case errors.Is(err, io.EOF):
			s.eof = true
		case err != nil:
			s.err = err
		}
	}
}

func (s *Stream) fail(kind error, detail string) error {
	if s.err == nil {
		s.err = &Error{Err: kind, Detail: detail, Line: s.line, Offset: int(s.Offset())}
	}
	return s.err
}

// within puts one step in front of the path of an error of ours. An error of the
// one who reads stops the stream.
func (s *Stream) within(err error, step string) error {
	var e *Error
	if errors.As(err, &e) {
		_ = e.within(step)
	} else if s.err == nil {
		s.err = err
	}
	return err
}

// Wrong is an error about the value that was read last: of a known field that has
// no meaning.
func (s *Stream) Wrong(format string, args ...any) error {
	return s.fail(ErrValue, strings.TrimSuffix(fmt.Sprintf(format, args...), "."))
}

// ErrValue says that a value is valid JSON and not what its field should have.
var ErrValue = errors.New("not a value of this field")
