package sigstack

import "fmt"

// Version is a version of the Sigstore bundle format.
type Version int

// The bundle versions. V03 is the zero value and what cosign writes. V03Old is
// v0.3 with the media type of its early days.
const (
	V03 Version = iota
	V03Old
	V02
	V01
)

const bundleTypeBase = "application/vnd.dev.sigstore.bundle"

// MediaType is the bundle's media type, which is also the OCI layer type.
func (v Version) MediaType() string {
	switch v {
	case V01:
		return bundleTypeBase + "+json;version=0.1"
	case V02:
		return bundleTypeBase + "+json;version=0.2"
	case V03Old:
		return bundleTypeBase + "+json;version=0.3"
	default:
		return bundleTypeBase + ".v0.3+json"
	}
}

// Material says how a bundle carries the certificate.
type Material int

// MaterialDefault is a single certificate in v0.3 and a chain of the leaf and
// its intermediates before. The others are for evidence that is out of shape.
const (
	MaterialDefault   Material = iota
	MaterialLeaf               // x509CertificateChain with the leaf alone
	MaterialChain              // x509CertificateChain with leaf and intermediates
	MaterialFullChain          // x509CertificateChain with leaf, intermediates and root
	MaterialEmpty              // x509CertificateChain with no certificate
	MaterialKeyHint            // publicKey, although there is a certificate
)

// The protobuf JSON form of a bundle (protobuf-specs, sigstore_bundle.proto).
// 64-bit integers are strings there.
type (
	bundleJSON struct {
		MediaType            string       `json:"mediaType"`
		VerificationMaterial materialJSON `json:"verificationMaterial"`
		MessageSignature     *messageJSON `json:"messageSignature,omitempty"`
		DSSEEnvelope         *dsseJSON    `json:"dsseEnvelope,omitempty"`
	}
	materialJSON struct {
		Certificate *rawJSON        `json:"certificate,omitempty"`
		Chain       *chainJSON      `json:"x509CertificateChain,omitempty"`
		PublicKey   *hintJSON       `json:"publicKey,omitempty"`
		Entries     []entryJSON     `json:"tlogEntries,omitempty"`
		Timestamps  *timestampsJSON `json:"timestampVerificationData,omitempty"`
	}
	rawJSON struct {
		RawBytes []byte `json:"rawBytes"`
	}
	chainJSON struct {
		Certificates []rawJSON `json:"certificates"`
	}
	hintJSON struct {
		Hint string `json:"hint"`
	}
	entryJSON struct {
		LogIndex         int64        `json:"logIndex,string"`
		LogID            keyIDJSON    `json:"logId"`
		KindVersion      kindJSON     `json:"kindVersion"`
		IntegratedTime   int64        `json:"integratedTime,string,omitempty"`
		InclusionPromise *promiseJSON `json:"inclusionPromise,omitempty"`
		InclusionProof   *proofJSON   `json:"inclusionProof,omitempty"`
		Body             []byte       `json:"canonicalizedBody"`
	}
	keyIDJSON struct {
		KeyID []byte `json:"keyId"`
	}
	kindJSON struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	}
	promiseJSON struct {
		SET []byte `json:"signedEntryTimestamp"`
	}
	proofJSON struct {
		LogIndex   int64          `json:"logIndex,string"`
		RootHash   []byte         `json:"rootHash"`
		TreeSize   int64          `json:"treeSize,string"`
		Hashes     [][]byte       `json:"hashes"`
		Checkpoint checkpointJSON `json:"checkpoint"`
	}
	checkpointJSON struct {
		Envelope string `json:"envelope"`
	}
	timestampsJSON struct {
		Tokens []tokenJSON `json:"rfc3161Timestamps"`
	}
	tokenJSON struct {
		Signed []byte `json:"signedTimestamp"`
	}
	messageJSON struct {
		Digest    digestJSON `json:"messageDigest"`
		Signature []byte     `json:"signature"`
	}
	digestJSON struct {
		Algorithm string `json:"algorithm"`
		Digest    []byte `json:"digest"`
	}
	dsseJSON struct {
		Payload     []byte      `json:"payload"`
		PayloadType string      `json:"payloadType"`
		Signatures  []Signature `json:"signatures"`
	}
)

// Bundle writes the evidence as a Sigstore bundle.
func (e *Evidence) Bundle(v Version) ([]byte, error) { return e.BundleWith(v, MaterialDefault) }

// BundleWith is [Evidence.Bundle] with a choice of how the certificate is carried.
func (e *Evidence) BundleWith(v Version, m Material) ([]byte, error) {
	b := bundleJSON{MediaType: v.MediaType()}
	vm := &b.VerificationMaterial
	certificates := func(ders ...[]byte) *chainJSON {
		c := &chainJSON{Certificates: []rawJSON{}}
		for _, der := range ders {
			c.Certificates = append(c.Certificates, rawJSON{der})
		}
		return c
	}
	intermediates := e.Chain
	if n := len(intermediates); n > 0 {
		intermediates = intermediates[:n-1]
	}
	switch {
	case e.Certificate == nil || m == MaterialKeyHint:
		vm.PublicKey = &hintJSON{e.Hint}
	case m == MaterialEmpty:
		vm.Chain = certificates()
	case m == MaterialLeaf:
		vm.Chain = certificates(e.Certificate)
	case m == MaterialFullChain:
		vm.Chain = certificates(append([][]byte{e.Certificate}, e.Chain...)...)
	case m == MaterialChain || v == V01 || v == V02:
		vm.Chain = certificates(append([][]byte{e.Certificate}, intermediates...)...)
	default:
		vm.Certificate = &rawJSON{e.Certificate}
	}
	for _, entry := range e.Entries {
		vm.Entries = append(vm.Entries, entry.wire())
	}
	if len(e.Timestamps) > 0 {
		vm.Timestamps = &timestampsJSON{}
		for _, t := range e.Timestamps {
			vm.Timestamps.Tokens = append(vm.Timestamps.Tokens, tokenJSON{t})
		}
	}
	switch {
	case e.Envelope != nil:
		signatures := e.Envelope.Signatures
		if signatures == nil {
			signatures = []Signature{}
		}
		b.DSSEEnvelope = &dsseJSON{e.Envelope.Payload, e.Envelope.PayloadType, signatures}
	case e.Message != nil:
		b.MessageSignature = &messageJSON{digestJSON{e.Message.Algorithm, e.Message.Digest}, e.Message.Signature}
	default:
		return nil, fmt.Errorf("writing a bundle: the evidence has neither envelope nor message signature")
	}
	return marshal(b)
}

func (e *Entry) wire() entryJSON {
	w := entryJSON{
		LogIndex:       e.LogIndex,
		LogID:          keyIDJSON{e.LogID},
		KindVersion:    kindJSON{e.Kind, e.Version},
		IntegratedTime: e.IntegratedTime,
		Body:           e.Body,
	}
	if e.SET != nil {
		w.InclusionPromise = &promiseJSON{e.SET}
	}
	if p := e.Proof; p != nil {
		hashes := p.Hashes
		if hashes == nil {
			hashes = [][]byte{}
		}
		w.InclusionProof = &proofJSON{p.LogIndex, p.RootHash, p.TreeSize, hashes, checkpointJSON{p.Checkpoint}}
	}
	return w
}
