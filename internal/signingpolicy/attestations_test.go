package signingpolicy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/policy"
	"github.com/signet-policy/signet/internal/strictjson"
)

const everything = `signing_policy:
  name: default
  mode: enforce
  require_signature: false
  verify_transparency_log: true
  threshold: 1
  trusted_signers:
    - type: keyless
      issuer: https://accounts.example
      subject: builder@example.com
    - type: registry
      names:
        - security
        - qa
  attestations:
    - predicate_type: spdx
      signers:
        - default/1
      count: 1
      subjects: every
    - predicate_type: vuln
      signers:
        - security
        - qa
      max_age: 36h
      from: made_at
      count: 2
      subjects: image
    - predicate_type: https://example.com/review/v1
      count: 3
      subjects: image
    - predicate_type: test-result
      max_age: 7d
      from: signed_at
      count: 1
      subjects: image
  contents:
    licences:
      denied:
        - GPL-*
      allowed:
        - GPL-2.0-only WITH Classpath-exception-2.0
      unstated: deny
    vulnerabilities:
      maximum_severity: medium
      unknown_severity: deny
      unfixed: allow
      database_max_age: 2d
      vex:
        signers:
          - security
        max_age: 90d
    tests:
      result: PASSED
      passed:
        - unit
    base_images:
      allowed:
        - docker.io/library/debian:12
        - gcr.io/distroless/**
      signers:
        - default/1
`

// The canonical form is what it is read from, and so are the parameters of a bundle's author.
func TestAttestationsRoundTrip(t *testing.T) {
	p := mustParse(t, everything)
	body, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everything, string(body)); diff != "" {
		t.Errorf("canonical form (-want +got):\n%s", diff)
	}
	params, err := p.Params()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Default().WithParams(params)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{p.Attestations, p.Contents}, []any{again.Attestations, again.Contents}); diff != "" {
		t.Errorf("from parameters (-want +got):\n%s", diff)
	}
	var got struct {
		Attestations []struct {
			Name   string   `json:"name"`
			Types  []string `json:"types"`
			MaxAge int      `json:"max_age"`
			Kind   string   `json:"kind"`
		} `json:"attestations"`
	}
	if err := json.Unmarshal(params, &got); err != nil {
		t.Fatal(err)
	}
	vuln := got.Attestations[1]
	if vuln.Name != "attestation/vuln" || vuln.MaxAge != 36*3600 || vuln.Kind != "scan" || !slices.Contains(vuln.Types, "https://in-toto.io/attestation/vulns/v0.2") {
		t.Errorf("parameters of the scan: %+v", vuln)
	}
	if _, err := policy.Load(t.Context(), policy.Source{Params: params}); err != nil {
		t.Errorf("the policy does not take them: %v", err)
	}
	if !p.Ages() || !p.WantsPlatforms() || Default().Ages() || Default().WantsPlatforms() {
		t.Error("what gets old, or speaks of platforms, is not known")
	}
}

// Parameters that nobody made by the parser are refused where they do not fit together.
func TestParametersOfAttestationsAreChecked(t *testing.T) {
	params, err := mustParse(t, everything).Params()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ have, want, says string }{
		{`"kind":"scan"`, `"kind":"sbom"`, "attestations[1]: name, kind and types"},
		{`"from":"made_at"`, `"from":""`, "attestations[1]: max_age and from"},
		{`"subjects":"every"`, `"subjects":"some"`, `attestations[0].subjects: "some"`},
		{`"unstated":"deny"`, `"unstated":"no"`, `contents.licences.unstated: "no"`},
		{`"maximum_severity":"medium"`, `"maximum_severity":"m"`, "contents.vulnerabilities.maximum_severity"},
		{`"result":"PASSED"`, `"result":"OK"`, "contents.tests.result"},
		{`"max_age":129600`, `"max_age":-1`, "is no age in whole seconds"},
	} {
		edited := bytes.Replace(params, []byte(tt.have), []byte(tt.want), 1)
		if bytes.Equal(edited, params) {
			t.Fatalf("%s is not there", tt.have)
		}
		if _, err := Default().WithParams(edited); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %s", tt.want, err, tt.says)
		}
	}
}

// Names in a policy that is given its name from outside are those of that name.
func TestSignersOfAPolicyByName(t *testing.T) {
	body := []byte(strings.ReplaceAll(strings.Replace(everything, "  name: default\n", "", 1), "default/1", "prod/1"))
	p, err := ParseAs("prod", body)
	if err != nil || p.Inline[0].Name != "prod/1" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := Parse(body); err == nil || !strings.Contains(err.Error(), `"prod/1" is no trusted signer of this policy; the nearest is "default/1"`) {
		t.Errorf("another policy's signer: %v", err)
	}
}

func TestAttestationsRefused(t *testing.T) {
	const named = "trusted_signers: [{type: registry, names: [security, qa]}]\n"
	const scan = good + "attestations: [{predicate_type: vuln, max_age: 1d}]\n"
	for _, tt := range []struct{ name, yaml, says string }{
		{"no type", good + "attestations: [{count: 1}]\n", "line 2: attestations[0].predicate_type: is missing; write a predicate type, such as https://spdx.dev/Document, or one of custom, cyclonedx"},
		{"a misspelt name", good + "attestations: [{predicate_type: spxd}]\n", `line 2: attestations[0].predicate_type: "spxd" is no predicate type; the nearest name is "spdx"`},
		{"no URI", good + "attestations: [{predicate_type: 'https:// x'}]\n", "is not the URI of a predicate type"},
		{"a signature", good + "attestations: [{predicate_type: 'https://sigstore.dev/cosign/sign/v1'}]\n", "is that of a signature of the image, which require_signature asks for"},
		{"cosign's word", good + "attestations: [{type: spdx}]\n", "attestations[0].type: is called predicate_type here"},
		{"nobody", good + "attestations: [{predicate_type: spdx, signers: []}]\n", "attestations[0].signers: is an empty list, so nobody could have signed"},
		{"somebody unknown", named + "attestations: [{predicate_type: spdx, signers: [securty]}]\n", `line 2: attestations[0].signers[0]: "securty" is no trusted signer of this policy; the nearest is "security"`},
		{"an inline signer that is not there", good + "attestations: [{predicate_type: spdx, signers: [default/2]}]\n", `"default/2" is no`},
		{"twice", named + "attestations: [{predicate_type: spdx, signers: [qa, qa]}]\n", `"qa" is there twice`},
		{"more than there are", named + "attestations: [{predicate_type: spdx, signers: [qa], count: 2}]\n", "attestations[0].count: 2 is more than the 1 signers that are named"},
		{"more than there are at all", named + "attestations: [{predicate_type: spdx, count: 3}]\n", "attestations[0].count: 3 is more than the 2 trusted signers there are"},
		{"count 0", good + "attestations: [{predicate_type: spdx, count: 0}]\n", "attestations[0].count: 0 is outside of what can be asked for"},
		{"an age without a unit", good + "attestations: [{predicate_type: spdx, max_age: 7}]\n", "attestations[0].max_age: is 7, and must be a string; put it in quotes"},
		{"an age of words", good + "attestations: [{predicate_type: spdx, max_age: one week}]\n", `"one week" is not an age; write whole days, hours or minutes`},
		{"no age at all", good + "attestations: [{predicate_type: spdx, max_age: 0d}]\n", `"0d" is outside what an age can be, 1m to 3650d`},
		{"an age of ages", good + "attestations: [{predicate_type: spdx, max_age: 99999d}]\n", "is outside what an age can be"},
		{"from alone", good + "attestations: [{predicate_type: spdx, from: made_at}]\n", "attestations[0].from: goes with max_age, which is missing"},
		{"from elsewhere", good + "attestations: [{predicate_type: spdx, max_age: 1d, from: pushed_at}]\n", `"pushed_at" is none of signed_at, made_at`},
		{"subjects", good + "attestations: [{predicate_type: spdx, subjects: all}]\n", `"all" is none of image, every`},
		{"nothing at all", "require_signature: false\ntrusted_signers: [{type: registry}]\nattestations: []\n", "require_signature: is false, so the policy requires nothing"},
		{"nobody is trusted", "require_signature: false\nattestations: [{predicate_type: spdx}]\n", "an attestation is required and nobody is trusted"},

		{"licences of nothing", good + "contents: {licences: {denied: [GPL-*]}}\n", "contents.licences: is about bills of materials, and the policy requires none: add {predicate_type: spdx"},
		{"licences of a scan", scan + "contents: {licences: {denied: [GPL-*]}}\n", "contents.licences: is about bills of materials"},
		{"no licences", good + "attestations: [{predicate_type: spdx}]\ncontents: {licences: {unstated: allow}}\n", "names no licence"},
		{"any licence", good + "attestations: [{predicate_type: spdx}]\ncontents: {licences: {denied: ['*']}}\n", `"*" is any licence`},
		{"an expression", good + "attestations: [{predicate_type: spdx}]\ncontents: {licences: {denied: ['MIT OR ISC']}}\n", "is an expression; write each licence alone"},
		{"American", good + "contents: {licenses: {denied: [GPL-*]}}\n", "contents.licenses: is written licences here"},
		{"a scan for ever", good + "attestations: [{predicate_type: vuln}]\ncontents: {vulnerabilities: {maximum_severity: low}}\n", "attestations[0].max_age: is missing: contents.vulnerabilities judges this scan"},
		{"no severity", scan + "contents: {vulnerabilities: {unfixed: allow}}\n", "contents.vulnerabilities.maximum_severity: is missing"},
		{"critical", scan + "contents: {vulnerabilities: {maximum_severity: critical}}\n", `"critical" is none of none, negligible, low, medium, high`},
		{"VEX by a stranger", named + "attestations: [{predicate_type: vuln, max_age: 1d}]\ncontents: {vulnerabilities: {maximum_severity: low, vex: {signers: [nobody]}}}\n", `contents.vulnerabilities.vex.signers[0]: "nobody" is no trusted signer`},
		{"three judges", "trusted_signers: [{type: registry}]\nattestations: [{predicate_type: vuln, max_age: 1d, count: 3}]\ncontents: {vulnerabilities: {maximum_severity: low}}\n", "3 is more than the 2 that can be asked for"},
		{"a result", good + "attestations: [{predicate_type: test-result}]\ncontents: {tests: {result: FAILED}}\n", `"FAILED" is none of PASSED, WARNED`},
		{"no base image", good + "contents: {base_images: {allowed: []}}\n", "is an empty list, so no image could be built on"},
		{"a base image without a path", good + "contents: {base_images: {allowed: [debian]}}\n", "has no path"},
		{"a short digest", good + "contents: {base_images: {allowed: ['ghcr.io/a/b@sha256:00']}}\n", "is not a pattern of images"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := Parse([]byte(tt.yaml)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Parse = %+v, %v, want %s", p, err, tt.says)
			}
		})
	}
}

const twoSigners = `trusted_signers:
  - {type: keyless, issuer: https://accounts.example, subject: a}
  - {type: keyless, issuer: https://accounts.example, subject: b}
`

var decided = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time { t := decided.Add(-d); return &t }

// attested is an attestation of one type by a trusted signer.
func attested(predicateType string, edit ...func(*facts.InputAttestation)) facts.InputAttestation {
	a := facts.InputAttestation{Attestation: facts.Attestation{
		Signature: facts.Signature{
			ID: "sha256:01", SubjectDigest: "sha256:aa", Format: facts.FormatBundle, TrustRoot: "public-good", Principal: "https://accounts.example a",
			SignedAt: ago(time.Hour), Annotations: map[string]string{}, Timestamps: []facts.Timestamp{},
			Signer:       facts.Signer{Kind: facts.KindCertificate, Issuer: "https://accounts.example", Subject: "a", Claims: map[string]string{}},
			Transparency: []facts.LogEntry{{Log: "https://rekor.example", Proof: facts.ProofInclusion}},
		},
		PredicateType: predicateType, StatementSubjects: []facts.StatementSubject{}, Predicate: json.RawMessage("{}"),
	}, TrustedSigners: []string{"default/1"}}
	for _, e := range edit {
		e(&a)
	}
	return a
}

// loaded are policies by their parameters: to compile one takes longer than all that
// it is then asked.
type loaded map[string]*policy.Set

var policies = loaded{}

func (l loaded) load(t *testing.T, params []byte) (set *policy.Set, err error) {
	if l[string(params)] == nil {
		l[string(params)], err = policy.Load(t.Context(), policy.Source{Params: params})
	}
	return l[string(params)], err
}

// evaluate asks the rules about attestations, with the matches that Go computes.
func evaluate(t *testing.T, yaml string, list ...facts.InputAttestation) (allow bool, codes []string, until *time.Time) {
	t.Helper()
	p := mustParse(t, yaml)
	params, err := p.Params()
	if err != nil {
		t.Fatal(err)
	}
	set, err := policies.load(t, params)
	if err != nil {
		t.Fatal(err)
	}
	trust := []facts.TrustInfo{{Name: "public-good", TransparencyLog: true}}
	in := facts.NewInput(facts.Facts{}, facts.Frame{
		EvaluatedAt: decided, Request: facts.Request{Image: "ghcr.io/org/app:v1"}, Search: facts.Search{Complete: true}, Trust: trust,
	})
	in.Subject.Digest, in.Subject.Platforms = "sha256:aa", []facts.Platform{}
	in.Attestations = append(in.Attestations, list...)
	for _, r := range p.Requirements() {
		counting := false
		for _, a := range list {
			full := a.Attestation
			full.Projection = a.Projection
			counting = counting || len(r.Counts(full, a.TrustedSigners, trust, decided)) > 0
		}
		m := facts.Match{Requirement: r.Name, Signers: []string{}, Principals: []string{}, Digests: []string{"sha256:aa"}}
		if counting {
			m.Signers, m.Principals, m.Count = []string{"default/1"}, []string{"https://accounts.example a"}, 1
		}
		in.Matches = append(in.Matches, m)
	}
	got, err := set.Evaluate(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	codes = []string{}
	for _, v := range got.Violations {
		codes = append(codes, v.Code)
	}
	return got.Allow, codes, got.ValidUntil
}

// Go and Rego count the same attestations: Go to match them to signers, Rego to
// decide and to explain.
func TestRegoCountsAttestationsAlike(t *testing.T) {
	const head = "require_signature: false\n" + twoSigners
	const spdx = "https://spdx.dev/Document/v2.3"
	made := func(at *time.Time) func(*facts.InputAttestation) {
		return func(a *facts.InputAttestation) {
			a.Projection = &facts.Projection{Kind: facts.ProjectionSBOM, MadeAt: at}
		}
	}
	signed := func(at *time.Time) func(*facts.InputAttestation) {
		return func(a *facts.InputAttestation) { a.SignedAt = at }
	}
	by := func(names ...string) func(*facts.InputAttestation) {
		return func(a *facts.InputAttestation) { a.TrustedSigners = names }
	}
	unlogged := func(a *facts.InputAttestation) { a.Transparency = []facts.LogEntry{} }
	for _, tt := range []struct {
		name, demand string
		a            facts.InputAttestation
		code         string // "": it counts
	}{
		{"of the type", "{predicate_type: spdx}", attested(spdx), ""},
		{"of another type", "{predicate_type: cyclonedx}", attested(spdx), "attestation_missing"},
		{"of another version, by URI", "{predicate_type: 'https://spdx.dev/Document'}", attested(spdx), "attestation_missing"},
		{"by a stranger", "{predicate_type: spdx}", attested(spdx, by()), "attestation_signer_not_trusted"},
		{"by another trusted signer", "{predicate_type: spdx, signers: [default/1]}", attested(spdx, by("default/2")), "attestation_signer_not_trusted"},
		{"without a log entry", "{predicate_type: spdx}", attested(spdx, unlogged), "attestation_not_counted"},
		{"young enough", "{predicate_type: spdx, max_age: 61m}", attested(spdx), ""},
		{"just too old", "{predicate_type: spdx, max_age: 60m}", attested(spdx), "attestation_too_old"},
		{"of no known time", "{predicate_type: spdx, max_age: 10d}", attested(spdx, signed(nil)), "attestation_too_old"},
		{"signed a little ahead", "{predicate_type: spdx, max_age: 1h}", attested(spdx, signed(ago(-4*time.Minute))), ""},
		{"made long before it was signed", "{predicate_type: spdx, max_age: 1d, from: made_at}", attested(spdx, made(ago(48*time.Hour))), "attestation_too_old"},
		{"made when nobody says", "{predicate_type: spdx, max_age: 1d, from: made_at}", attested(spdx, made(nil)), "attestation_too_old"},
		{"made in the future, and signed before", "{predicate_type: spdx, max_age: 2h, from: made_at}", attested(spdx, made(ago(-1000*time.Hour))), ""},
		{"made in the future, and signed too long ago", "{predicate_type: spdx, max_age: 30m, from: made_at}", attested(spdx, made(ago(-1000*time.Hour))), "attestation_too_old"},
		{"made in the future, and nobody knows when signed", "{predicate_type: spdx, max_age: 10d, from: made_at}", attested(spdx, made(ago(-time.Hour)), signed(nil)), "attestation_too_old"},
		{"not understood", "{predicate_type: spdx, max_age: 1d, from: made_at}", attested(spdx), "attestation_too_old"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			yaml := head + "attestations: [" + tt.demand + "]\n"
			full := tt.a.Attestation
			full.Projection = tt.a.Projection
			trust := []facts.TrustInfo{{Name: "public-good", TransparencyLog: true}}
			if got := len(mustParse(t, yaml).Requirements()[0].Counts(full, tt.a.TrustedSigners, trust, decided)) > 0; got != (tt.code == "") {
				t.Errorf("Go counts it: %v", got)
			}
			want := []string{}
			if tt.code != "" {
				want = append(want, tt.code)
			}
			allow, codes, _ := evaluate(t, yaml, tt.a)
			if allow != (tt.code == "") || !slices.Equal(codes, want) {
				t.Errorf("allow %v, %v, want %v", allow, codes, want)
			}
		})
	}
}

// A source counts for whoever may sign by being trusted, not for whoever is named.
func TestSourcesOfAttestations(t *testing.T) {
	head := "require_signature: false\ntrusted_sources: ['https://github.com/org']\n" + twoSigners
	if allow, codes, _ := evaluate(t, head+"attestations: [{predicate_type: custom}]\n", attested("https://cosign.sigstore.dev/attestation/v1")); allow || !slices.Equal(codes, []string{"attestation_not_counted"}) {
		t.Errorf("without a source: allow %v, %v", allow, codes)
	}
	if allow, codes, _ := evaluate(t, head+"attestations: [{predicate_type: custom, signers: [default/1]}]\n", attested("https://cosign.sigstore.dev/attestation/v1")); !allow {
		t.Errorf("by name: %v", codes)
	}
}

// Parameters of other versions are none that are passed over.
func TestStrictAges(t *testing.T) {
	for _, body := range []string{`"7d"`, `0`, `1.5`, `1e3`, `315360001`, `null`} {
		var a Age
		if err := strictjson.Decode([]byte(body), 2, &a); err == nil && body != "null" {
			t.Errorf("%s is read as %s", body, a)
		}
	}
	for d, want := range map[time.Duration]string{7 * day: "7d", 36 * time.Hour: "36h", 90 * time.Minute: "90m", 61 * time.Second: "61s"} {
		if got := Age(d).String(); got != want {
			t.Errorf("%s is written as %s", d, got)
		}
	}
}
