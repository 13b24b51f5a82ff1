package client

import (
	"context"
	"encoding/json"
	"net/url"
)

// Attestation is the server's own word about a verdict: a signed SLSA verification
// summary, or why there is none. It is there where it was asked for, by the caller
// or a policy.
type Attestation struct {
	// Result is "PASSED", "FAILED", or "NONE", with a Reason, where nothing is
	// attested.
	Result         string          `json:"result"`
	Reason         *Reason         `json:"reason,omitempty"`
	VerifierID     string          `json:"verifier_id,omitempty"`
	ResourceURI    string          `json:"resource_uri,omitempty"`
	Policy         *AttestedPolicy `json:"policy,omitempty"`
	VerifiedLevels []string        `json:"verified_levels,omitempty"`
	// Key is the fingerprint of the key that signed.
	Key string `json:"key,omitempty"`
	// Bundle is a Sigstore bundle (v0.3).
	Bundle json.RawMessage `json:"bundle,omitempty"`
	// Push tells whether it is beside the image in the registry.
	Push *Push `json:"push,omitempty"`
}

// AttestedPolicy names the policies that a summary is about.
type AttestedPolicy struct {
	URI    string `json:"uri"`
	Digest string `json:"digest"`
}

// Push is how putting an attestation beside its image went: "pushed", "present",
// "queued" or "failed".
type Push struct {
	State   string `json:"state"`
	Where   string `json:"where,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// Attester is who attests verdicts on a server.
type Attester struct {
	VerifierID string `json:"verifier_id"`
	// PublicKey is PEM; Key is its fingerprint, the hex SHA-256 of the
	// SubjectPublicKeyInfo.
	PublicKey string `json:"public_key"`
	Key       string `json:"key"`
	// Hash is what signatures are over, such as "SHA-256"; "" for Ed25519.
	Hash string `json:"hash"`
	// Push says that attestations are put beside their images.
	Push bool `json:"push"`
}

// Attester tells who attests there, and with which key.
func (c *Client) Attester(ctx context.Context) (Attester, error) {
	return ask[Attester](ctx, c, get(nil), "attester")
}

// Attestation reads the attestation of a verdict: as "bundle", a Sigstore bundle, or
// as "dsse", the bare envelope; "" is the bundle. A verdict that is not attested is a
// [Problem] with the code not_attested.
func (c *Client) Attestation(ctx context.Context, id, format string) ([]byte, error) {
	q := url.Values{}
	set(q, "format", format)
	a, err := c.bytes(ctx, get(q), "verdicts", id, "attestation")
	return a.body, err
}
