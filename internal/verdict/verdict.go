// Package verdict holds what Signet answers: a [Verdict] with its reasons, one
// [Result] per policy, and the rules that combine them ([Combine]).
package verdict

import "time"

// Decision is one of three answers. The zero value is not a decision and
// allows nothing.
type Decision string

// The three answers. Unknown means "could not find out": it is never cached and
// never turned into allow.
const (
	Allow   Decision = "allow"
	Deny    Decision = "deny"
	Unknown Decision = "unknown"
)

// Mode says what a policy's decision does.
type Mode string

// Modes of a policy.
const (
	// Enforce blocks.
	Enforce Mode = "enforce"
	// Audit is evaluated and reported, and never blocks.
	Audit Mode = "audit"
	// Shadow is evaluated beside the others, recorded and compared, and never part
	// of a verdict.
	Shadow Mode = "shadow"
	// Disabled is not evaluated.
	Disabled Mode = "disabled"
)

// Reason is one violation or warning, in words that a person can act on.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Remediation says what to do, a command where there is one.
	Remediation string `json:"remediation"`
	// Rule is the Rego rule, or "engine" for what the engine decides itself.
	Rule string `json:"rule"`
	// Fact is the id of the fact that the reason speaks of, "" for none.
	Fact string `json:"fact,omitempty"`
	// Nearest is what came closest, nil where nothing came near.
	Nearest *Nearest `json:"nearest,omitempty"`
}

// Nearest is the evidence that came closest to meeting a requirement.
type Nearest struct {
	// Fact is its id.
	Fact string `json:"fact"`
	// Principal who signed, and the trusted signer that it almost matched.
	Principal string `json:"principal"`
	Signer    string `json:"signer,omitempty"`
	// Field is what differed ("issuer", "subject", "transparency" …), with what
	// the policy wants and what the evidence has.
	Field string `json:"field"`
	Want  string `json:"want"`
	Have  string `json:"have"`
	// Why is the sentence for people.
	Why string `json:"why"`
}

// Result is what one policy said, validated: the shape that
// data.signing.verdict must have.
type Result struct {
	Allow       bool        `json:"allow"`
	Violations  []Reason    `json:"violations"`
	Warnings    []Reason    `json:"warnings"`
	SatisfiedBy []Satisfied `json:"satisfied_by"`
	SLSA        SLSA        `json:"slsa"`
	// Exceptions are those that waived something, none where nothing was waived.
	Exceptions []Exception `json:"exceptions,omitempty"`
	ValidUntil *time.Time  `json:"valid_until,omitempty"`
	// Coverage says of each digest that the policy judges whether it meets each
	// requirement; nil for a policy that does not say what it asks of an index.
	Coverage []Covered `json:"coverage,omitempty"`
}

// Covered says whether a digest of the image meets one requirement of a policy.
type Covered struct {
	Digest      string `json:"digest"`
	Requirement string `json:"requirement"`
	Met         bool   `json:"met"`
}

// Requirement of a policy, and whether it is met.
type Requirement struct {
	Policy      string `json:"policy"`
	Requirement string `json:"requirement"`
	Met         bool   `json:"met"`
}

// Exception is a named exception that waived violations, until it ends.
type Exception struct {
	// Policy whose exception it is; "" within a [Result].
	Policy string `json:"policy,omitempty"`
	Name   string `json:"name"`
	// Codes of the violations that it waived.
	Codes  []string `json:"codes"`
	Owner  string   `json:"owner"`
	Reason string   `json:"reason"`
	// ExpiresAt is when it ends.
	ExpiresAt time.Time `json:"expires_at"`
}

// Satisfied names how one requirement was met: by facts, or waived by an
// exception.
type Satisfied struct {
	Requirement string   `json:"requirement"`
	Facts       []string `json:"facts,omitempty"`
	Exception   string   `json:"exception,omitempty"`
}

// SLSA is the proven build level, 0 to 3, and the builder it was proven for.
type SLSA struct {
	Level   int     `json:"level"`
	Builder *string `json:"builder"`
	// Missing says per level ("1", "2", "3") what it lacked; absent where there is no
	// provenance, and for level 3.
	Missing map[string][]string `json:"missing,omitempty"`
}

// Verdict is the answer. Its JSON is the public contract; a cached verdict is
// the bytes that the miss produced.
type Verdict struct {
	ID       string   `json:"id"`
	Decision Decision `json:"decision"`
	// Allowed is true when no enforcing policy says deny or unknown. It is what
	// an enforcement point acts on.
	Allowed bool   `json:"allowed"`
	Image   string `json:"image"`
	Digest  string `json:"digest"`
	// Pinned is the reference to deploy: name@digest.
	Pinned   string          `json:"pinned"`
	Policies []PolicyVerdict `json:"policies"`
	Reasons  []Reason        `json:"reasons"`
	Warnings []Reason        `json:"warnings"`
	// Exceptions waived something; absent where nothing was waived.
	Exceptions      []Exception   `json:"exceptions,omitempty"`
	Signature       SignatureInfo `json:"signature"`
	TransparencyLog LogInfo       `json:"transparency_log"`
	SLSA            SLSA          `json:"slsa"`
	// Coverage says which digests are signed, by themselves or by their index.
	Coverage    []Coverage `json:"coverage"`
	FactsDigest string     `json:"facts_digest"`
	// Given are the ids of evidence that came with the request and was not found at
	// the registry; absent where none did.
	Given       []string  `json:"given,omitempty"`
	Active      Active    `json:"active"`
	Build       string    `json:"build"`
	EvaluatedAt time.Time `json:"evaluated_at"`
	// ExpiresAt is when the answer must be asked for again; an unknown expires
	// at once.
	ExpiresAt time.Time `json:"expires_at"`
	// ValidUntil is when time alone may end what the policies say: an exception ends, or
	// an attestation gets too old. Nil where nothing of the kind has a part in it.
	ValidUntil *time.Time `json:"valid_until,omitempty"`
	// RetryAfter is in seconds, set for unknown only.
	RetryAfter int `json:"retry_after,omitempty"`
	// Attestation is there where it was asked for, by the caller or a policy, and
	// only in the answer: the verdict that is kept is the one without it.
	Attestation *Attestation `json:"attestation,omitempty"`
}

// PolicyVerdict is one policy's part in a verdict.
type PolicyVerdict struct {
	Name         string `json:"name"`
	Revision     string `json:"revision"`
	Digest       string `json:"digest"`
	ParamsDigest string `json:"params_digest"`
	// SignersDigest names whom the policy trusted: its own signers and the registered
	// ones that counted for it. Absent for a policy that was not evaluated.
	SignersDigest string      `json:"signers_digest,omitempty"`
	Mode          Mode        `json:"mode"`
	Decision      Decision    `json:"decision"`
	Reasons       []Reason    `json:"reasons"`
	Warnings      []Reason    `json:"warnings"`
	SatisfiedBy   []Satisfied `json:"satisfied_by"`
}

// SignatureInfo sums up the signature that counted, or the first verified one.
type SignatureInfo struct {
	// Found: there is evidence of a signature, verified or not.
	Found bool `json:"found"`
	// Valid: at least one signature verified.
	Valid    bool       `json:"valid"`
	Signer   string     `json:"signer"`
	Issuer   string     `json:"issuer"`
	SignedAt *time.Time `json:"signed_at"`
}

// LogInfo sums up the transparency log for the signature above.
type LogInfo struct {
	Verified bool   `json:"verified"`
	Reason   string `json:"reason,omitempty"`
}

// Coverage tells about one digest of the image.
type Coverage struct {
	Digest   string `json:"digest"`
	Platform string `json:"platform"`
	// Signed: a signature that counts speaks of this digest or of its index; of this
	// digest itself, where a policy asks for signatures on platforms.
	Signed bool `json:"signed"`
	// Requirements are those of policies that say what they ask of an index; absent
	// where none speaks of this digest.
	Requirements []Requirement `json:"requirements,omitempty"`
}

// Active names everything in force: policy sets, parameters, signers, trust
// roots, tokens and roles.
type Active struct {
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
}
