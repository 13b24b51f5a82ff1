package attest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/verdict"
)

const (
	// PredicateType is that of the summaries that are made here.
	PredicateType = "https://slsa.dev/verification_summary/v1"
	// StatementType is in-toto's Statement v1
	// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md).
	StatementType = "https://in-toto.io/Statement/v1"
	// slsaVersion is the version of SLSA whose levels are meant.
	slsaVersion = "1.1"
	// buildLevel precedes the number of a level of SLSA's build track.
	buildLevel = "SLSA_BUILD_LEVEL_"
	// highest level of the build track.
	highest = 3
)

// Codes of the reasons why a verdict is not attested.
const (
	CodeUnknown     = "not_attested_unknown"      // could not find out
	CodeNotEnforced = "not_attested_not_enforced" // audit mode lets it pass, or nothing was evaluated
	CodeExcepted    = "not_attested_excepted"     // an exception waived something
	CodeGrace       = "not_attested_grace"        // decided under a state that could not be confirmed
	CodeIncomplete  = "not_attested_incomplete"   // the verdict does not say what a summary must
	CodeNotSigned   = "not_attested_not_signed"   // the key could not sign
)

// The statement as it is signed. Field names are the specification's.
type (
	statement struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     summary    `json:"predicate"`
	}
	resource struct {
		URI    string            `json:"uri,omitempty"`
		Name   string            `json:"name,omitempty"`
		Digest map[string]string `json:"digest"`
	}
	summary struct {
		Verifier           verifier   `json:"verifier"`
		TimeVerified       string     `json:"timeVerified"`
		ResourceURI        string     `json:"resourceUri"`
		Policy             resource   `json:"policy"`
		InputAttestations  []resource `json:"inputAttestations"`
		VerificationResult string     `json:"verificationResult"`
		VerifiedLevels     []string   `json:"verifiedLevels"`
		SLSAVersion        string     `json:"slsaVersion"`
	}
	verifier struct {
		ID      string            `json:"id"`
		Version map[string]string `json:"version,omitempty"`
	}
)

// Summarize gives what a verdict says under the verifier's name, or the reason why
// it says nothing. It reads nothing but the verdict.
func Summarize(v *verdict.Verdict, verifierID string) (*Summary, *verdict.Reason) {
	if why := silent(v); why != nil {
		return nil, why
	}
	digest, ok := subjectOf(v)
	if !ok {
		return nil, reason(CodeIncomplete, "The verdict names no SHA-256 digest of what was verified, so no summary can be about it.",
			"Ask about an image in a registry or a layout.")
	}
	policy, ok := policyOf(v, verifierID)
	if !ok {
		return nil, reason(CodeIncomplete, "The verdict does not say whom its policies trusted, as those of earlier versions did not.",
			"Ask for a new verdict (refresh).")
	}
	s := &Summary{
		Result: verdict.AttestedPassed, VerifierID: verifierID, Build: v.Build, TimeVerified: v.EvaluatedAt.UTC(), ResourceURI: v.Pinned,
		Digest: digest, Policy: policy, Inputs: inputs(v),
	}
	if v.Decision != verdict.Allow {
		// "or 'FAILED' if policy verification failed"
		s.Result, s.VerifiedLevels = verdict.AttestedFailed, []string{verdict.AttestedFailed}
		return s, nil
	}
	// A level is "the highest level of each track": it implies those below.
	s.VerifiedLevels = []string{fmt.Sprintf("%s%d", buildLevel, min(max(v.SLSA.Level, 0), highest))}
	return s, nil
}

// silent is why a verdict is not attested at all, nil where it is.
func silent(v *verdict.Verdict) *verdict.Reason {
	has := func(mode verdict.Mode) bool {
		return slices.ContainsFunc(v.Policies, func(p verdict.PolicyVerdict) bool { return p.Mode == mode })
	}
	switch {
	case slices.ContainsFunc(v.Warnings, func(r verdict.Reason) bool { return r.Rule == "engine" && r.Code == codeGrace }):
		return reason(CodeGrace, "The verdict rests on the last known state, which could not be confirmed, so it is not attested.",
			"Ask again when the store is back.")
	case v.Decision == verdict.Deny:
		if len(v.Policies) == 0 {
			return reason(CodeNotEnforced, "No policy speaks of the image, so there is nothing that it could have failed.", "Write a policy whose images match it.")
		}
		return nil // FAILED: what is denied in audit mode too
	case v.Decision != verdict.Allow:
		return reason(CodeUnknown, "It could not be found out whether the image meets the policy, so neither is attested.",
			"Ask again; the reasons of the verdict say what was missing.")
	case len(v.Exceptions) > 0:
		names := make([]string, 0, len(v.Exceptions))
		for _, e := range v.Exceptions {
			names = append(names, e.Name)
		}
		return reason(CodeExcepted, fmt.Sprintf("The image is allowed by way of the exception %s, which is not to have met the policy.", strings.Join(names, ", ")),
			"Give the image what the policy asks for.")
	case !v.Allowed:
		return reason(CodeIncomplete, "The verdict contradicts itself: it allows, and does not.", "Report this; the verdict's id helps.")
	case !has(verdict.Enforce) && has(verdict.Audit):
		return reason(CodeNotEnforced, "The policies are in audit mode, which lets every image pass, so passing is not attested.", "Set the mode to enforce.")
	case !has(verdict.Enforce):
		return reason(CodeNotEnforced, "No policy was enforced, so there is nothing that the image could have met.", "Set a policy's mode to enforce.")
	}
	return nil
}

// codeGrace is the engine's warning about the last known state, see engine.ReasonGrace.
const codeGrace = "last_known_state"

func reason(code, message, remediation string) *verdict.Reason {
	return &verdict.Reason{Code: code, Message: message, Remediation: remediation, Rule: "attest"}
}

// subjectOf is the digest, in hex, that the verdict is about: that of the pinned
// reference, which is the platform's where only the platform is signed.
func subjectOf(v *verdict.Verdict) (string, bool) {
	digest := v.Pinned
	if i := strings.LastIndexByte(digest, '@'); i >= 0 {
		digest = digest[i+1:]
	}
	return sha256Hex(digest)
}

// sha256Hex takes "sha256:" off a digest of 64 lower-case hex digits.
func sha256Hex(digest string) (string, bool) {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	return hex, ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// policyOf names the policies that a summary is about: those that were enforced,
// or, where none was, those that denied in audit mode.
func policyOf(v *verdict.Verdict, verifierID string) (verdict.AttestedPolicy, bool) {
	type named struct {
		Name          string `json:"name"`
		Digest        string `json:"digest"`
		ParamsDigest  string `json:"params_digest"`
		SignersDigest string `json:"signers_digest"`
	}
	var list []named
	var names []string
	for _, mode := range []verdict.Mode{verdict.Enforce, verdict.Audit} {
		for _, p := range v.Policies {
			if p.Mode == mode {
				if p.SignersDigest == "" {
					return verdict.AttestedPolicy{}, false
				}
				list = append(list, named{p.Name, p.Digest, p.ParamsDigest, p.SignersDigest})
				names = append(names, url.PathEscape(p.Name))
			}
		}
		if len(list) > 0 {
			break
		}
	}
	slices.SortFunc(list, func(a, b named) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(names)
	body, err := facts.Canonical(list)
	if err != nil || len(list) == 0 {
		return verdict.AttestedPolicy{}, false
	}
	return verdict.AttestedPolicy{URI: strings.TrimRight(verifierID, "/") + "/policies/" + strings.Join(names, "+"), Digest: facts.Digest(body)}, true
}

// inputs are the digests, in hex, of the evidence that met the requirements of
// enforced policies: "the collection of attestations that were used".
func inputs(v *verdict.Verdict) []string {
	list := []string{}
	for _, p := range v.Policies {
		if p.Mode != verdict.Enforce {
			continue
		}
		for _, s := range p.SatisfiedBy {
			for _, id := range s.Facts {
				if hex, ok := sha256Hex(id); ok {
					list = append(list, hex)
				}
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Summary is what is to be signed.
type Summary struct {
	// Result is verdict.AttestedPassed or verdict.AttestedFailed.
	Result     string
	VerifierID string
	// Build is the verifier's own version.
	Build        string
	TimeVerified time.Time
	// ResourceURI is the image by name and digest, or the digest alone.
	ResourceURI string
	// Digest is the subject's SHA-256 in hex.
	Digest         string
	Policy         verdict.AttestedPolicy
	VerifiedLevels []string
	// Inputs are SHA-256 digests in hex.
	Inputs []string
}

// Statement is the in-toto statement, as the bytes that are signed: the same for
// the same verdict.
func (s *Summary) Statement() ([]byte, error) {
	subject := resource{Digest: map[string]string{"sha256": s.Digest}}
	if name, _, ok := strings.Cut(s.ResourceURI, "@"); ok {
		subject.Name = name
	}
	policy, ok := sha256Hex(s.Policy.Digest)
	if !ok {
		return nil, fmt.Errorf("attest: the policy's digest %q is no SHA-256", s.Policy.Digest)
	}
	st := statement{
		Type: StatementType, Subject: []resource{subject}, PredicateType: PredicateType,
		Predicate: summary{
			Verifier:     verifier{ID: s.VerifierID, Version: map[string]string{"signet": s.Build}},
			TimeVerified: s.TimeVerified.Format(time.RFC3339Nano), ResourceURI: s.ResourceURI,
			Policy:            resource{URI: s.Policy.URI, Digest: map[string]string{"sha256": policy}},
			InputAttestations: []resource{}, VerificationResult: s.Result, VerifiedLevels: s.VerifiedLevels, SLSAVersion: slsaVersion,
		},
	}
	for _, hex := range s.Inputs {
		st.Predicate.InputAttestations = append(st.Predicate.InputAttestations, resource{Digest: map[string]string{"sha256": hex}})
	}
	return facts.Canonical(st)
}
