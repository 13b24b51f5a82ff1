package facts

import (
	"encoding/json"
	"time"
)

// Signer kinds.
const (
	KindCertificate = "certificate"
	KindKey         = "key"
)

// Formats in which a signature or attestation is found in the wild.
const (
	FormatBundle       = "sigstore-bundle"      // Sigstore bundle v0.1 to v0.3
	FormatSimple       = "cosign-simplesigning" // cosign .sig: payload and layer annotations
	FormatCosignDSSE   = "cosign-dsse"          // cosign .att: DSSE envelope and layer annotations
	CosignSignV1       = "https://sigstore.dev/cosign/sign/v1"
	ProofInclusion     = "inclusion" // Merkle inclusion proof with a verified checkpoint
	ProofPromise       = "promise"   // signed entry timestamp (SET)
	StatementMediaType = "application/vnd.in-toto+json"
)

// Signature is one verified signature over the subject. Every field names what
// was checked for it; see docs/design.md, "Every field of a fact".
type Signature struct {
	// ID names the evidence: "sha256:<hex>" over the bundle bytes, or over the
	// old format's media type, payload digest and annotations.
	ID string `json:"id"`
	// SubjectDigest is the digest that this signature speaks of: the index, one
	// of its platforms, or the artifact.
	SubjectDigest string `json:"subject_digest"`
	Format        string `json:"format"`
	// SignedAt is the earliest verified time, nil when no time was verified.
	SignedAt *time.Time `json:"signed_at"`
	// TrustRoot is the name of the root that the signature was verified with; "" for
	// one by a key that has no log entry or timestamp of any root.
	TrustRoot string `json:"trust_root"`
	// Annotations are signed: subject[0].annotations of a cosign sign/v1
	// statement, "optional" of a simplesigning payload.
	Annotations map[string]string `json:"annotations"`
	// Principal is who really signed: "<issuer> <subject>", or the key's
	// fingerprint. Thresholds count principals.
	Principal    string      `json:"principal"`
	Signer       Signer      `json:"signer"`
	Transparency []LogEntry  `json:"transparency"`
	Timestamps   []Timestamp `json:"timestamps"`
}

// Signer is the certificate identity or the key behind a signature.
type Signer struct {
	// Kind is KindCertificate or KindKey.
	Kind string `json:"kind"`
	// Issuer is the OIDC issuer of a Fulcio certificate (extension .1.8, which
	// must agree with .1.1); "" for a key.
	Issuer string `json:"issuer"`
	// Subject is the certificate's one SAN; "" for a key.
	Subject string `json:"subject"`
	// Claims are the Fulcio extensions by their snake-case names
	// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md), for
	// example "source_repository_uri", "runner_environment", "build_signer_uri".
	Claims map[string]string `json:"claims"`
	// Fingerprint is the lower-case hex SHA-256 of the DER SubjectPublicKeyInfo.
	Fingerprint string `json:"fingerprint"`
	// Algorithm of the signing key: "ecdsa-p256", "ecdsa-p384", "ecdsa-p521",
	// "ed25519", "rsa-2048" and so on.
	Algorithm string `json:"algorithm"`
}

// LogEntry is one transparency-log entry, verified alone against the root's logs.
type LogEntry struct {
	// Log is the log's base URL in the trust root.
	Log string `json:"log"`
	// LogID is the hex key id of the log in the trust root.
	LogID string `json:"log_id"`
	Index int64  `json:"index"`
	// IntegratedAt is set only when the entry's SET was verified: an inclusion
	// proof does not sign the time.
	IntegratedAt *time.Time `json:"integrated_at"`
	// Proof is ProofInclusion or ProofPromise.
	Proof string `json:"proof"`
}

// Timestamp is one verified RFC 3161 timestamp.
type Timestamp struct {
	// Authority is the subject of the TSA's leaf certificate.
	Authority string    `json:"authority"`
	Time      time.Time `json:"time"`
}

// Attestation is one verified in-toto statement about the subject that is not a
// cosign image signature.
type Attestation struct {
	Signature
	PredicateType string `json:"predicate_type"`
	// StatementSubjects are all subjects of the statement. Names are the
	// signer's words and never trusted; one digest is the SubjectDigest.
	StatementSubjects []StatementSubject `json:"statement_subjects"`
	// PayloadDigest is "sha256:<hex>" of the DSSE payload.
	PayloadDigest string `json:"payload_digest"`
	// Predicate is the raw predicate, nil when larger than the limit
	// (predicate_bytes): such a predicate enters by digest only.
	Predicate json.RawMessage `json:"predicate"`
	// Provenance is the predicate in the one shape of all SLSA provenance versions,
	// nil where it is none. A predicate that is too large has it too.
	Provenance *Provenance `json:"provenance,omitempty"`
	// Projection is the predicate in the one shape of its kind, nil where it is of no
	// known type or cannot be read. A predicate that is too large has it too.
	Projection *Projection `json:"projection,omitempty"`
	// ProjectionError says in one sentence why a predicate of a known type has no
	// projection; "" otherwise.
	ProjectionError string `json:"projection_error,omitempty"`
}

// StatementSubject is one subject of an in-toto statement.
type StatementSubject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Rejection is evidence that proved nothing: for explanation, never for trust.
type Rejection struct {
	ID        string `json:"id"`
	MediaType string `json:"media_type"`
	// Where the evidence was found, for a person to go and look.
	Where string `json:"where"`
	Code  string `json:"code"`
	// Message says in one sentence what was wrong.
	Message string `json:"message"`
}

// Rejection codes. They are part of the public contract: policies and people
// read them, so a code is never renamed.
const (
	CodeMalformed            = "malformed"               // not a bundle, envelope, payload or statement that we can read
	CodeUnsupported          = "unsupported"             // media type, entry kind or algorithm that we do not know
	CodeNotFound             = "not_found"               // listed, but the registry answers 404 for it
	CodeTooLarge             = "too_large"               // one item over its own size limit
	CodeContentMismatch      = "content_mismatch"        // bytes do not hash or measure as declared
	CodeSubjectMismatch      = "subject_mismatch"        // signed for another digest
	CodeNoSignature          = "no_signature"            // carries no signature at all
	CodeSignatureInvalid     = "signature_invalid"       // the signature does not verify over what it is said to sign
	CodeNoMatchingKey        = "no_matching_key"         // key-signed, and no candidate key verifies it
	CodeTooManyCandidateKeys = "too_many_candidate_keys" // more keys in scope than may be tried for one item
	CodeCertificateUntrusted = "certificate_untrusted"   // no chain to a certificate authority of a trust root at the signing time
	CodeCertificateIdentity  = "certificate_identity"    // no SAN, several, or extensions that disagree or are mis-encoded
	CodeChainTooLong         = "chain_too_long"          // more certificates than may be tried
	CodeSCTMissing           = "sct_missing"             // the root requires a signed certificate timestamp that verifies
	CodeLogEntryMissing      = "log_entry_missing"       // the root requires a transparency-log entry that verifies
	CodeLogEntryInvalid      = "log_entry_invalid"       // an entry of a known log does not verify or belongs to other evidence
	CodeTimestampMissing     = "timestamp_missing"       // no verified time, and one is required
	CodeTimestampInvalid     = "timestamp_invalid"       // a timestamp of a known authority does not verify
	CodeSignedInFuture       = "signed_in_future"        // a verified time lies after the time of evaluation
	CodeTrustRootStale       = "trust_root_stale"        // verified with a root that was not refreshed for too long
	CodeArtifactNeeded       = "artifact_needed"         // Ed25519 over an artifact that was given by digest only
	CodePanic                = "panic"                   // a parser panicked; reported and counted, never trusted
)
