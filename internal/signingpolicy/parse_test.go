package signingpolicy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/signet-policy/signet/bundles"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/verdict"
)

// Two public keys, of which nobody has the other half.
const (
	pem1 = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
`
	pem2 = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8ERkL/u6uoTy8D/a2SMYstlT/AfH
vTJzcI7McO0Emt8ZWtQwwVX093K6aLvYTwEwBDv0FodFBi0UT/TRXXGvNg==
-----END PUBLIC KEY-----
`
)

// indent puts a PEM into a YAML block.
func indent(pem string, by int) string {
	pad := strings.Repeat(" ", by)
	return pad + strings.ReplaceAll(strings.TrimSuffix(pem, "\n"), "\n", "\n"+pad)
}

var ignoreScope = cmp.Options{cmpopts.IgnoreUnexported(Policy{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(signers.Key{}, "PublicKey")}

func keys(t *testing.T, pem string) []signers.Key {
	t.Helper()
	k, err := signers.ParseKeys(pem)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// asking is a policy that asks for provenance, with these fields.
func asking(fields ...string) string {
	return good + "slsa:\n  require_attestation: true\n  " + strings.Join(fields, "\n  ") + "\n"
}

func mustParse(t *testing.T, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return p
}

// One policy in the three spellings that users have, and as JSON.
func TestThreeSpellings(t *testing.T) {
	spellings := map[string]string{
		"trusted_signers with type": `
signing_policy:
  mode: audit
  require_signature: true
  verify_transparency_log: false
  trusted_signers:
    - {type: keyless, issuer: "https://accounts.google.com", subject: "builder@example.com"}
    - {type: keyless, issuer: "https://token.actions.githubusercontent.com", subject_regex: "https://github.com/myorg/.*"}
    - type: public_key
      key: |
` + indent(pem1+pem2, 8) + `
  trusted_sources: ["git+https://GitHub.com/myorg.git"]
`,
		"trusted_keys with keyless": `
signing_policy:
  mode: audit
  verify_transparency_log: false
  trusted_keys:
    - keyless: true
      issuer: https://accounts.google.com
      subject: builder@example.com
    - keyless: true
      issuer: https://token.actions.githubusercontent.com
      subject_regex: https://github.com/myorg/.*
    - key: |
` + indent(pem1+pem2, 8) + `
  trusted_sources: ["github.com/myorg/"]
`,
		"the gateway plugin's": `
mode: audit
verification:
  require_signature: true
  verify_transparency_log: false
  offline_mode: false
slsa:
  require_attestation: false
  minimum_level: 1
  trusted_builders: []
  trusted_sources: ["https://github.com/myorg"]
cosign:
  path: ""
  timeout_seconds: 30
trusted_signers:
  - type: keyless
    oidc_issuer: https://accounts.google.com
    subject: builder@example.com
  - type: keyless
    oidc_issuer: https://token.actions.githubusercontent.com
    subject_regex: https://github.com/myorg/.*
  - type: public_key
    public_key: |
` + indent(pem1+pem2, 6) + "\n",
		"JSON with tabs": `{
	"signing_policy": {
		"mode": "audit",
		"require_signature": true,
		"verify_transparency_log": false,
		"threshold": 1,
		"trusted_signers": [
			{"type": "keyless", "issuer": "https://accounts.google.com", "subject": "builder@example.com"},
			{"type": "keyless", "issuer": "https://token.actions.githubusercontent.com", "subject_regex": "https://github.com/myorg/.*"},
			{"type": "public_key", "key": ` + fmt.Sprintf("%q", pem1+pem2) + `}
		],
		"trusted_sources": ["https://github.com/myorg"]
	}
}`,
	}
	want := &Policy{
		Name: "default", Mode: verdict.Audit, RequireSignature: true, Threshold: 1,
		Inline: []signers.Signer{
			{Name: "default/1", Type: signers.Keyless, Issuer: "https://accounts.google.com", Subject: "builder@example.com", Enabled: true},
			{Name: "default/2", Type: signers.Keyless, Issuer: "https://token.actions.githubusercontent.com", SubjectRegex: "https://github.com/myorg/.*", Enabled: true},
			{Name: "default/3", Type: signers.PublicKey, Keys: keys(t, pem1+pem2), Enabled: true},
		},
		TrustedSources: []string{"github.com/myorg"},
	}
	var canonical string
	for name, text := range spellings {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, text)
			if diff := cmp.Diff(want, p, ignoreScope); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			body, err := p.Canonical()
			if err != nil {
				t.Fatal(err)
			}
			if canonical == "" {
				canonical = string(body)
			}
			if diff := cmp.Diff(canonical, string(body)); diff != "" {
				t.Errorf("another canonical form:\n%s", diff)
			}
		})
	}
}

func TestCanonical(t *testing.T) {
	p := mustParse(t, `
name: release
images: ["ghcr.io/org/**", "quay.io/org/*"]
threshold: 2
trusted_signers:
  - {type: registry, names: [alice, bob]}
  - {type: keyless, issuer: "https://accounts.google.com", subject: "yes", images: ["ghcr.io/org/**"], not_before: 2026-01-01T00:00:00+01:00, expires_at: "2027-01-01T00:00:00Z"}
  - {type: kms, kms_key_ref: "hashivault://release", auto_rotate: true, signed_from: 2026-01-01T00:00:00Z, signed_until: 2026-02-01T00:00:00Z}
  - type: keyless
    issuer: https://token.actions.githubusercontent.com
    subject_regex: https://github.com/org/.*
    claims: {source_repository_ref: "refs/tags/v*", build_trigger: push}
    trust_roots: [public-good]
`)
	want := `signing_policy:
  name: release
  mode: enforce
  require_signature: true
  verify_transparency_log: true
  threshold: 2
  images:
    - ghcr.io/org/**
    - quay.io/org/*
  trusted_signers:
    - type: keyless
      issuer: https://accounts.google.com
      subject: "yes"
      images:
        - ghcr.io/org/**
      not_before: 2025-12-31T23:00:00Z
      expires_at: 2027-01-01T00:00:00Z
    - type: kms
      key_ref: hashivault://release
      auto_rotate: true
      signed_from: 2026-01-01T00:00:00Z
      signed_until: 2026-02-01T00:00:00Z
    - type: keyless
      issuer: https://token.actions.githubusercontent.com
      subject_regex: https://github.com/org/.*
      claims:
        build_trigger: push
        source_repository_ref: refs/tags/v*
      trust_roots:
        - public-good
    - type: registry
      names:
        - alice
        - bob
`
	body, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("canonical form (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(p, mustParse(t, string(body)), ignoreScope); diff != "" {
		t.Errorf("read back it is another policy:\n%s", diff)
	}
	// What a reference was resolved to stands beside it from then on.
	if !p.NeedsKMS() {
		t.Error("its kms signer has a key already")
	}
	if err := p.ResolveKMS(func(string) (string, error) { return pem1, nil }); err != nil {
		t.Fatal(err)
	}
	body, err = p.Canonical()
	if err != nil || !strings.Contains(string(body), "BEGIN PUBLIC KEY") {
		t.Errorf("resolved, the canonical form has no key: %v\n%s", err, body)
	}
	again := mustParse(t, string(body))
	if diff := cmp.Diff(p, again, ignoreScope); diff != "" {
		t.Errorf("resolved and read back it is another policy:\n%s", diff)
	}
	if again.NeedsKMS() || len(again.KMSKeys()) != 1 {
		t.Errorf("read back its kms signer has no key: %v", again.KMSKeys())
	}
}

// What is embedded for the documentation is what the code does.
func TestDefaultIsTheEmbeddedFile(t *testing.T) {
	if diff := cmp.Diff(Default(), mustParse(t, string(bundles.DefaultSigningPolicy)), ignoreScope); diff != "" {
		t.Errorf("bundles/default/signing_policy.yaml is another policy (-code +file):\n%s", diff)
	}
}

const good = "trusted_signers: [{type: registry}]\n"

// Threats 13, 14, 22: what is half said, unknown or impossible is a load error
// that names the line and the field.
func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"nothing", "", "line 1: the document is empty"},
		{"a comment", "# nothing\n", "line 1: "},
		{"null", "signing_policy:\n", "line 1: is nothing, and must be a mapping"},
		{"a list", "- a\n", "line 1: is a list, and must be a mapping"},
		{"a string", "enforce\n", "line 1: is the string \"enforce\", and must be a mapping"},
		{"no YAML", "mode: enforce\n  threshold: 1\n", "line 2: is not YAML: mapping values"},
		{"no JSON", `{"mode": "enforce"`, "is not YAML"},
		{"control characters", "mode: \x01\n", "line 1: is not YAML: control characters"},
		{"two documents", good + "---\n" + good, "a second document begins"},
		{"something behind", "signing_policy: {trusted_signers: [{type: registry}]}\nmore: 1\n", "line 2: more: there is no such field"},
		{"too large", good + "#" + strings.Repeat(" ", maxBytes), "larger than"},

		{"threat 14: unknown field", good + "treshold: 2\n", "line 2: treshold: there is no such field; there are"},
		{"threat 14: unknown field of a signer", "trusted_signers:\n  - {type: keyless, isuer: x}\n", "line 2: trusted_signers[0].isuer: there is no such field"},
		{"threat 14: unknown field of a section", good + "verification:\n  require_signatures: true\n", "line 3: verification.require_signatures: there is no such field"},
		{"a field in the wrong place", good + "minimum_level: 2\n", "line 2: minimum_level: belongs into slsa"},
		{"a gateway file", "plugins:\n  - name: x\n", "line 1: plugins: this is a plugin file of the gateway"},
		{"a field twice", "mode: enforce\nmode: audit\n" + good, "line 2: mode: is there twice"},
		{"a field of a signer twice", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    issuer: https://b.example\n", "line 4: trusted_signers[0].issuer: is there twice"},
		{"a field under two names", "trusted_signers:\n  - {type: keyless, issuer: https://a.example, oidc_issuer: https://b.example, subject: x}\n", "oidc_issuer: is given twice under two names"},
		{"a field in two sections", good + "require_signature: true\nverification:\n  require_signature: false\n", "line 4: verification.require_signature: is said by require_signature too"},
		{"the log in two sections", good + "verification: {verify_transparency_log: true}\nverify_transparency_log: false\n", "line 3: verify_transparency_log: is said by verification.verify_transparency_log too"},
		{"sources in two sections", good + "trusted_sources: [github.com/a]\nslsa: {trusted_sources: [github.com/b]}\n", "line 3: slsa.trusted_sources: is said by trusted_sources too"},
		{"an alias", "mode: &m enforce\nname: *m\n" + good, "line 2: name: is an alias"},
		{"an alias in a list", "images: [&a \"ghcr.io/org/**\", *a]\n" + good, "line 1: images[1]: is an alias"},
		{"a merge key", "trusted_signers:\n  - &a {type: registry}\n  - {<<: *a}\n", "merge keys are not read"},
		{"a key that is no string", "[a]: b\n" + good, "is not a field name"},

		{"invalid mode", good + "mode: permissive\n", `line 2: mode: "permissive" is none of enforce, audit, shadow, disabled`},
		{"mode in capitals", good + "mode: Enforce\n", `"Enforce" is none of`},
		{"mode a boolean", good + "mode: true\n", "line 2: mode: is true, and must be a string; put it in quotes"},
		{"yes is no boolean", good + "require_signature: yes\n", `line 2: require_signature: is the string "yes", and must be true or false`},
		{"True is no boolean", good + "require_signature: True\n", "is True, and must be true or false"},
		{"a quoted boolean", good + "verify_transparency_log: \"false\"\n", "must be true or false"},
		{"null for a boolean", good + "verify_transparency_log:\n", "is nothing, and must be true or false"},
		{"a custom tag", good + "mode: !mine enforce\n", "must be a string"},
		{"name with a slash", good + "name: a/b\n", `line 2: name: "a/b" is not a name`},
		{"name that begins with a dash", good + "name: -a\n", `name: "-a" is not a name`},
		{"name in capitals", good + "name: Release\n", `name: "Release" is not a name`},
		{"name that is too long", good + "name: " + strings.Repeat("a", 64) + "\n", "use at most 63"},
		{"empty name", good + "name: \"\"\n", `name: "" is not a name`},

		{"threat 22: threshold 0", good + "threshold: 0\n", "line 2: threshold: 0 signers would be nobody"},
		{"threat 22: threshold negative", good + "threshold: -1\n", "line 2: threshold: -1 signers would be nobody"},
		{"threat 22: more than there are", "threshold: 2\ntrusted_signers:\n  - {type: keyless, issuer: https://a.example, subject: x}\n", "line 1: threshold: 2 is more than the 1 trusted signers there are"},
		{"threat 22: several keys are one signer", "threshold: 2\ntrusted_keys:\n  - key: |\n" + indent(pem1+pem2, 6) + "\n", "threshold: 2 is more than the 1"},
		{"threat 22: more than are named", "threshold: 2\ntrusted_signers:\n  - {type: registry, names: [a]}\n", "threshold: 2 is more than the 1 trusted signers that are named"},
		{"threshold no number", good + "threshold: two\n", `threshold: is the string "two", and must be a whole number`},
		{"threshold with a point", good + "threshold: 1.5\n", "threshold: is 1.5, and must be a whole number"},
		{"threshold that is eight or ten", good + "threshold: 010\n", "threshold: is 010, and must be a whole number"},
		{"threshold in hexadecimal", good + "threshold: 0x1\n", "threshold: is 0x1, and must be a whole number"},
		{"threshold beyond all", good + "threshold: 99999999999\n", "must be a whole number"},

		{"nothing required", good + "require_signature: false\n", "require_signature: is false, so the policy requires nothing"},
		{"threat 13: nobody trusted", "mode: enforce\n", "trusted_signers: a signature is required and nobody is trusted"},
		{"threat 13: empty list", "trusted_signers: []\n", "line 1: trusted_signers: is an empty list"},
		{"threat 13: empty list of keys", "trusted_keys: []\n", "line 1: trusted_keys: is an empty list"},
		{"signers no list", "trusted_signers: {type: registry}\n", "line 1: trusted_signers: is a mapping, and must be a list"},
		{"both lists", good + "trusted_keys: [{keyless: true, issuer: https://a.example, subject: x}]\n", "line 2: trusted_keys: trusted_signers and trusted_keys are both there"},
		{"a signer that is a string", "trusted_signers: [registry]\n", `trusted_signers[0]: is the string "registry", and must be a mapping`},
		{"a key that is a string", "trusted_keys: [cosign.pub]\n", `trusted_keys[0]: is the string "cosign.pub", and must be a mapping`},
		{"no type", "trusted_signers:\n  - {issuer: https://a.example, subject: x}\n", "line 2: trusted_signers[0].type: is missing"},
		{"unknown type", "trusted_signers: [{type: gpg}]\n", `trusted_signers[0].type: "gpg" is none of keyless, public_key, kms, registry`},
		{"keyless flag among signers", "trusted_signers: [{keyless: true, issuer: https://a.example, subject: x}]\n", "belongs to trusted_keys"},
		{"type among keys", "trusted_keys: [{type: keyless, issuer: https://a.example, subject: x}]\n", "belongs to trusted_signers"},
		{"a key that is none", "trusted_keys: [{issuer: https://a.example, subject: x}]\n", "says neither keyless: true nor a key"},
		{"keyless false without a key", "trusted_keys: [{keyless: false}]\n", "says neither keyless: true nor a key"},
		{"threat 13: subject without issuer", "trusted_signers:\n  - type: keyless\n    subject: x\n", "line 2: trusted_signers[0].issuer: is missing; a subject alone"},
		{"threat 13: issuer without subject", "trusted_keys:\n  - keyless: true\n    issuer: https://a.example\n", "line 2: trusted_keys[0].subject: is missing; an issuer alone"},
		{"threat 13: subject and pattern", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    subject: x\n    subject_regex: y\n", "line 5: trusted_signers[0].subject_regex: stands beside subject"},
		{"threat 12: a pattern that closes its group", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    subject_regex: 'a)|(b'\n", "line 4: trusted_signers[0].subject_regex: is not a regular expression"},
		{"empty issuer", "trusted_signers: [{type: keyless, issuer: \"\", subject: x}]\n", "trusted_signers[0].issuer: is empty"},
		{"issuer no URL", "trusted_signers:\n  - type: keyless\n    issuer: accounts.google.com\n    subject: x\n", "line 3: trusted_signers[0].issuer: \"accounts.google.com\" is not a URL"},
		{"key on a keyless signer", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    subject: x\n    key: |\n" + indent(pem1, 6) + "\n", "line 5: trusted_signers[0].key: does not go with type keyless"},
		{"public_key without a key", "trusted_signers: [{type: public_key}]\n", "trusted_signers[0].key: is missing"},
		{"key that is a path", "trusted_signers:\n  - type: public_key\n    key: cosign.pub\n", "line 3: trusted_signers[0].key: is not PEM; paste the public key itself"},
		{"key that is private", "trusted_keys: [{key: \"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\"}]\n", "is a private key, which must stay secret"},
		{"names on a keyless signer", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, names: [a]}]\n", "names: belongs to {type: registry}"},
		{"images of a signer empty", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, images: []}]\n", "images: is an empty list"},
		{"images of a signer no pattern", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    subject: x\n    images: [nginx]\n", "line 5: trusted_signers[0].images: image pattern \"nginx\""},
		{"expired before it begins", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, not_before: 2027-01-01T00:00:00Z, expires_at: 2026-01-01T00:00:00Z}]\n", "expires_at: 2026-01-01T00:00:00Z is not after"},
		{"expires no time", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, expires_at: tomorrow}]\n", `expires_at: "tomorrow" is not a time`},
		{"expires a date", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, expires_at: 2027-01-01}]\n", "is not a time; write it as"},
		{"registry with an identity", "trusted_signers: [{type: registry, issuer: https://a.example}]\n", "it has no field but names"},
		{"registry with images", "trusted_signers: [{type: registry, images: [\"ghcr.io/org/**\"]}]\n", "it has no field but names"},
		{"registry twice", "trusted_signers: [{type: registry}, {type: registry}]\n", "trusted_signers[1]: {type: registry} is there twice"},
		{"registry of nobody", "trusted_signers: [{type: registry, names: []}]\n", "names: is an empty list"},
		{"registry with an inline name", "trusted_signers: [{type: registry, names: [default/1]}]\n", `names[0]: "default/1" is not the name of a registered signer`},
		{"registry with a name twice", "trusted_signers: [{type: registry, names: [a, a]}]\n", `names[1]: "a" is not the name of a registered signer, or is there twice`},

		{"no images", good + "images: []\n", "line 2: images: is an empty list"},
		{"images a string", good + "images: ghcr.io/org/**\n", "must be a list"},
		{"images no pattern", good + "images: [\"https://ghcr.io/org\"]\n", "line 2: images: image pattern \"https://ghcr.io/org\": has a scheme"},
		{"no sources", good + "trusted_sources: []\n", "line 2: trusted_sources: is an empty list"},
		{"no sources in slsa", good + "slsa: {trusted_sources: []}\n", "slsa.trusted_sources: is an empty list"},
		{"a source with a wildcard", good + "trusted_sources:\n  - https://github.com/org/*\n", "line 3: trusted_sources[0]: \"https://github.com/org/*\" has a wildcard"},
		{"a source that is a host", good + "trusted_sources: [https://github.com]\n", "is not a repository"},
		{"a source with a branch", good + "trusted_sources: [\"https://github.com/org/app@main\"]\n", "names a branch, tag or commit"},
		{"a source with a user", good + "trusted_sources: [\"git@github.com:org/app\"]\n", "is not a repository"},

		{"kms: a reference that is none", "trusted_signers:\n  - {type: kms, key_ref: \"gcpkms://projects/p\"}\n", "line 2: trusted_signers[0].key_ref: \"gcpkms://projects/p\" is not the name of a Google Cloud KMS key"},
		{"kms: the gateway's name", "trusted_signers: [{type: kms, kms_key_ref: \"awskms:///x\"}]\n", "trusted_signers[0].kms_key_ref: \"awskms:///x\" is not the name of an AWS KMS key"},
		{"kms: no reference", "trusted_signers: [{type: kms}]\n", "kms_key_ref: is missing"},
		{"kms: both names", "trusted_signers: [{type: kms, key_ref: \"hashivault://a\", kms_key_ref: \"hashivault://b\"}]\n", "kms_key_ref: is given twice under two names"},
		{"kms: a reference on a keyless signer", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    subject: x\n    key_ref: hashivault://x\n", "line 5: trusted_signers[0].key_ref: does not go with type keyless; use type kms"},
		{"kms: a reference on registered ones", "trusted_signers: [{type: registry, key_ref: \"hashivault://x\"}]\n", "it has no field but names"},
		{"auto_rotate of a key", "trusted_signers:\n  - type: public_key\n    auto_rotate: true\n    key: |\n" + indent(pem1, 6) + "\n", "line 3: trusted_signers[0].auto_rotate: does not go with type public_key; use type kms"},
		{"claims: unknown", "trusted_signers:\n  - type: keyless\n    issuer: https://a.example\n    subject: x\n    claims: {ref: main}\n", "line 5: trusted_signers[0].claims: \"ref\" is not a claim of a certificate; did you mean github_workflow_ref or source_repository_ref?"},
		{"claims: a list", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, claims: [a]}]\n", "claims: is a list, and must be a mapping of claims to values"},
		{"claims: a value that is no string", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, claims: {source_repository_identifier: 123}}]\n", "claims.source_repository_identifier: is 123, and must be a string; put it in quotes"},
		{"claims: empty value", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, claims: {build_trigger: \"\"}}]\n", "claims.build_trigger: is empty; write the value"},
		{"claims: twice", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, claims: {build_trigger: push, build_trigger: tag}}]\n", "claims.build_trigger: is there twice"},
		{"claims: an alias", "name: &a p\ntrusted_signers: [{type: keyless, issuer: https://a.example, subject: x, claims: {build_trigger: *a}}]\n", "claims.build_trigger: is an alias"},
		{"claims: a merge key", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, claims: {<<: {build_trigger: push}}}]\n", "merge keys are not read"},
		{"claims of a key", "trusted_signers:\n  - type: public_key\n    claims: {build_trigger: push}\n    key: |\n" + indent(pem1, 6) + "\n", "line 3: trusted_signers[0].claims: does not go with type public_key; use type keyless"},
		{"trust_roots empty", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, trust_roots: []}]\n", "trust_roots: is an empty list"},
		{"trust_roots twice the same", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, trust_roots: [a, a]}]\n", `trust_roots: has "a" twice`},
		{"signed_until before signed_from", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, signed_from: 2027-01-01T00:00:00Z, signed_until: 2026-01-01T00:00:00Z}]\n", "signed_until: 2026-01-01T00:00:00Z is before signed_from"},
		{"signed_until no time", "trusted_signers: [{type: keyless, issuer: https://a.example, subject: x, signed_until: soon}]\n", `signed_until: "soon" is not a time`},
		{"the name of an own signer: a number", "trusted_signers: [{name: '1', type: keyless, issuer: https://a.example, subject: x}]\n", "line 1: trusted_signers[0].name: \"1\" is a number"},
		{"the name of an own signer: no name", "trusted_signers: [{name: a/b, type: keyless, issuer: https://a.example, subject: x}]\n", "line 1: trusted_signers[0].name: \"a/b\" is not a name"},
		{"the name of an own signer: twice", "trusted_signers: [{name: a, type: keyless, issuer: https://a.example, subject: x}, {name: a, type: keyless, issuer: https://a.example, subject: y}]\n", "line 1: trusted_signers[1].name: \"a\" is the name of another signer"},
		{"the owner of an own signer", "trusted_signers: [{owner: a, type: keyless, issuer: https://a.example, subject: x}]\n", "owner: belongs to registered signers"},
		{"the note of an own signer", "trusted_keys: [{note: a, keyless: true, issuer: https://a.example, subject: x}]\n", "trusted_keys[0].note: belongs to registered signers"},
		{"an own signer that is disabled", "trusted_signers: [{enabled: false, type: keyless, issuer: https://a.example, subject: x}]\n", "enabled: belongs to registered signers"},
		{"exceptions: no list", good + "exceptions: unsigned\n", "line 2: exceptions: is the string"},
		{"exceptions: nothing", good + "exceptions: [{}]\n", `line 2: exceptions[0].images: is missing; name the images that it is for, such as ghcr.io/org/app
line 2: exceptions[0].codes: is missing; name the codes of the violations that it waives
line 2: exceptions[0].reason: is missing; say why
line 2: exceptions[0].owner: is missing; say who answers for it
line 2: exceptions[0].expires_at: is missing; say when it ends, such as 2027-01-31T00:00:00Z`},
		{"exceptions: empty lists", good + exceptionOf("images: []", "codes: []"), "line 4: exceptions[0].images: is an empty list, so the exception would be for no image"},
		{"exceptions: no codes", good + exceptionOf(`images: ["a.b/**"]`, "codes: []"), "line 5: exceptions[0].codes: is an empty list, so nothing would be waived"},
		{"exceptions: a bad pattern", good + exceptionOf(`images: [app]`, "codes: [unsigned]"), `line 4: exceptions[0].images[0]: image pattern "app": has no path`},
		{"exceptions: every image", good + exceptionOf(`images: ["a.b/**", "**", "*/org/app"]`, "codes: [unsigned]"), `line 4: exceptions[0].images[1]: "**" is for images of every registry; an exception is for few: write the registry, for example ghcr.io/org/**
line 4: exceptions[0].images[2]: "*/org/app" is for images of every registry`},
		{"exceptions: never", good + exceptionOf(`images: ["a.b/**"]`, "codes: [unsigned, search_incomplete]"), `line 5: exceptions[0].codes[1]: "search_incomplete" is never waived`},
		{"exceptions: twice", good + exceptionOf(`images: ["a.b/**"]`, "codes: [unsigned, unsigned]"), `line 5: exceptions[0].codes[1]: "unsigned" is there twice`},
		{"exceptions: a name", good + exceptionOf(`images: ["a.b/**"]`, "codes: [unsigned]", "name: mine"), "line 6: exceptions[0].name: is not given: exceptions are named by their position"},
		{"exceptions: no reason", good + "exceptions: [{images: ['a.b/**'], codes: [unsigned], reason: ' ', owner: o, expires_at: 2027-01-31T00:00:00Z}]\n", "line 2: exceptions[0].reason: is empty; fill it in"},
		{"exceptions: lines", good + "exceptions: [{images: ['a.b/**'], codes: [unsigned], reason: \"a\\nb\", owner: o, expires_at: 2027-01-31T00:00:00Z}]\n", "exceptions[0].reason: has a line break"},
		{"exceptions: a date", good + "exceptions: [{images: ['a.b/**'], codes: [unsigned], reason: r, owner: o, expires_at: 2027-01-31}]\n", `exceptions[0].expires_at: "2027-01-31" is not a time; write it as 2027-01-31T00:00:00Z`},
		{"shadow_of: not in that mode", good + "shadow_of: other\n", "line 2: shadow_of: belongs to mode: shadow, and the mode is enforce"},
		{"shadow_of: itself", good + "mode: shadow\nshadow_of: default\n", `line 3: shadow_of: "default" is this policy itself`},
		{"shadow_of: no name", good + "mode: shadow\nshadow_of: Other\n", `line 3: shadow_of: "Other" is not the name of a policy`},
		{"a bundle by its address", good + "bundle: oci://registry.example/policy\n", `line 2: bundle: "oci://registry.example/policy" is not the name of a bundle`},
		{"parameters without a bundle", good + "parameters: {days: 1}\n", "line 2: parameters: go with a bundle"},
		{"parameters: no mapping", good + "bundle: b\nparameters: [days]\n", "line 3: parameters: is a list, and must be a mapping"},
		{"parameters: a standard one", good + "bundle: b\nparameters:\n  days: 1\n  threshold: 2\n", "line 5: parameters.threshold: is a field of the policy itself"},
		{"parameters: registered signers", good + "bundle: b\nparameters: {registered_signers: true}\n", "line 3: parameters.registered_signers: follows from the signers; write {type: registry}"},
		{"parameters: twice", good + "bundle: b\nparameters: {a: {b: 1, b: 2}}\n", "line 3: "},
		{"parameters: an alias", good + "bundle: b\nparameters: {a: &x 1, b: *x}\n", "parameters.b: is an alias"},
		{"parameters: a merge key", good + "bundle: b\nparameters: {<<: {a: 1}}\n", "merge keys are not read"},
		{"parameters: a date", good + "bundle: b\nparameters: {since: 2026-01-01}\n", "line 3: parameters.since: is 2026-01-01, which YAML and JSON do not read alike; put it in quotes"},
		{"parameters: an octal number", good + "bundle: b\nparameters: {a: [010]}\n", "parameters.a.0: is 010, which YAML and JSON do not read alike"},
		{"parameters: no number", good + "bundle: b\nparameters: {a: .inf}\n", "parameters.a: is .inf, which"},
		{"parameters: a large number", good + "bundle: b\nparameters: {a: 9007199254740993}\n", "parameters.a: is 9007199254740993, which"},
		{"parameters: deep", good + "bundle: b\nparameters: {a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}\n", "nests deeper than 32"},
		{"later: default allow", good + "default: allow\n", "line 2: default: allow is enforced by a later version"},
		{"default of another kind", good + "default: maybe\n", `default: "maybe" is neither allow nor deny`},
		{"provenance and no builder", good + "slsa: {require_attestation: true}\n", "line 2: slsa.trusted_builders: is missing: provenance counts only when its builder is trusted"},
		{"a level and no builder", good + "slsa: {minimum_level: 1}\n", "line 2: slsa.trusted_builders: is missing"},
		{"a level and an empty list of builders", good + "slsa:\n  minimum_level: 2\n  trusted_builders: []\n", "line 3: slsa.trusted_builders: is missing"},
		{"level 2 beside false", good + "slsa: {require_attestation: false, minimum_level: 2, trusted_builders: [github.com/a/b]}\n", "line 2: slsa.minimum_level: 2 is wanted, and require_attestation is false"},
		{"builders, asked for or not is not said", good + "slsa:\n  trusted_builders:\n    - github.com/a/b\n", "line 4: slsa.require_attestation: is missing; write true"},
		{"parameters, asked for or not is not said", good + "slsa: {parameters: {a: b}}\n", "slsa.require_attestation: is missing"},
		{"parameters and no provenance", good + "slsa: {require_attestation: false, parameters: {a: b}}\n", "slsa.parameters: asks nothing while provenance is not required"},
		{"refs and no provenance", good + "slsa: {trusted_sources: [{repository: github.com/a/b, branch: main}]}\n", "slsa.trusted_sources: names refs of github.com/a/b"},
		{"level 4", good + "slsa: {minimum_level: 4, trusted_builders: [github.com/a/b]}\n", "slsa.minimum_level: 4 is not a level of SLSA 1.x, which has three"},
		{"a level in quotes", good + "slsa: {minimum_level: \"2\"}\n", "slsa.minimum_level: is the string \"2\", and must be a whole number"},
		{"a builder that is none", good + "slsa:\n  require_attestation: true\n  trusted_builders:\n    - x\n", "line 5: slsa.trusted_builders[0]: trusted builder \"x\": it should be https://host/owner/repo"},
		{"a builder at a branch's short name", asking("trusted_builders: [github.com/a/b@main]"), "@main should be a full ref (@refs/tags/v2.1.0) or a commit in full"},
		{"a builder without an address", asking("trusted_builders: [{version: \">=1.0.0\"}]"), "slsa.trusted_builders[0].builder: is missing"},
		{"a field of a builder", asking("trusted_builders: [{builder: github.com/a/b, versions: x}]"), "slsa.trusted_builders[0].versions: there is no such field; there are builder, commits, signers, trust_roots, version"},
		{"a version that is none", asking("trusted_builders: [{builder: github.com/a/b, version: \"2\"}]"), "version \"2\": \"2\" should be one of >=, >, =, <, <= and a version such as 2.0.0"},
		{"a version that is empty", asking("trusted_builders: [{builder: github.com/a/b, version: \"\"}]"), "slsa.trusted_builders[0].version: is empty"},
		{"a short commit", asking("trusted_builders: [{builder: github.com/a/b, commits: [abc]}]"), "commit \"abc\" should have 40 or 64"},
		{"a version of two lines", asking("trusted_builders: [{builder: github.com/a/b, version: \">=1.0.0,\\n<2.0.0\"}]"), "slsa.trusted_builders[0].version: has a line break"},
		{"a trust root without a name", asking("trusted_builders: [{builder: github.com/a/b, trust_roots: [\"\"]}]"), "slsa.trusted_builders[0].trust_roots[0]: is empty"},
		{"no commits", asking("trusted_builders: [{builder: github.com/a/b, commits: []}]"), "slsa.trusted_builders[0].commits: is an empty list, which nothing meets"},
		{"a signer that is nobody", asking("trusted_builders: [{builder: https://tekton.dev/chains/v2, signers: [other/1]}]"), "slsa.trusted_builders[0].signers: \"other/1\" is no trusted signer of this policy; its own are named default/1"},
		{"no sources of builds", asking("trusted_builders: [github.com/a/b]", "trusted_sources: []"), "slsa.trusted_sources: is an empty list"},
		{"a source with a wildcard in slsa", asking("trusted_builders: [github.com/a/b]", "trusted_sources: [\"github.com/a/*\"]"), "has a wildcard"},
		{"a source with a ref", asking("trusted_builders: [github.com/a/b]", "trusted_sources: [github.com/a/b@refs/heads/main]"), "refs have fields of their own"},
		{"a ref that is a branch", asking("trusted_builders: [github.com/a/b]", "trusted_sources: [{repository: github.com/a/b, ref: main}]"), "it should be a full ref, refs/"},
		{"no branch", asking("trusted_builders: [github.com/a/b]", "trusted_sources: [{repository: github.com/a/b, branch: []}]"), "slsa.trusted_sources[0].branch: is an empty list"},
		{"branches", asking("trusted_builders: [github.com/a/b]", "trusted_sources: [{repository: github.com/a/b, branches: [main]}]"), "branches: is called branch, and takes a list too"},
		{"a source of no repository", asking("trusted_builders: [github.com/a/b]", "trusted_sources: [{branch: main}]"), "slsa.trusted_sources[0].repository: is missing"},
		{"a build parameter of two meanings", asking("trusted_builders: [github.com/a/b]", "parameters: {a: {b: 0o17}}"), "slsa.parameters.a.b: is 0o17, which YAML and JSON do not read alike"},
		{"build parameters that are a list", asking("trusted_builders: [github.com/a/b]", "parameters: [a]"), "slsa.parameters: is a list, and must be a mapping of the build's parameters"},
		{"level negative", good + "slsa: {minimum_level: -1}\n", "-1 is not a level"},
		{"no tool: cosign.path", good + "cosign:\n  path: /usr/bin/cosign\n", "line 3: cosign.path: has no use, because Signet verifies by itself"},
		{"no tool: an unknown field", good + "cosign: {args: [\"--insecure\"]}\n", "cosign.args: there is no such field"},
		{"offline mode", good + "verification: {offline_mode: true}\n", "is not the policy's to say; set offline: true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Parse([]byte(tt.text))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("Parse = %+v, %v, want ErrInvalid", p, err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse says\n%v\nwant\n%s", err, tt.want)
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "line ") {
					t.Errorf("%q does not begin with a line number", line)
				}
			}
			if p != nil {
				t.Errorf("a policy came with the error: %+v", p)
			}
		})
	}
}

func TestTooManyPatternsWithoutPrefix(t *testing.T) {
	text := "trusted_signers:\n"
	for i := range signers.MaxBarePatterns + 1 {
		text += fmt.Sprintf("  - {type: keyless, issuer: https://a.example, subject_regex: '.*@a%d.example'}\n", i)
	}
	if _, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) || !strings.HasPrefix(err.Error(), "line 2: ") || !strings.Contains(err.Error(), "101 patterns") {
		t.Errorf("Parse = %v, want it to count the patterns", err)
	}
}

// Values that ask for nothing are let pass, whichever version enforces them.
func TestInertValues(t *testing.T) {
	mustParse(t, good+`
default: deny
attestations: []
exceptions: []
slsa: {require_attestation: false, minimum_level: 0, trusted_builders: [], parameters: {}}
cosign: {path: "", timeout_seconds: 30}
verification: {offline_mode: false}
`)
	mustParse(t, good+"slsa: {require_attestation: false, minimum_level: 1}\n")
	mustParse(t, good+"slsa: {minimum_level: 0}\nattestations:\nexceptions:\n")
	mustParse(t, "trusted_signers:\n  - {type: registry, key_ref: \"\"}\n")
	mustParse(t, "trusted_signers:\n  - {type: keyless, issuer: https://a.example, subject: x, kms_key_ref: \"\", claims: {}}\n")
}

// All mistakes are told at once, in the order of their lines.
func TestEveryMistakeIsTold(t *testing.T) {
	_, err := Parse([]byte(`mode: permissive
threshold: two
trusted_signers:
  - type: keyless
    subject: x
    images: [nginx]
  - type: kms
unknown: 1
`))
	want := `line 1: mode: "permissive" is none of enforce, audit, shadow, disabled
line 2: threshold: is the string "two", and must be a whole number
line 4: trusted_signers[0].issuer: is missing; a subject alone would be trusted from any issuer
line 6: trusted_signers[0].images: image pattern "nginx": has no path; names are host[:port]/path: write docker.io/library/nginx
line 7: trusted_signers[1].kms_key_ref: is missing; write gcpkms://, awskms://, azurekms:// or hashivault:// and the key
line 8: unknown: there is no such field; there are `
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Parse says\n%v\nwant\n%s…", err, want)
	}
}

// The configuration file holds the policy as a node among others; its lines are
// those of that file.
func TestFromNode(t *testing.T) {
	var file struct {
		SigningPolicy yaml.Node `yaml:"signing_policy"`
	}
	text := "log: {level: info}\n\nsigning_policy:\n  trusted_signers: [{type: registry}]\n  threshold: 0\n"
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	if _, err := FromNode(&file.SigningPolicy); err == nil || !strings.HasPrefix(err.Error(), "line 5: threshold: ") {
		t.Errorf("FromNode = %v, want line 5", err)
	}
	if _, err := FromNode(&yaml.Node{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("FromNode of nothing = %v, want ErrInvalid", err)
	}
	if _, err := FromNode(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("FromNode(nil) = %v, want ErrInvalid", err)
	}
}

func TestApplies(t *testing.T) {
	some := mustParse(t, good+"images: [\"GHCR.io/org/**\"]\n")
	for name, want := range map[string]bool{"ghcr.io/org/app": true, "ghcr.io:443/org/a/b": true, "ghcr.io/org-evil/app": false, "": false} {
		if got := some.Applies(name); got != want {
			t.Errorf("%q: applies %v, want %v", name, got, want)
		}
		if !Default().Applies(name) {
			t.Errorf("%q: a policy without images does not apply", name)
		}
	}
}

func TestInForce(t *testing.T) {
	registered := []signers.Signer{{Name: "alice"}, {Name: "bob"}}
	names := func(list []signers.Signer) []string {
		var out []string
		for _, s := range list {
			out = append(out, s.Name)
		}
		return out
	}
	const inline = "trusted_signers:\n  - {type: keyless, issuer: https://a.example, subject: x}\n"
	for text, want := range map[string][]string{
		good:   {"alice", "bob"},
		inline: {"default/1"},
		inline + "  - {type: registry, names: [bob, carol]}\n":               {"default/1", "bob"},
		"name: strict\n" + inline + "  - {type: registry}\n":                 {"strict/1", "alice", "bob"},
		"trusted_signers:\n  - {type: registry, names: [nobody-registered]}": nil,
	} {
		if diff := cmp.Diff(want, names(mustParse(t, text).InForce(registered))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestOneOff(t *testing.T) {
	p, err := OneOff(keys(t, pem1+pem2), "https://accounts.google.com", "dev@example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	// Each key is a signer of its own, and keys need no log entry.
	want := &Policy{
		Name: OneOffName, Mode: verdict.Enforce, RequireSignature: true, Threshold: 1,
		Inline: []signers.Signer{
			{Name: "one-off/1", Type: signers.PublicKey, Keys: keys(t, pem1), Enabled: true},
			{Name: "one-off/2", Type: signers.PublicKey, Keys: keys(t, pem2), Enabled: true},
			{Name: "one-off/3", Type: signers.Keyless, Issuer: "https://accounts.google.com", Subject: "dev@example.com", Enabled: true},
		},
	}
	if diff := cmp.Diff(want, p, ignoreScope); diff != "" {
		t.Errorf("OneOff (-want +got):\n%s", diff)
	}
	if _, err := OneOff(nil, "", "", ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("nobody: %v, want ErrInvalid", err)
	}
	if _, err := OneOff(nil, "https://accounts.google.com", "", ""); !errors.Is(err, ErrInvalid) {
		t.Errorf("an issuer alone: %v, want ErrInvalid", err)
	}
}

// Whatever the bytes: no panic, an error or a policy, and a policy that its own
// canonical form gives again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("signing_policy:\n  threshold: 2\n  trusted_signers:\n    - {type: keyless, issuer: https://a.example, subject_regex: 'a.*'}\n    - {type: registry, names: [a, b]}\n"))
	f.Add([]byte("trusted_keys:\n  - key: |\n" + indent(pem1, 6) + "\nslsa: {trusted_sources: [github.com/a]}\n"))
	f.Add([]byte(`{"signing_policy": {"images": ["ghcr.io/**"], "trusted_signers": [{"type": "registry"}]}}`))
	f.Add([]byte("trusted_signers:\n  - {type: kms, key_ref: 'awskms:///alias/a', auto_rotate: true}\n  - {type: keyless, issuer: https://a.example, subject: x, claims: {build_trigger: '*'}, trust_roots: [a], signed_until: 2027-01-01T00:00:00Z}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte(wholeSLSA))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := Parse(body)
		if err != nil {
			if p != nil || !errors.Is(err, ErrInvalid) {
				t.Fatalf("Parse = %+v, %v", p, err)
			}
			return
		}
		if p.Threshold < 1 || p.RequireSignature && len(p.Inline) == 0 && !p.UseRegistered || !p.RequireSignature && (p.SLSA == nil || !p.SLSA.Required) {
			t.Fatalf("a policy that asks for nothing: %+v", p)
		}
		text, err := p.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("the canonical form does not read back: %v\n%s", err, text)
		}
		if diff := cmp.Diff(p, again, ignoreScope); diff != "" {
			t.Fatalf("the canonical form is another policy:\n%s\n%s", diff, text)
		}
	})
}
