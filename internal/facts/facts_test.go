package facts

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func signature(id string, at *time.Time) Signature {
	return Signature{
		ID: id, SubjectDigest: digestA, Format: FormatBundle, SignedAt: at, TrustRoot: "test",
		Principal: "https://issuer.test dev@example.test",
		Signer:    Signer{Kind: KindCertificate, Issuer: "https://issuer.test", Subject: "dev@example.test"},
	}
}

func mustNew(t *testing.T, p Proven) Facts {
	t.Helper()
	f, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestOrderNeverDecides(t *testing.T) {
	a, b := signature("sha256:01", nil), signature("sha256:02", nil)
	r1, r2 := Rejection{ID: "x", Code: CodeMalformed}, Rejection{ID: "y", Code: CodeMalformed}
	f := mustNew(t, Proven{Subject: Subject{Digest: digestA}, Signatures: []Signature{a, b}, Rejections: []Rejection{r1, r2}})
	g := mustNew(t, Proven{Subject: Subject{Digest: digestA}, Signatures: []Signature{b, a}, Rejections: []Rejection{r2, r1}})
	if f.Digest() != g.Digest() {
		t.Errorf("digests differ by the order of evidence: %s, %s", f.Digest(), g.Digest())
	}
	if diff := cmp.Diff(f.Signatures(), g.Signatures()); diff != "" {
		t.Error(diff)
	}
}

func TestFactsSayNothingOfWhereWeLooked(t *testing.T) {
	tag := "v1"
	here := mustNew(t, Proven{Subject: Subject{Registry: "a.test", Repository: "x", Tag: &tag, Digest: digestA}})
	there := mustNew(t, Proven{Subject: Subject{Digest: digestA}})
	if here.Digest() != there.Digest() {
		t.Error("the registry and tag are part of the facts' digest")
	}
	if here.Subject().Registry != "" {
		t.Error("the registry is kept in the facts")
	}
}

func TestStoredFactsComeBack(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	f := mustNew(t, Proven{
		Subject:    Subject{Digest: digestA, Platforms: []Platform{{OS: "linux", Architecture: "arm64", Variant: "v8", Digest: digestB}}},
		Signatures: []Signature{signature("sha256:01", &at)},
		Attestations: []Attestation{{
			Signature: signature("sha256:02", nil), PredicateType: "https://spdx.dev/Document",
			StatementSubjects: []StatementSubject{{Name: "x", Digest: map[string]string{"sha256": digestA[7:]}}},
			PayloadDigest:     digestB, Predicate: json.RawMessage(`{"b":1.50,"a":"<&>"}`),
		}},
	})
	body, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(body, f.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.Attestations()[0].Signature, back.Attestations()[0].Signature); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(body), `"b":1.50,"a":"<&>"`) {
		t.Errorf("a predicate's numbers and characters changed: %s", body)
	}
}

func TestDecodeRefuses(t *testing.T) {
	f := mustNew(t, Proven{Subject: Subject{Digest: digestA}, Signatures: []Signature{signature("sha256:01", nil)}})
	body, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, body, digest string
		is                 error
	}{
		{"changed", strings.Replace(string(body), "dev@", "eve@", 1), f.Digest(), ErrDigest},
		{"another digest", string(body), digestB, ErrDigest},
		{"another predicate", strings.Replace(string(body), `"predicate":null`, `"predicate":{}`, 1) + " ", digestB, ErrDigest},
		{"unknown field", `{"trusted":true}`, f.Digest(), nil},
		{"not JSON", `{`, f.Digest(), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode([]byte(tt.body), tt.digest)
			if err == nil || (tt.is != nil && !errors.Is(err, tt.is)) {
				t.Errorf("Decode = %v, want an error (%v)", err, tt.is)
			}
			if got.Digest() != "" || len(got.Signatures()) != 0 {
				t.Error("facts came back beside the error")
			}
		})
	}
}

func TestPredicateIsInTheDigest(t *testing.T) {
	with := func(predicate string) Facts {
		return mustNew(t, Proven{Attestations: []Attestation{{Signature: signature("sha256:02", nil), PayloadDigest: digestB, Predicate: json.RawMessage(predicate)}}})
	}
	if with(`{"a":1}`).Digest() != with(`{"a": 1}`).Digest() {
		t.Error("white space decides over the digest")
	}
	if with(`{"a":1}`).Digest() == with(`{"a":2}`).Digest() {
		t.Error("stored facts could come back with another predicate")
	}
	if _, err := New(Proven{Attestations: []Attestation{{Predicate: json.RawMessage(`{`)}}}); err == nil {
		t.Error("a predicate that is no JSON was accepted")
	}
}

func TestSubjectNames(t *testing.T) {
	tests := []struct {
		subject      Subject
		name, pinned string
	}{
		{Subject{Registry: "ghcr.io", Repository: "org/app", Digest: digestA}, "ghcr.io/org/app", "ghcr.io/org/app@" + digestA},
		{Subject{Digest: digestA}, "", digestA},
	}
	for _, tt := range tests {
		if tt.subject.Name() != tt.name || tt.subject.Pinned() != tt.pinned {
			t.Errorf("Name, Pinned = %q, %q; want %q, %q", tt.subject.Name(), tt.subject.Pinned(), tt.name, tt.pinned)
		}
	}
	if got := (Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}).String(); got != "linux/arm64/v8" {
		t.Errorf("Platform = %q", got)
	}
}

func TestInputWithholdsStrangersPredicates(t *testing.T) { // threat 11
	known, stranger := signature("sha256:01", nil), signature("sha256:02", nil)
	f := mustNew(t, Proven{Subject: Subject{Digest: digestA}, Attestations: []Attestation{
		{Signature: known, Predicate: json.RawMessage(`{"mine":true}`), Provenance: &Provenance{BuilderID: "mine"}},
		{Signature: stranger, Predicate: json.RawMessage(`{"yours":true}`), Provenance: &Provenance{BuilderID: "yours"}},
	}})
	fr := Frame{EvaluatedAt: time.Unix(1e9, 0).UTC(), TrustedSigners: map[string][]string{FactKey(known): {"default/1"}}}
	in := NewInput(f, fr)
	if string(in.Attestations[0].Predicate) != `{"mine":true}` || in.Attestations[1].Predicate != nil {
		t.Errorf("predicates: %s, %s", in.Attestations[0].Predicate, in.Attestations[1].Predicate)
	}
	if p := in.Attestations[0].Provenance; p == nil || p.BuilderID != "mine" || in.Attestations[1].Provenance != nil {
		t.Errorf("provenance: %+v, %+v", p, in.Attestations[1].Provenance)
	}
	if body, err := json.Marshal(in); err != nil || bytes.Contains(body, []byte("yours")) {
		t.Errorf("%v: a stranger's words are in %s", err, body)
	}
	fr.ShowUnmatched = true
	in = NewInput(f, fr)
	if in.Attestations[1].Predicate == nil || in.Schema == InputSchema {
		t.Error("--show-unmatched must show, and mark the document")
	}
	if f.Attestations()[1].Predicate == nil {
		t.Error("withholding changed the facts")
	}
}

func TestSignedInTheFutureIsRejected(t *testing.T) { // threat 24
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	later, skewed := now.Add(time.Hour), now.Add(30*time.Second)
	inLog := signature("sha256:03", &now)
	inLog.Transparency = []LogEntry{{Log: "l", IntegratedAt: &later}}
	stamped := signature("sha256:04", &now)
	stamped.Timestamps = []Timestamp{{Time: later}}
	f := mustNew(t, Proven{
		Signatures:   []Signature{signature("sha256:01", &skewed), signature("sha256:02", &later), inLog, stamped},
		Attestations: []Attestation{{Signature: signature("sha256:05", &later)}},
	})
	in := NewInput(f, Frame{EvaluatedAt: now, ClockSkew: time.Minute})
	if len(in.Signatures) != 1 || in.Signatures[0].ID != "sha256:01" || len(in.Attestations) != 0 {
		t.Errorf("signatures from the future are facts: %+v", in.Signatures)
	}
	for _, r := range in.Rejections {
		if r.Code != CodeSignedInFuture {
			t.Errorf("rejection %+v", r)
		}
	}
	if len(in.Rejections) != 4 {
		t.Errorf("%d rejections, want 4", len(in.Rejections))
	}
}

func TestInputListsAreAlwaysPresent(t *testing.T) {
	body, err := json.Marshal(NewInput(mustNew(t, Proven{Signatures: []Signature{signature("sha256:01", nil)}}), Frame{}))
	if err != nil {
		t.Fatal(err)
	}
	unresolved, err := json.Marshal(NewInput(Facts{}, Frame{}))
	if err != nil || strings.Contains(string(unresolved), `"platforms":null`) {
		t.Errorf("an image that was not resolved: %s, %v", unresolved, err)
	}
	for _, field := range []string{`"roles":[]`, `"context":{}`, `"platforms":[]`, `"attestations":[]`, `"matches":[]`, `"rejections":[]`,
		`"trust":[]`, `"repositories":[]`, `"problems":[]`, `"annotations":{}`, `"claims":{}`, `"transparency":[]`, `"timestamps":[]`, `"trusted_signers":[]`} {
		if !strings.Contains(string(body), field) {
			t.Errorf("no %s in %s", field, body)
		}
	}
}

func TestCanonicalSortsKeys(t *testing.T) {
	got, err := Canonical(struct {
		B int    `json:"b"`
		A string `json:"a"`
	}{1, "<\u2028>"})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":"<\u2028>","b":1}`; string(got) != want {
		t.Errorf("Canonical = %s, want %s", got, want)
	}
	if _, err := Canonical(func() {}); err == nil {
		t.Error("a function has no JSON")
	}
}

func TestMatchPlatforms(t *testing.T) {
	have := []Platform{
		{OS: "linux", Architecture: "amd64", Digest: "a"}, {OS: "linux", Architecture: "arm64", Variant: "v8", Digest: "b"},
		{OS: "linux", Architecture: "arm", Variant: "v6", Digest: "c"}, {OS: "linux", Architecture: "arm", Variant: "v7", Digest: "d"},
	}
	for want, digests := range map[string]string{
		"linux/amd64": "a", "linux/amd64/v1": "a", "linux/arm64": "b", "linux/arm": "d", "linux/arm/v6": "c",
		"linux/arm/v5": "", "windows/amd64": "", "linux": "", "": "", "LINUX/amd64": "",
	} {
		got := ""
		for _, p := range MatchPlatforms(have, want) {
			got += p.Digest
		}
		if got != digests {
			t.Errorf("MatchPlatforms(%q) = %q, want %q", want, got, digests)
		}
	}
}

// Stored facts can be read in one way only.
func TestDecodeIsStrict(t *testing.T) {
	f, err := New(Proven{Subject: Subject{Digest: "sha256:aa", MediaType: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	body, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(body, f.Digest()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a field that is not known": {`{"subject"`, `{"more":1,"subject"`},
		"a key in another case":     {`"signatures"`, `"Signatures"`},
		"a key twice":               {`"signatures"`, `"signatures":[],"signatures"`},
		"bytes after it":            {`"rejections":[]}`, `"rejections":[]}{}`},
	} {
		spoilt := strings.Replace(string(body), change[0], change[1], 1)
		if spoilt == string(body) {
			t.Fatalf("%s: nothing was changed in %s", name, body)
		}
		if _, err := Decode([]byte(spoilt), f.Digest()); err == nil {
			t.Errorf("%s: %s is read", name, spoilt)
		}
	}
}
