package verdict

import "encoding/json"

// Results of an [Attestation]. The first two are SLSA's.
const (
	AttestedPassed = "PASSED"
	AttestedFailed = "FAILED"
	// AttestedNothing: there is nothing that could be said under the verifier's
	// name; Reason tells why.
	AttestedNothing = "NONE"
)

// Attestation is the verifier's own word about a verdict: a signed SLSA
// verification summary, or why there is none. It is made of the verdict, and no
// part of what is recorded, cached or reproduced.
type Attestation struct {
	// Result is AttestedPassed, AttestedFailed or AttestedNothing.
	Result string `json:"result"`
	// Reason is why nothing is attested, absent where something is.
	Reason *Reason `json:"reason,omitempty"`
	// What follows is what the summary says, absent where there is none.
	VerifierID  string `json:"verifier_id,omitempty"`
	ResourceURI string `json:"resource_uri,omitempty"`
	// Policy names the policies that were enforced.
	Policy *AttestedPolicy `json:"policy,omitempty"`
	// VerifiedLevels are SLSA's names, such as SLSA_BUILD_LEVEL_2.
	VerifiedLevels []string `json:"verified_levels,omitempty"`
	// Key is the fingerprint of the key that signed: the hex SHA-256 of its
	// SubjectPublicKeyInfo.
	Key string `json:"key,omitempty"`
	// Bundle is the signed summary as a Sigstore bundle (v0.3).
	Bundle json.RawMessage `json:"bundle,omitempty"`
	// Push tells whether it is in the registry, absent where it was not to be put
	// there.
	Push *Push `json:"push,omitempty"`
}

// AttestedPolicy is how a summary names the policies that were enforced.
type AttestedPolicy struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"`
}

// Push is how putting an attestation beside its image went.
type Push struct {
	// State is "pushed", "present" (put there before, and not old), "queued" (it is
	// put there after the answer) or "failed".
	State string `json:"state"`
	// Where is the attestation's own manifest, name@digest; "" where it is not there.
	Where string `json:"where,omitempty"`
	// Problem says why it failed.
	Problem string `json:"problem,omitempty"`
}
