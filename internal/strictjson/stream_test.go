package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// documents that one reader or the other could take in another way.
var documents = []string{
	`{"a": 1, "b": [true, false, null, -1.5e3, "x\u00e9\ud83d\ude00"]}`, `{}`, `[]`, ` "x" `, `1`, `-0`, `null`,
	`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `[1,]`, `[1 2]`, `{"a" 1}`, `{"a":}`, `{,}`, `{1:2}`,
	`"\ud800"`, `"\u0000"`, "\"\x00\"", "\"\x01\"", "\"\xff\"", "\"é", `"\x"`, `"\u12"`, `tru`, `trueish`, `nul`, `01`, `1.`, `1e`, `1e400`, `-`,
	`18446744073709551615`, `18446744073709551616`, `1 2`, ``, ` `, `[[[[[1]]]]]`, `[[[[[[1]]]]]]`, strings.Repeat("9", 80), "0." + strings.Repeat("1", 80),
	"{\n\"a\":\n\n\x01}", "\"" + strings.Repeat("é", 70_000) + "\"", `{"k":"` + strings.Repeat("x", 70_000) + `","k":1}`, "[\xff]",
	`{"` + strings.Repeat("k", 70_000) + `":1}`, "[" + strings.Repeat(`"a\n",`, 30_000) + "1]",
}

// A stream refuses what Check refuses, for the same cause, however the bytes come.
func TestStreamIsAsStrictAsCheck(t *testing.T) {
	for _, doc := range documents {
		agree(t, []byte(doc))
	}
}

func agree(t *testing.T, doc []byte) {
	t.Helper()
	want := Check(doc, 5)
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(doc), "byte by byte": iotest.OneByteReader(bytes.NewReader(doc))} {
		got := NewStream(r, 5).End()
		var w, g *Error
		switch {
		case (got == nil) != (want == nil):
			t.Errorf("%.80q, %s: the stream says %v, Check %v", doc, name, got, want)
		case want == nil:
		case !errors.As(want, &w) || !errors.As(got, &g):
			t.Errorf("%.80q, %s: %v and %v", doc, name, got, want)
		case !errors.Is(w, ErrUTF8) && !errors.Is(g, ErrUTF8) && !errors.Is(g, w.Err):
			// Check looks for invalid UTF-8 in the whole document first.
			t.Errorf("%.80q, %s: the stream says %v, Check %v", doc, name, got, want)
		}
	}
}

func FuzzStream(f *testing.F) {
	for _, doc := range documents {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) { agree(t, doc) })
}

func TestStreamReads(t *testing.T) {
	const doc = `{"skipped": {"deep": [1, {"x": "\n"}]}, "name": "a\u00e9b", "list": [1, [2], {"three": 3}], "raw": {"a" : [ 1 ] }, "text": "line\nline", "last": null}`
	for _, r := range []io.Reader{strings.NewReader(doc), iotest.OneByteReader(strings.NewReader(doc))} {
		var got []string
		s := NewStream(r, 10)
		err := s.Object(NewNames("name", "list", "raw", "text"), func(key string) error {
			switch key {
			case "name":
				v, err := s.String(10)
				got = append(got, v)
				return err
			case "list":
				return s.Array(func() error {
					raw, err := s.Raw(20)
					got = append(got, string(raw))
					return err
				})
			case "raw":
				raw, err := s.Raw(20)
				got = append(got, string(raw))
				return err
			}
			text, err := s.Text()
			if err != nil {
				return err
			}
			v, err := io.ReadAll(text)
			got = append(got, string(v))
			return err
		})
		if err == nil {
			err = s.End()
		}
		if want := `["aéb","1","[2]","{\"three\": 3}","{\"a\" : [ 1 ] }","line\nline"]`; err != nil || jsonOf(got) != want {
			t.Errorf("%v: %s, want %s", err, jsonOf(got), want)
		}
	}
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestStreamErrors(t *testing.T) {
	names := NewNames("name", "list")
	read := func(doc string) error {
		s := NewStream(strings.NewReader(doc), 10)
		if err := s.Object(names, func(key string) error {
			if key == "list" {
				return s.Array(func() error {
					return s.Object(names, func(string) error { _, err := s.String(3); return err })
				})
			}
			_, err := s.String(3)
			return err
		}); err != nil {
			return err
		}
		return s.End()
	}
	for _, c := range []struct{ doc, want string }{
		{`{"name": "abc", "other": "a longer string"}`, ""},
		{`{"Name": "abc"}`, `key differs from a known one in case only: "Name" should be "name" (line 1, byte 7)`},
		{`{"name": "abcd"}`, `value too long: a string of more than 3 bytes in name (line 1, byte 15)`},
		{`{"name": 1}`, `not valid JSON: it is a number and should be a string in name (line 1, byte 9)`},
		{"{\"list\": [{}, {\n\"name\": [] }]}", `not valid JSON: it is an array and should be a string in list[1].name (line 2, byte 24)`},
		{`{"list": [{"x": {"y": 1, "y": 2}}]}`, `duplicate key: "y" in list[0].x (line 1, byte 28)`},
		{`{"name": "a"} x`, `trailing bytes after the JSON value (line 1, byte 14)`},
	} {
		got := ""
		if err := read(c.doc); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.doc, got, c.want)
		}
	}
}

// What a reader fails with is said as it is, and a document that a stranger made
// to fill the memory is refused.
func TestStreamLimits(t *testing.T) {
	broken := errors.New("the disk is gone")
	if err := NewStream(io.MultiReader(strings.NewReader(`{"a": "`), iotest.ErrReader(broken)), 5).End(); !errors.Is(err, broken) {
		t.Error(err)
	}
	var many strings.Builder
	many.WriteString("{")
	for i := range mostKeys + 1 {
		many.WriteString(`"` + strings.Repeat("k", i%7) + jsonOf(i) + `":0,`)
	}
	many.WriteString(`"z":0}`)
	if err := NewStream(strings.NewReader(many.String()), 5).End(); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
	s := NewStream(strings.NewReader(`["`+strings.Repeat("x", 1<<20)+`"]`), 5)
	if _, err := s.Raw(1000); !errors.Is(err, ErrTooLong) || len(s.captured) > 1000 {
		t.Error(err, len(s.captured))
	}
}

func BenchmarkStream(b *testing.B) {
	doc := []byte(`{"packages":[` + strings.Repeat(`{"name":"libc6","versionInfo":"2.36-9+deb12u4","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/libc6@2.36"}],"n":12345},`, 10_000) + `{}]}`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if err := NewStream(bytes.NewReader(doc), 10).End(); err != nil {
			b.Fatal(err)
		}
	}
}
