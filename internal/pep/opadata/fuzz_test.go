package opadata

import "testing"

// Whatever an input is, there is one image to ask about, or a sentence that says why
// not.
func FuzzInput(f *testing.F) {
	for _, seed := range []string{
		`{"image":"ghcr.io/org/app:v1"}`, `{"image_ref":"a/b","image_digest":"sha256:aa"}`, `{"resource":{"type":"oci_image","id":"a/b","properties":{"digest":1}}}`,
		`{"payload":{"container_image":"a/b"},"digest":null}`, `[]`, `null`, `"x"`, ``, `{"image":{"a":[]}}`, `{"context":7,"action":[],"image":"x"}`,
		`{"resource":{"type":"tool","id":"t","server":"s"}}`, `{"resource":{"type":"tool","gateway":{"id":"a","url":"https://x","tags":["a",{"id":"b"}]}}}`, `{"digest":"x","resource":{"type":"tool"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, mistake := parseInput(raw)
		switch {
		case mistake == nil && (in.image == "") == (in.tool == nil):
			t.Errorf("not one image or tool, and nothing is wrong: %q", raw)
		case mistake != nil && mistake.Detail == "":
			t.Errorf("nobody says what is wrong: %q", raw)
		}
	})
}

func TestCheckMount(t *testing.T) {
	for mount, ok := range map[string]bool{
		"mcpgateway": true, "team/images": true, "signing": true, "": false, "/x": false, "x/": false, "a//b": false, "a b": false, "a.b": false, "signing/verdict": false, "signing/verdict/x": false, "a%2Fb": false, "*": false,
	} {
		if err := CheckMount(mount); (err == nil) != ok {
			t.Errorf("%q: %v", mount, err)
		}
	}
}
