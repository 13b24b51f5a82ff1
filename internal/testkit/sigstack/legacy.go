package sigstack

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Media types and annotations of cosign's old format
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
const (
	MediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	MediaTypeDSSE          = "application/vnd.dsse.envelope.v1+json"
	AnnotationSignature    = "dev.cosignproject.cosign/signature"
	AnnotationCertificate  = "dev.sigstore.cosign/certificate"
	AnnotationChain        = "dev.sigstore.cosign/chain"
	AnnotationBundle       = "dev.sigstore.cosign/bundle"
	AnnotationTimestamp    = "dev.sigstore.cosign/rfc3161timestamp"
	AnnotationPredicate    = "predicateType"
)

// Layer is one signature or attestation in cosign's old format: a layer of a
// manifest tagged sha256-<hex>.sig or .att.
type Layer struct {
	MediaType   string
	Content     []byte
	Annotations map[string]string
}

// Layer writes the evidence in cosign's old format: a simplesigning payload with
// the signature in an annotation, or a DSSE envelope. Only the first log entry
// and the first timestamp have a place there, and of the entry only the signed
// entry timestamp.
func (e *Evidence) Layer() (Layer, error) {
	l := Layer{Annotations: map[string]string{}}
	switch {
	case e.Envelope != nil:
		l.MediaType, l.Content = MediaTypeDSSE, e.Envelope.JSON()
		l.Annotations[AnnotationSignature] = ""
		if e.PredicateType != "" {
			l.Annotations[AnnotationPredicate] = e.PredicateType
		}
	case e.Message != nil:
		l.MediaType, l.Content = MediaTypeSimpleSigning, e.Payload
		l.Annotations[AnnotationSignature] = base64.StdEncoding.EncodeToString(e.Message.Signature)
	default:
		return Layer{}, fmt.Errorf("writing a layer: the evidence has neither envelope nor message signature")
	}
	if e.Certificate != nil {
		l.Annotations[AnnotationCertificate] = pemCertificates(e.Certificate)
		l.Annotations[AnnotationChain] = pemCertificates(e.Chain...)
	}
	if len(e.Entries) > 0 {
		bundle, err := e.Entries[0].rekorBundle()
		if err != nil {
			return Layer{}, err
		}
		l.Annotations[AnnotationBundle] = bundle
	}
	if len(e.Timestamps) > 0 {
		ts, err := marshal(struct {
			Token []byte `json:"SignedRFC3161Timestamp"`
		}{e.Timestamps[0]})
		if err != nil {
			return Layer{}, err
		}
		l.Annotations[AnnotationTimestamp] = string(ts)
	}
	return l, nil
}

// rekorBundle is the value of the dev.sigstore.cosign/bundle annotation.
func (e *Entry) rekorBundle() (string, error) {
	type payload struct {
		Body           string `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
	b, err := marshal(struct {
		SET     []byte  `json:"SignedEntryTimestamp"`
		Payload payload `json:"Payload"`
	}{e.SET, payload{base64.StdEncoding.EncodeToString(e.Body), e.IntegratedTime, e.LogIndex, hex.EncodeToString(e.LogID)}})
	return string(b), err
}
