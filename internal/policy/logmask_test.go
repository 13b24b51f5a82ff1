package policy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLogMask(t *testing.T) {
	event := func() map[string]any {
		return map[string]any{"path": "signing/verdict", "labels": map[string]any{"app": "signet"}, "input": map[string]any{"image": "a/b:v1", "roles": []any{"admin"}}}
	}
	tests := []struct {
		name, source string
		drop         bool
		rules        any
		err          error
	}{
		{name: "a set", source: `mask contains "/input/image"`, rules: []any{"/input/image"}},
		{name: "objects", source: `mask contains {"op": "upsert", "path": "/input/image", "value": input.labels.app}`, rules: []any{map[string]any{"op": "upsert", "path": "/input/image", "value": "signet"}}},
		{name: "a list that is undefined", source: `mask := ["/input"] if input.path == "other"`},
		{name: "nothing in the set", source: `mask contains "/input" if input.path == "other"`, rules: []any{}},
		{name: "drop", source: "mask contains \"/input\"\ndrop if input.path == \"signing/verdict\"", drop: true},
		{name: "no drop", source: "mask contains \"/input\"\ndrop if input.path == \"other\"", rules: []any{"/input"}},
		{name: "a drop that is not true", source: `drop := "yes"`},
		{name: "a builtin that fails", source: `mask contains "/input" if to_number(input.input.image) > 1`, err: ErrPolicy},
		{name: "a builtin of drop that fails", source: `drop if to_number(input.input.image) > 1`, err: ErrPolicy},
		{name: "two values", source: "mask := [\"/input\"] if input.path\nmask := [\"/result\"] if input.input", err: ErrPolicy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := LoadLogMask(t.Context(), "mask.rego", []byte("package system.log\n"+tt.source+"\n"), 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			drop, rules, err := m.Evaluate(t.Context(), event())
			if drop != tt.drop || !errors.Is(err, tt.err) {
				t.Errorf("drop %t, error %v; want %t, %v", drop, err, tt.drop, tt.err)
			}
			if diff := cmp.Diff(tt.rules, rules); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogMaskTimeLimit(t *testing.T) {
	m, err := LoadLogMask(t.Context(), "mask.rego", []byte(`package system.log

mask contains "/input" if {
	some a in input.list
	some b in input.list
	some c in input.list
	a + b + c < 0
}
`), 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	long := make([]any, 1000)
	for i := range long {
		long[i] = i
	}
	if _, _, err := m.Evaluate(t.Context(), map[string]any{"list": long}); !errors.Is(err, ErrTimeLimit) {
		t.Errorf("error %v", err)
	}
}

func TestLoadLogMaskRefuses(t *testing.T) {
	for _, tt := range []struct{ name, source, says string }{
		{"nothing", "", "empty"},
		{"no Rego", "mask", "mask.rego:1"},
		{"another package", "package signing\nmask contains \"/input\"", "package system.log"},
		{"no rule that is asked", "package system.log\nmusk contains \"/input\"", "neither a rule mask nor a rule drop"},
		{"the network", "package system.log\nmask contains \"/input\" if http.send({\"method\": \"get\", \"url\": \"http://x\"})", "http.send"},
		{"the clock", "package system.log\ndrop if time.now_ns() > 1", "time.now_ns"},
		{"unsafe", "package system.log\nmask contains x", "unsafe"},
	} {
		_, err := LoadLogMask(t.Context(), "mask.rego", []byte(tt.source), time.Second)
		if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}
