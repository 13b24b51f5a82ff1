package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/signet-policy/signet/internal/facts"
)

// viaJSON is what a policy would see if the input went through JSON text.
func viaJSON(t *testing.T, in *facts.Input) ast.Value {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	v, err := ast.InterfaceToValue(doc)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fill sets everything that can be set, each leaf to something else, so that a
// field that the conversion forgets or confuses shows.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(noon.Add(time.Duration(*n) * time.Millisecond)))
		return
	case v.Type() == rawType:
		v.SetBytes(fmt.Appendf(nil, `{"n":%d,"big":123456789012345678901234567890,"float":1.50,"list":[null,true,{"a":"b"}]}`, *n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d <&> \u2028 é", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 33)
	case reflect.Float64:
		v.SetFloat(float64(*n) / 8)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(k, n)
			fill(e, n)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}

func TestInputValueIsWhatJSONWouldBe(t *testing.T) {
	full, n := &facts.Input{}, 0
	fill(reflect.ValueOf(full).Elem(), &n)
	projected := signedInput()
	projected.Attestations = []facts.InputAttestation{
		{Projection: &facts.Projection{Kind: facts.ProjectionScan, Findings: []facts.Finding{{ID: "CVE-1", Severity: "high"}}}},
		{Projection: &facts.Projection{Kind: facts.ProjectionSBOM}}, {Attestation: facts.Attestation{ProjectionError: "malformed"}},
	}
	strange := signedInput()
	strange.Request.Image = "bad \xff\xfe utf-8 \x00 and \u0007"
	strange.Request.Context = map[string]string{"k\xff": "v"}
	for name, in := range map[string]*facts.Input{
		"every field set": full,
		"zero value":      {},
		"no evidence":     emptyInput(),
		"no provenance":   {Attestations: []facts.InputAttestation{{}}},
		"signed":          signedInput(),
		"projected":       projected,
		"strange strings": strange,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := inputValue(in, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if want := viaJSON(t, in); got.Compare(want) != 0 {
				t.Errorf("the policy sees\n%v\nand JSON has\n%v", got, want)
			}
		})
	}
	if n < 150 {
		t.Errorf("only %d values were filled in: the test has lost its grip on the type", n)
	}
}

func TestInputTooLarge(t *testing.T) {
	in := signedInput()
	in.Attestations = []facts.InputAttestation{{Attestation: facts.Attestation{
		Predicate: json.RawMessage(`"` + strings.Repeat("x", 10_000) + `"`),
	}}}
	if _, err := inputValue(in, 10_000); !errors.Is(err, ErrInputTooLarge) || !strings.Contains(err.Error(), "policy_input_bytes") {
		t.Errorf("a large predicate: %v, want ErrInputTooLarge naming the limit", err)
	}
	if _, err := inputValue(in, 20_000); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	// The limit is on bytes as they would be sent, give or take punctuation.
	if _, err := inputValue(in, int64(len(body))*8/10); !errors.Is(err, ErrInputTooLarge) {
		t.Errorf("80%% of %d bytes are enough: %v", len(body), err)
	}
}

func TestInputWithBrokenPredicate(t *testing.T) {
	in := signedInput()
	in.Attestations = []facts.InputAttestation{{Attestation: facts.Attestation{Predicate: json.RawMessage(`{"a":`)}}}
	if _, err := inputValue(in, 1<<20); !errors.Is(err, ErrPolicy) {
		t.Errorf("error %v, want ErrPolicy", err)
	}
}
