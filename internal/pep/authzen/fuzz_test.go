package authzen

import "testing"

// Whatever a body is, it is a question that has all it needs, or a sentence says why
// not.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"subject":{"type":"user","id":"a"},"action":{"name":"x"},"resource":{"type":"container_image","id":"a/b"}}`,
		`{"evaluations":[{"resource":{"type":"oci_image","id":"a/b","properties":{"digest":"sha256:x"}}},1],"options":{"evaluations_semantic":7}}`,
		`{"subject":null,"action":[],"resource":{"type":1},"context":null}`, `[]`, `null`, ``, `{"Subject":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, m := parse(body)
		if m != nil {
			if m.Detail == "" {
				t.Errorf("nobody says what is wrong: %q", body)
			}
			return
		}
		if s, m := req.semantic(); m == nil && s == "" {
			t.Errorf("no semantic: %q", body)
		}
		if list, m := req.items(); m == nil && len(list) > mostItems {
			t.Errorf("%d items", len(list))
		}
		a, m := req.read()
		switch {
		case m == nil && (a.image == "" || a.action == "" || a.resourceType == ""):
			t.Errorf("something is missing, and nothing is wrong: %q", body)
		case m != nil && m.Detail == "":
			t.Errorf("nobody says what is wrong: %q", body)
		}
	})
}
