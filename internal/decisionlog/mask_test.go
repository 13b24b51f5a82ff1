package decisionlog

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const maskInput = `{"image":"a/b:v1","context":{"env":"prod","team":"x"},"roles":["verifier","other"]}`

func TestMask(t *testing.T) {
	tests := []struct {
		name, rules    string
		input, result  string // "" for gone
		erased, masked []string
	}{
		{name: "nothing", rules: `[]`, input: maskInput, result: `{"allowed":true}`},
		{name: "a field", rules: `["/input/image"]`, input: `{"context":{"env":"prod","team":"x"},"roles":["verifier","other"]}`, result: `{"allowed":true}`, erased: []string{"/input/image"}},
		{name: "all of the input", rules: `["/input"]`, result: `{"allowed":true}`, erased: []string{"/input"}},
		{name: "both", rules: `["/input", "/result"]`, erased: []string{"/input", "/result"}},
		{name: "an item of a list", rules: `["/input/roles/0", "/input/context"]`, input: `{"image":"a/b:v1","roles":["other"]}`, result: `{"allowed":true}`, erased: []string{"/input/roles/0", "/input/context"}},
		{name: "what is not there", rules: `["/input/nothing", "/input/roles/7", "/input/image/deeper", "/input/roles/x"]`, input: maskInput, result: `{"allowed":true}`},
		{
			name: "upsert", rules: `[{"op":"upsert","path":"/input/context/env","value":"**"},{"op":"upsert","path":"/result/new/deep","value":{"a":1}}]`,
			input:  `{"image":"a/b:v1","context":{"env":"**","team":"x"},"roles":["verifier","other"]}`,
			result: `{"allowed":true,"new":{"deep":{"a":1}}}`, masked: []string{"/input/context/env", "/result/new/deep"},
		},
		{name: "upsert of all", rules: `[{"op":"upsert","path":"/input","value":{"masked":true}}]`, input: `{"masked":true}`, result: `{"allowed":true}`, masked: []string{"/input"}},
		{name: "upsert in a list", rules: `[{"op":"upsert","path":"/input/roles/1","value":"m"},{"op":"upsert","path":"/input/roles/9999999999/x","value":"m"}]`, input: `{"image":"a/b:v1","context":{"env":"prod","team":"x"},"roles":["verifier","m"]}`, result: `{"allowed":true}`, masked: []string{"/input/roles/1"}},
		{name: "upsert below a string", rules: `[{"op":"upsert","path":"/input/image/x","value":1}]`, input: maskInput, result: `{"allowed":true}`},
		{name: "remove as an object", rules: `[{"op":"remove","path":"/result/allowed"}]`, input: maskInput, result: `{}`, erased: []string{"/result/allowed"}},
		{name: "nd_builtin_cache is never there", rules: `["/nd_builtin_cache/http.send"]`, input: maskInput, result: `{"allowed":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := &event{labels: json.RawMessage(`{}`), path: pathVerdict, input: json.RawMessage(maskInput), result: json.RawMessage(`{"allowed":true}`)}
			drop, err := ev.mask(t.Context(), func(context.Context, map[string]any) (Masking, error) {
				var rules any
				err := json.Unmarshal([]byte(tt.rules), &rules)
				return Masking{Rules: rules}, err
			})
			if drop || err != nil {
				t.Fatalf("drop %t, error %v", drop, err)
			}
			if got, want := canonical(t, ev.input), canonical(t, json.RawMessage(tt.input)); got != want {
				t.Errorf("input %s, want %s", got, want)
			}
			if got, want := canonical(t, ev.result), canonical(t, json.RawMessage(tt.result)); got != want {
				t.Errorf("result %s, want %s", got, want)
			}
			if diff := cmp.Diff(tt.erased, ev.erased); diff != "" {
				t.Errorf("erased (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.masked, ev.masked); diff != "" {
				t.Errorf("masked (-want +got):\n%s", diff)
			}
		})
	}
}

// canonical is a document with its keys in order; "" for none.
func canonical(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	if len(raw) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// What a mask that fails might have hidden is not written.
func TestMaskFails(t *testing.T) {
	rules := func(text string) MaskFunc {
		return func(context.Context, map[string]any) (Masking, error) {
			var v any
			err := json.Unmarshal([]byte(text), &v)
			return Masking{Rules: v}, err
		}
	}
	tests := []struct {
		name string
		mask MaskFunc
	}{
		{"an error", func(context.Context, map[string]any) (Masking, error) { return Masking{}, errors.New("out of order") }},
		{"an error beside a drop", func(context.Context, map[string]any) (Masking, error) {
			return Masking{Drop: true}, errors.New("out of order")
		}},
		{"a panic", func(context.Context, map[string]any) (Masking, error) { panic("out of order") }},
		{"no list", rules(`true`)},
		{"no slash", rules(`["input"]`)},
		{"another part", rules(`["/input/image", "/labels/id"]`)},
		{"an empty path", rules(`[{"op":"remove"}]`)},
		{"another op", rules(`[{"op":"replace","path":"/input"}]`)},
		{"a bad escape", rules(`["/input/%zz"]`)},
		{"a number", rules(`[7]`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := &event{
				labels: json.RawMessage(`{}`), path: pathVerdict, input: json.RawMessage(maskInput),
				result: json.RawMessage(`{"image":"a/b:v1"}`), custom: json.RawMessage(`{"request_id":"a/b:v1"}`),
			}
			drop, err := ev.mask(t.Context(), tt.mask)
			if drop || err == nil {
				t.Fatalf("drop %t, error %v; want an error", drop, err)
			}
			out := string(ev.append(nil))
			if strings.Contains(out, "a/b") {
				t.Errorf("unmasked: %s", out)
			}
			for _, want := range []string{`"erased":["/input","/result"]`, `"custom":{"masking":"failed"}`} {
				if !strings.Contains(out, want) {
					t.Errorf("%s\nhas no %s", out, want)
				}
			}
		})
	}
}
