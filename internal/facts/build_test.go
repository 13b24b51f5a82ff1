package facts

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// builtFacts are facts with one attestation that has provenance, and its key.
func builtFacts() (Facts, string) {
	s := Signature{ID: "sha256:a", SubjectDigest: "sha256:s", Signer: Signer{Kind: KindCertificate}}
	return Facts{attestations: []Attestation{{Signature: s, Predicate: []byte("{}"), Provenance: &Provenance{BuilderID: "b"}}}}, FactKey(s)
}

// What a frame keeps of builds gives the same input again, and only what the
// policy trusts opens the predicate.
func TestBuildsInFrames(t *testing.T) {
	f, key := builtFacts()
	builder := "https://github.com/acme/app"
	trusted := Build{Profile: "github-workflow", Level: 2, Builder: builder + "/x", TrustedBuilder: &builder, Missing: map[string][]string{"3": {"m"}}}
	edit := func(change func(*Build)) Build { b := trusted; change(&b); return b }
	for _, tt := range []struct {
		name  string
		build Build
		shown bool
	}{
		{"trusted", trusted, true},
		{"by nobody of ours", edit(func(b *Build) { b.TrustedBuilder = nil }), false},
		{"of another source", edit(func(b *Build) { b.Untrusted = []string{"why"} }), false},
		{"contradicted", edit(func(b *Build) { b.Level = 0 }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fr := Frame{Builds: map[string]Build{key: tt.build}}
			in := NewInput(f, fr)
			a := in.Attestations[0]
			if (a.Predicate != nil) != tt.shown || (a.Provenance != nil) != tt.shown {
				t.Errorf("predicate %s, provenance %+v", a.Predicate, a.Provenance)
			}
			if a.BuilderProfile == nil || *a.BuilderProfile != "github-workflow" || a.Build.Level != tt.build.Level {
				t.Errorf("%+v", a.Build)
			}
			kept, err := json.Marshal(fr)
			if err != nil {
				t.Fatal(err)
			}
			var again Frame
			if err := json.Unmarshal(kept, &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(encoded(t, in), encoded(t, NewInput(f, again))); diff != "" {
				t.Errorf("(-first +again):\n%s", diff)
			}
		})
	}
}

// A frame from before there were builds gives the input that it gave.
func TestFramesWithoutBuilds(t *testing.T) {
	f, _ := builtFacts()
	text := encoded(t, NewInput(f, Frame{}))
	if strings.Contains(text, `"build":`) || !strings.Contains(text, `"builder_profile":null`) || !strings.Contains(text, `"provenance":null`) {
		t.Error(text)
	}
	if kept := encoded(t, Frame{}); strings.Contains(kept, "builds") {
		t.Error(kept)
	}
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
