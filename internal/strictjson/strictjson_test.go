package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/strictjson"
)

const depth = 16

// Threat 42: deep or duplicate-key JSON, giant integers, invalid UTF-8, NUL.
func TestCheckThreat42(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"object", `{"a":[1,2.5,-3e2,true,false,null,"x\u00e9\n"],"b":{}}`, nil},
		{"white space around", " \t\r\n{ \"a\" : [ ] } \n", nil},
		{"scalar", `"x"`, nil},
		{"same key in different objects", `{"a":{"k":1},"b":{"k":1}}`, nil},
		{"surrogate pair", `"\ud83d\ude00"`, nil},
		{"largest unsigned", `18446744073709551615`, nil},
		{"smallest signed", `-9223372036854775808`, nil},
		{"large float", `1.5e300`, nil},
		{"empty", ``, strictjson.ErrSyntax},
		{"only space", `  `, strictjson.ErrSyntax},
		{"byte order mark", "\ufeff{}", strictjson.ErrSyntax},
		{"duplicate", `{"a":1,"b":2,"a":3}`, strictjson.ErrDuplicateKey},
		{"duplicate by escape", `{"a":1,"\u0061":3}`, strictjson.ErrDuplicateKey},
		{"duplicate in a nested object", `[{"x":{"a":1,"a":1}}]`, strictjson.ErrDuplicateKey},
		{"duplicate among many", `{` + manyKeys(40) + `,"k3":0}`, strictjson.ErrDuplicateKey},
		{"duplicate of a late key", `{` + manyKeys(40) + `,"k39":0}`, strictjson.ErrDuplicateKey},
		{"as deep as allowed", strings.Repeat("[", depth) + strings.Repeat("]", depth), nil},
		{"too deep", strings.Repeat("[", depth+1) + strings.Repeat("]", depth+1), strictjson.ErrDepth},
		{"much too deep", strings.Repeat(`{"a":`, 1<<20), strictjson.ErrDepth},
		{"giant integer", `123456789012345678901234567890`, strictjson.ErrNumber},
		{"integer above 64 bits", `18446744073709551616`, strictjson.ErrNumber},
		{"integer below 64 bits", `-9223372036854775809`, strictjson.ErrNumber},
		{"giant exponent", `1e999`, strictjson.ErrNumber},
		{"endless fraction", `0.` + strings.Repeat("1", 100), strictjson.ErrNumber},
		{"leading zero", `01`, strictjson.ErrTrailing},
		{"bare minus", `-`, strictjson.ErrSyntax},
		{"no fraction", `1.`, strictjson.ErrSyntax},
		{"no exponent", `1e+`, strictjson.ErrSyntax},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", strictjson.ErrUTF8},
		{"overlong UTF-8", "\"\xc0\xaf\"", strictjson.ErrUTF8},
		{"lone high surrogate", `"\ud800"`, strictjson.ErrUTF8},
		{"lone low surrogate", `"\udc00"`, strictjson.ErrUTF8},
		{"high surrogate and text", `"\ud800abcdef"`, strictjson.ErrUTF8},
		{"NUL escaped", `{"a":"x\u0000"}`, strictjson.ErrNUL},
		{"NUL raw", "{\"a\":\"x\x00\"}", strictjson.ErrNUL},
		{"NUL raw after an escape", "\"\\n\x00\"", strictjson.ErrNUL},
		{"control character", "\"\x01\"", strictjson.ErrSyntax},
		{"control character after an escape", "\"\\n\x01\"", strictjson.ErrSyntax},
		{"unknown escape", `"\x41"`, strictjson.ErrSyntax},
		{"short escape", `"\u00"`, strictjson.ErrSyntax},
		{"signed escape", `"\u+041"`, strictjson.ErrSyntax},
		{"string does not end", `"abc`, strictjson.ErrSyntax},
		{"string ends in a backslash", `"abc\`, strictjson.ErrSyntax},
		{"string does not end after an escape", `"\n`, strictjson.ErrSyntax},
		{"trailing value", `{} {}`, strictjson.ErrTrailing},
		{"trailing text", `{}x`, strictjson.ErrTrailing},
		{"trailing comma", `[1,]`, strictjson.ErrSyntax},
		{"trailing comma in an object", `{"a":1,}`, strictjson.ErrSyntax},
		{"no comma", `[1 2]`, strictjson.ErrSyntax},
		{"no colon", `{"a" 1}`, strictjson.ErrSyntax},
		{"key without quotes", `{a:1}`, strictjson.ErrSyntax},
		{"object does not end", `{"a":1`, strictjson.ErrSyntax},
		{"comment", `{/**/}`, strictjson.ErrSyntax},
		{"unknown word", `nil`, strictjson.ErrSyntax},
		{"word in capitals", `True`, strictjson.ErrSyntax},
		{"unknown word with t", `tru`, strictjson.ErrSyntax},
		{"unknown word with f", `fals`, strictjson.ErrSyntax},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := strictjson.Check([]byte(tt.in), depth)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("Check: %v, want %v", err, tt.want)
			}
		})
	}
}

func manyKeys(n int) string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = `"k` + strconv.Itoa(i) + `":1`
	}
	return strings.Join(keys, ",")
}

type inner struct {
	Digest map[string]string `json:"digest"`
}

type Embedded struct {
	Base string `json:"base"`
}

type outer struct {
	Embedded
	PredicateType string           `json:"predicateType"`
	Subject       []inner          `json:"subject"`
	Predicate     json.RawMessage  `json:"predicate"`
	By            map[string]inner `json:"by,omitempty"`
	Any           any              `json:"any"`
	Hidden        string           `json:"-"`
	Plain         *inner
	private       string
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, in        string
		strict, lenient error // want of Decode and of DecodeKnown
	}{
		{"exact", `{"predicateType":"x","subject":[{"digest":{"SHA256":"a","sha256":"b"}}],"base":"b","Plain":{"digest":{}}}`, nil, nil},
		{"other case beside", `{"predicateType":"x","PredicateType":"y"}`, strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"other case alone", `{"predicatetype":"x"}`, strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"other case in a list", `{"subject":[{},{"Digest":{}}]}`, strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"other case in a map", `{"by":{"x":{"DIGEST":{}}}}`, strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"other case of an embedded field", `{"Base":"x"}`, strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"other case of a field without tag", `{"plain":{}}`, strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"long s", "{\"ba\u017fe\":\"x\"}", strictjson.ErrKeyCase, strictjson.ErrKeyCase},
		{"unknown", `{"predicateType":"x","more":1}`, strictjson.ErrUnknownField, nil},
		{"field that is not JSON", `{"Hidden":"x"}`, strictjson.ErrUnknownField, nil},
		{"private field", `{"private":"x"}`, strictjson.ErrUnknownField, nil},
		{"free below raw and any", `{"predicate":{"A":1,"a":2},"any":{"x":[1]}}`, nil, nil},
		{"duplicate below raw", `{"predicate":{"a":1,"a":2}}`, strictjson.ErrDuplicateKey, strictjson.ErrDuplicateKey},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v outer
			_ = v.private
			if err := strictjson.Decode([]byte(tt.in), depth, &v); !errors.Is(err, tt.strict) || (err == nil) != (tt.strict == nil) {
				t.Errorf("Decode: %v, want %v", err, tt.strict)
			}
			if err := strictjson.DecodeKnown([]byte(tt.in), depth, &outer{}); !errors.Is(err, tt.lenient) || (err == nil) != (tt.lenient == nil) {
				t.Errorf("DecodeKnown: %v, want %v", err, tt.lenient)
			}
		})
	}
}

func TestDecodeValue(t *testing.T) {
	var got outer
	in := `{"base":"b","predicateType":"p","subject":[{"digest":{"sha256":"00"}}],"any":12345678901234567890}`
	if err := strictjson.Decode([]byte(in), depth, &got); err != nil {
		t.Fatal(err)
	}
	want := outer{
		Embedded: Embedded{Base: "b"}, PredicateType: "p",
		Subject: []inner{{Digest: map[string]string{"sha256": "00"}}}, Any: json.Number("12345678901234567890"),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outer{})); diff != "" {
		t.Error(diff)
	}
	if err := strictjson.Decode([]byte(`{"base":1}`), depth, &got); err == nil {
		t.Error("a number was decoded into a string")
	}
	if err := strictjson.Decode([]byte(`{}`), depth, got); err == nil {
		t.Error("a value that is not a pointer was accepted")
	}
	if err := strictjson.Decode([]byte(`{}`), depth, nil); err == nil {
		t.Error("nil was accepted")
	}
}

func TestErrorNamesThePlace(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"{\n \"subject\": [{}, {\"digest\": {\"a\": \"1\", \"a\": \"2\"}}]\n}", `duplicate key: "a" in subject[1].digest (line 2, byte 41)`},
		{`[[1],[2,x]]`, `not valid JSON: unexpected character 'x' in [1][1] (line 1, byte 8)`},
		{`{"` + strings.Repeat("k", 200) + `":}`, `not valid JSON: unexpected character '}' in ` + strings.Repeat("k", 80) + `… (line 1, byte 204)`},
		{"\"\n", "not valid JSON: control character in a string (line 1, byte 1)"},
	} {
		if diff := cmp.Diff(tt.want, strictjson.Check([]byte(tt.in), depth).Error()); diff != "" {
			t.Error(diff)
		}
	}
	err := strictjson.Decode([]byte(`{"Subject":[]}`), depth, &outer{})
	if want := `key differs from a known one in case only: "Subject" should be "subject" (line 1, byte 1)`; err.Error() != want {
		t.Errorf("got %s, want %s", err, want)
	}
}

func TestDepthHasACeiling(t *testing.T) {
	const n = 200_000
	deep := bytes.Repeat([]byte("["), n)
	if err := strictjson.Check(deep, 1<<30); !errors.Is(err, strictjson.ErrDepth) {
		t.Errorf("%d deep: %v", n, err)
	}
	if err := strictjson.Check([]byte("{}"), 0); !errors.Is(err, strictjson.ErrDepth) {
		t.Errorf("depth 0 allowed an object: %v", err)
	}
}

// What Check accepts, encoding/json accepts too, and reads without changing it.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,"\u00e9\ud83d\ude00"]}`, `[true,false,null]`, `{"a":1,"a":2}`, `"\u0000"`, `1e400`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if strictjson.Check(b, depth) != nil {
			return
		}
		var v any
		if err := strictjson.Decode(b, depth, &v); err != nil {
			t.Fatalf("Check accepts what Decode does not: %v", err)
		}
		if !json.Valid(b) {
			t.Fatal("Check accepts what is not JSON")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	doc := []byte(`[` + strings.Repeat(`{"name":"some/package","digest":{"sha256":"0123456789abcdef"},"count":12345},`, 5000) + `1]`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if err := strictjson.Check(doc, depth); err != nil {
			b.Fatal(err)
		}
	}
}
