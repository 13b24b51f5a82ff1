package sigstack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Statement, payload and predicate types.
const (
	StatementV1         = "https://in-toto.io/Statement/v1"
	StatementV01        = "https://in-toto.io/Statement/v0.1"
	PayloadInToto       = "application/vnd.in-toto+json"
	PredicateCosignSign = "https://sigstore.dev/cosign/sign/v1"
	PredicateSLSA1      = "https://slsa.dev/provenance/v1"
	PredicateSLSA02     = "https://slsa.dev/provenance/v0.2"
	PredicateSPDX       = "https://spdx.dev/Document"
	PredicateCycloneDX  = "https://cyclonedx.org/bom"
	PredicateCosignVuln = "https://cosign.sigstore.dev/attestation/vuln/v1"
)

const (
	digestPrefix      = "sha256:"
	defaultReference  = "registry.test/image"
	simpleSigningType = "cosign container image signature"
)

// Subject is an in-toto resource descriptor.
type Subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// SubjectOf is the subject of an image digest, "sha256:<hex>".
func SubjectOf(name, digest string) Subject {
	return Subject{Name: name, Digest: map[string]string{"sha256": strings.TrimPrefix(digest, digestPrefix)}}
}

// Statement is an in-toto statement. Predicate is anything that encodes to JSON;
// nil is written as {}.
type Statement struct {
	Type          string // default StatementV1
	Subjects      []Subject
	PredicateType string
	Predicate     any
}

// JSON is the statement as a payload.
func (s Statement) JSON() ([]byte, error) {
	if s.Type == "" {
		s.Type = StatementV1
	}
	if s.Predicate == nil {
		s.Predicate = struct{}{}
	}
	if s.Subjects == nil {
		s.Subjects = []Subject{}
	}
	return marshal(struct {
		Type          string    `json:"_type"`
		Subject       []Subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     any       `json:"predicate"`
	}{s.Type, s.Subjects, s.PredicateType, s.Predicate})
}

// CosignStatement is what cosign signs for an image in the new format.
func CosignStatement(digest string, annotations map[string]string) ([]byte, error) {
	type subject struct {
		Digest      map[string]string `json:"digest"`
		Annotations map[string]string `json:"annotations"`
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	return marshal(struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     struct{}  `json:"predicate"`
	}{StatementV1, []subject{{SubjectOf("", digest).Digest, annotations}}, PredicateCosignSign, struct{}{}})
}

// SimpleSigning is the payload of cosign's old format. reference is the image's
// name without tag, which cosign writes and nobody should trust.
func SimpleSigning(digest, reference string, optional map[string]string) ([]byte, error) {
	type critical struct {
		Identity map[string]string `json:"identity"`
		Image    map[string]string `json:"image"`
		Type     string            `json:"type"`
	}
	return marshal(struct {
		Critical critical          `json:"critical"`
		Optional map[string]string `json:"optional"`
	}{critical{
		Identity: map[string]string{"docker-reference": reference},
		Image:    map[string]string{"docker-manifest-digest": digest},
		Type:     simpleSigningType,
	}, optional})
}

// marshal is json.Marshal without HTML escapes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
