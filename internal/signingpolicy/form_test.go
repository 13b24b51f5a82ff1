package signingpolicy

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fullForm has every kind of field.
const fullForm = `signing_policy:
  mode: audit
  require_signature: true
  verify_transparency_log: false
  threshold: 2
  images: ["ghcr.io/org/**"]
  context: {plugin: ImageSigningPlugin}
  trusted_signers:
    - {type: keyless, name: release, issuer: "https://accounts.google.com", subject: builder@example.com, expires_at: 2099-01-31T00:00:00Z, images: ["ghcr.io/org/app"]}
    - {type: keyless, issuer: "https://token.actions.githubusercontent.com", subject_regex: 'https://github\.com/org/.*', claims: {source_repository_uri: "https://github.com/org/app"}}
    - {type: registry}
  groups:
    - {name: security, signers: [release], threshold: 1}
  platforms: every
  trusted_sources: [github.com/org]
  slsa:
    require_attestation: true
    minimum_level: 3
    trusted_builders:
      - https://github.com/slsa-framework/slsa-github-generator
      - {builder: "https://github.com/actions/runner", signers: [release]}
    trusted_sources: [{repository: github.com/org/app, tag: ["v*"]}]
    parameters: {inputs: {release: true}}
  attestations:
    - {predicate_type: spdx, signers: [release], max_age: 7d}
    - {predicate_type: vuln, max_age: 1d}
  contents:
    licences: {denied: ["AGPL-3.0-only"]}
    vulnerabilities: {maximum_severity: low, vex: {}}
    base_images: {allowed: ["docker.io/library/debian"]}
  attest: true
  exceptions:
    - {images: ["ghcr.io/org/legacy"], codes: [unsigned], reason: it moves, owner: platform, expires_at: 2099-01-31T00:00:00Z}
  bundle: ours
  parameters: {registries: [ghcr.io], limits: {days: 3}}
`

// What a form is made of makes the same policy again.
func TestFormRoundTrip(t *testing.T) {
	for name, document := range map[string]string{"full": fullForm, "default": "signing_policy: {trusted_signers: [{type: registry}]}"} {
		p, err := Parse([]byte(document))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want, err := p.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		f, err := FormOf(p)
		if err != nil {
			t.Fatal(err)
		}
		got, wrong := FromForm(p.Name, f)
		if d := cmp.Diff(string(want), string(got)); d != "" || wrong != nil {
			t.Errorf("%s: %v (-want +got)\n%s", name, wrong, d)
		}
	}
}

// The form has every field of the canonical form, and none besides.
func TestFormFieldsAreAll(t *testing.T) {
	// Only registered signers have these.
	registeredOnly := []string{"trusted_signers[].enabled", "trusted_signers[].owner", "trusted_signers[].note"}
	want := map[string]bool{}
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		switch {
		case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
			want[at] = true
			walk(at+"[]", typ.Elem())
			return
		case typ.Kind() != reflect.Struct || typ.NumField() == 0 || typ.Name() == "Node" || typ.Name() == "Time":
			want[at] = true
			return
		}
		if at != "" && !strings.HasSuffix(at, "[]") {
			want[at] = true
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "" { // TrustedBuilder and TrustedSource are written by hand
				name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
			}
			if renamed := map[string]string{"refs": "ref", "tags": "tag", "branches": "branch"}[name]; renamed != "" && f.Tag.Get("yaml") == "" {
				name = renamed // as the canonical form has them
			}
			walk(below(at, name), f.Type)
		}
	}
	walk("", reflect.TypeFor[canonical]().Field(0).Type)
	delete(want, "name")
	for _, name := range registeredOnly {
		delete(want, name)
	}
	got := map[string]bool{}
	var list func(at string, fields []Field)
	list = func(at string, fields []Field) {
		for _, f := range fields {
			path := below(at, f.Name)
			got[path] = true
			if f.Label == "" {
				t.Errorf("%s has no label", path)
			}
			if f.Kind == FieldList {
				path += "[]"
			}
			list(path, f.Fields)
		}
	}
	list("", FormFields())
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("in the canonical form (-) and in the form (+):\n%s", d)
	}
}

// A mistake stands at its field.
func TestFormMistakes(t *testing.T) {
	for path, change := range map[string]map[string]string{
		"threshold":                  {"threshold": "many"},
		"mode":                       {"mode": "perhaps"},
		"images":                     {"images": "a b"},
		"trusted_signers[0].subject": {"trusted_signers[0].subject_regex": "("},
		"slsa.minimum_level":         {"slsa.minimum_level": "9"},
		"context":                    {"context": "plugin"},
		"parameters":                 {"parameters": "{"},
		"exceptions[0].expires_at":   {"exceptions[0].expires_at": "tomorrow"},
		"attestations[1].max_age":    {"attestations[1].max_age": "7 apples"},
	} {
		p, err := Parse([]byte(fullForm))
		if err != nil {
			t.Fatal(err)
		}
		f, err := FormOf(p)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(f, change)
		_, wrong := FromForm(p.Name, f)
		if !slices.ContainsFunc(wrong, func(m FieldMistake) bool { return strings.HasPrefix(m.Path, path) && m.Problem != "" }) {
			t.Errorf("%s: %+v", path, wrong)
		}
	}
}

// Parts of lists come and go, and the others stay as they are.
func TestFormParts(t *testing.T) {
	f := Form{"groups": "3", "groups[0].name": "a", "groups[1].name": "b", "groups[1].threshold": "2", "groups[2].name": "c"}
	f.Without("groups[1]")
	if d := cmp.Diff(Form{"groups": "2", "groups[0].name": "a", "groups[1].name": "c"}, f); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, path := range []string{"groups[2]", "groups[-1]", "groups", "groups[x]", "", "]["} {
		f.Without(path)
	}
	f.With("groups")
	if f["groups"] != "3" || f["groups[1].name"] != "c" {
		t.Errorf("%v", f)
	}
	f = Form{"slsa.trusted_builders": "2", "slsa.trusted_builders[1].builder": "x"}
	f.Without("slsa.trusted_builders[0]")
	if f["slsa.trusted_builders[0].builder"] != "x" {
		t.Errorf("%v", f)
	}
}
