package facts

import (
	"encoding/json"
	"time"
)

// InputSchema names the version of the document that policies read.
const InputSchema = "signet/input/v1"

// UnmatchedSchema marks a document that shows strangers' predicates
// (signet facts --show-unmatched). It is not accepted as a fixture.
const UnmatchedSchema = "signet/input/v1+unmatched"

// Input is the document that Rego sees as `input`: facts and the frame around
// them. Lists are always present. The JSON Schema rego/schemas/input.json is
// generated from this type.
type Input struct {
	Schema string `json:"schema"`
	// EvaluatedAt is the only time there is: RFC 3339, UTC.
	EvaluatedAt  time.Time          `json:"evaluated_at"`
	Request      Request            `json:"request"`
	Subject      Subject            `json:"subject"`
	Search       Search             `json:"search"`
	Signatures   []InputSignature   `json:"signatures"`
	Attestations []InputAttestation `json:"attestations"`
	// Matches says per requirement which signers are met, computed in Go.
	Matches    []Match     `json:"matches"`
	Rejections []Rejection `json:"rejections"`
	Trust      []TrustInfo `json:"trust"`
}

// Request is what was asked and by whom, as far as a policy may know it.
type Request struct {
	// Image as it was asked for, to the letter.
	Image string `json:"image"`
	// Context holds only keys that the policy set declares.
	Context map[string]string `json:"context"`
	Roles   []string          `json:"roles"`
	// Platform is the one that was asked for, os/architecture[/variant]; absent where
	// none was.
	Platform string `json:"platform,omitempty"`
	// PlatformDigest is the digest of that platform's manifest; absent where the
	// index has none of that name, or several.
	PlatformDigest string `json:"platform_digest,omitempty"`
}

// Search tells how the search for evidence went.
type Search struct {
	// Complete is false when something that a retry may mend, or a count limit,
	// kept us from seeing everything. "Not signed" needs a complete search.
	Complete     bool     `json:"complete"`
	Repositories []string `json:"repositories"`
	// ReferrersAPI, FallbackTag and CosignTags are one of "found", "empty",
	// "unsupported", "failed", "not_asked".
	ReferrersAPI string `json:"referrers_api"`
	FallbackTag  string `json:"fallback_tag"`
	CosignTags   string `json:"cosign_tags"`
	// Items counts the pieces of evidence that were fetched.
	Items    int       `json:"items"`
	Problems []Problem `json:"problems"`
}

// Problem is one thing that went wrong while searching.
type Problem struct {
	Code    string `json:"code"`
	Where   string `json:"where"`
	Message string `json:"message"`
}

// InputSignature is a verified signature and the trusted signers it matches.
type InputSignature struct {
	Signature
	TrustedSigners []string `json:"trusted_signers"`
}

// InputAttestation is a verified attestation and the trusted signers it
// matches. Predicate, Projection and Provenance are null unless it matched one, or
// its builder is one that the policy trusts.
type InputAttestation struct {
	Attestation
	TrustedSigners []string `json:"trusted_signers"`
	// Projection is what a predicate of a known type says, in the one shape of its
	// kind; projection_error says why there is none. Both stand for the fact's own
	// fields, and are withheld as the predicate is.
	Projection *Projection `json:"projection"`
	// Provenance is the one shape of all SLSA provenance versions. It stands for the
	// fact's own field, and is withheld as the predicate is.
	Provenance *Provenance `json:"provenance"`
	// BuilderProfile is the profile that fits the provenance, null for none.
	BuilderProfile *string `json:"builder_profile"`
	// Build is what the provenance proves; absent where there is none.
	Build *Build `json:"build,omitempty"`
}

// Provenance is SLSA provenance of any version in one shape
// (https://slsa.dev/spec/v1.0/provenance). These are the words of whoever signed
// them: only the certificate says who built. What the predicate leaves out is "",
// {}, [] or null.
type Provenance struct {
	// SLSAVersion is "v0.1", "v0.2" or "v1", as the predicate type ends.
	SLSAVersion  string `json:"slsa_version"`
	BuilderID    string `json:"builder_id"`
	BuildType    string `json:"build_type"`
	Source       Source `json:"source"`
	InvocationID string `json:"invocation_id"`
	// Parameters are the build's, in the form of its build type.
	Parameters json.RawMessage `json:"parameters"`
	// Materials are what the build read: materials, or resolvedDependencies.
	Materials []Material `json:"materials"`
}

// Source is what was built, as far as the build type says which field that is.
type Source struct {
	// URI is the repository's address, without "git+" and without "@ref".
	URI string `json:"uri"`
	// Ref is a full Git ref such as "refs/tags/v1.2.3".
	Ref string `json:"ref"`
	// Digest is by algorithm, as the builder names it: "sha1", "gitCommit".
	Digest map[string]string `json:"digest"`
}

// Material is one resolved dependency of a build.
type Material struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// Match is one requirement's largest one-to-one assignment between distinct
// principals and signer entries.
type Match struct {
	// Requirement is "signature", "group:NAME" for a group of signers, or the name of a
	// required attestation.
	Requirement string `json:"requirement"`
	// SubjectDigest is the platform's whose own signatures were matched; absent for
	// the image as it was asked for.
	SubjectDigest string `json:"subject_digest,omitempty"`

	Signers    []string `json:"signers"`
	Principals []string `json:"principals"`
	Count      int      `json:"count"`
	// Digests are those whose attestations count. A requirement that is to be met for
	// every platform has a match for each, with its digest alone. Absent for the
	// signature requirement and groups.
	Digests []string `json:"digests,omitempty"`
}

// TrustInfo tells about a trust root in use.
type TrustInfo struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	// Age is in whole seconds since the root was last refreshed, 0 for a root
	// from a file: files are as old as their owner leaves them.
	Age int64 `json:"age"`
	// TransparencyLog is false for a root that has no log at all, so that no
	// signature under it can have a log entry.
	TransparencyLog bool `json:"transparency_log"`
}
