package administration

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The test cases of RFC 7396, appendix A, whose targets are objects.
func TestMerged(t *testing.T) {
	for _, tt := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var target, patch, want any
		decode(t, tt.target, &target)
		decode(t, tt.patch, &patch)
		decode(t, tt.want, &want)
		if d := cmp.Diff(want, merged(target, patch)); d != "" {
			t.Errorf("%s with %s:\n%s", tt.target, tt.patch, d)
		}
		var again any
		decode(t, tt.target, &again)
		if d := cmp.Diff(again, target); d != "" {
			t.Errorf("%s was changed itself:\n%s", tt.target, d)
		}
	}
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
}

// Whatever the patch: no panic, and an error or what the patch says.
func FuzzMergePatch(f *testing.F) {
	type thing struct {
		ID    string            `json:"id"`
		Name  string            `json:"name"`
		Claim map[string]string `json:"claim"`
		List  []string          `json:"list,omitempty"`
		On    bool              `json:"on"`
		Count int64             `json:"count"`
	}
	now := thing{ID: "x", Name: "n", Claim: map[string]string{"a": "b"}, On: true, Count: 3}
	for _, seed := range []string{`{}`, `{"name":"m"}`, `{"claim":{"a":null}}`, `{"id":"y"}`, `{"list":null,"on":false}`, `{"count":1e3}`, `[]`, `{"name":1,"on":2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		got, err := mergePatch(now, patch, []string{"id"}, []string{"name", "on"})
		if err != nil {
			if d := cmp.Diff(thing{}, got); d != "" {
				t.Errorf("%s: an error and a thing: %+v", patch, got)
			}
			return
		}
		if got.ID != "x" {
			t.Errorf("%s: changed the id to %q", patch, got.ID)
		}
		// The same patch again changes nothing.
		again, err := mergePatch(got, patch, []string{"id"}, []string{"name", "on"})
		if err != nil {
			t.Fatalf("%s: again: %v", patch, err)
		}
		if d := cmp.Diff(got, again); d != "" {
			t.Errorf("%s: again:\n%s", patch, d)
		}
	})
}
