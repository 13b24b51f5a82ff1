package verify

import (
	"encoding/json"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// simpleSigning is the payload of cosign's old image signature
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
type simpleSigning struct {
	Critical struct {
		Identity struct {
			// Reference is what the signer called the image; it proves nothing.
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]json.RawMessage `json:"optional"`
}

const simpleSigningType = "cosign container image signature"

// readSimpleSigning decodes a payload and checks that it is about the target.
// Every field must be known: containers-signature(5) wants a signature refused
// whose critical part has an unknown member, and nothing else stands beside it
// but "optional".
func readSimpleSigning(payload []byte, depth int, t *target) (*simpleSigning, *rejection) {
	var s simpleSigning
	if err := strictjson.Decode(payload, depth, &s); err != nil {
		return nil, reject(facts.CodeMalformed, "the signed payload cannot be read: %s", cause(err))
	}
	if s.Critical.Type != simpleSigningType {
		return nil, reject(facts.CodeUnsupported, "the signed payload is of type %s, not %q", short(s.Critical.Type), simpleSigningType)
	}
	if s.Critical.Image.Digest != t.name {
		return nil, reject(facts.CodeSubjectMismatch, "signed for %s, not for %s", short(s.Critical.Image.Digest), t.name)
	}
	return &s, nil
}
