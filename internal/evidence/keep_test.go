package evidence

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func item(kind Kind, where string, body []byte, annotations map[string]string) Item {
	return Item{
		Kind: kind, MediaType: "x", SubjectDigest: "sha256:s", Where: where, Bytes: body, Annotations: annotations,
		ID: Identify(kind, body, annotations),
	}
}

func TestKeptEvidenceComesBack(t *testing.T) {
	items := []Item{
		item(KindBundle, "b", []byte(`{"a": "<é>"}`), nil),
		item(KindSimpleSigning, "a", []byte("\xff\x00 no text"), map[string]string{AnnotationSignature: "MEQ="}),
		item(KindBundle, "large", bytes.Repeat([]byte("x"), KeptBytes+1), nil),
		item(KindDSSE, "annotated", []byte("{}"), map[string]string{AnnotationChain: strings.Repeat("c", KeptBytes)}),
		{Kind: KindBundle, SubjectDigest: "sha256:s", Where: "gone", ID: "sha256:named", Broken: &Broken{Code: "malformed", Message: "404"}},
		{Kind: KindUnsigned, SubjectDigest: "sha256:s", Where: "sbom", ID: "sha256:descriptor"},
	}
	body, err := Keep(items)
	if err != nil {
		t.Fatal(err)
	}
	turned := slices.Clone(items)
	slices.Reverse(turned)
	if again, err := Keep(turned); err != nil || !bytes.Equal(body, again) {
		t.Errorf("the order of finding decides over what is kept: %v", err)
	}
	back, left, err := Kept(body)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{items[2].ID, items[3].ID}; len(left) != 2 || !slices.Contains(want, left[0]) || !slices.Contains(want, left[1]) {
		t.Errorf("left out: %v", left)
	}
	if len(back) != 4 {
		t.Fatalf("%d items came back", len(back))
	}
	for _, b := range back {
		i := slices.IndexFunc(items, func(it Item) bool { return it.ID == b.ID })
		if i < 0 || !bytes.Equal(items[i].Bytes, b.Bytes) || items[i].Where != b.Where || (items[i].Broken == nil) != (b.Broken == nil) ||
			items[i].Annotations[AnnotationSignature] != b.Annotations[AnnotationSignature] {
			t.Errorf("came back as %+v", b)
		}
	}
}

func TestKeptRefuses(t *testing.T) {
	body, err := Keep([]Item{item(KindBundle, "b", []byte(`{"a": 1}`), nil)})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"changed":        strings.Replace(string(body), `\"a\": 1`, `\"a\": 2`, 1),
		"an extra field": strings.Replace(string(body), `"kind"`, `"trusted":true,"kind"`, 1),
		"not JSON":       "[",
	} {
		if bad == string(body) {
			t.Fatalf("%s: the test changes nothing: %s", name, body)
		}
		if items, _, err := Kept([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", name, items)
		}
	}
}
