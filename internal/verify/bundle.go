package verify

import (
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Versions of the Sigstore bundle format that we read.
const (
	bundleV01 = "v0.1"
	bundleV02 = "v0.2"
	bundleV03 = "v0.3"
)

// readBundle reads a Sigstore bundle, v0.1 to v0.3
// (https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto).
// large is the DSSE payload where it is in a file, and left out of b.
func (v *Verifier) readBundle(b []byte, large *largePayload, t *target) (*item, *rejection) {
	if err := strictjson.Check(b, v.limits.JSONDepth); err != nil {
		return nil, reject(facts.CodeMalformed, "the Sigstore bundle cannot be read: %s", cause(err))
	}
	var pb bundlepb.Bundle
	if err := protojson.Unmarshal(b, &pb); err != nil {
		return nil, reject(facts.CodeMalformed, "the Sigstore bundle cannot be read: %s", cause(err))
	}
	version, err := (&sgbundle.Bundle{Bundle: &pb}).Version()
	if err != nil || version != bundleV01 && version != bundleV02 && version != bundleV03 {
		return nil, reject(facts.CodeUnsupported, "a bundle of media type %s is not supported; v0.1 to v0.3 are", short(pb.GetMediaType()))
	}
	p := &item{format: facts.FormatBundle}
	if rej := v.readMaterial(p, pb.GetVerificationMaterial(), version); rej != nil {
		return nil, rej
	}
	if rej := v.readContent(p, &pb, large, t); rej != nil {
		return nil, rej
	}
	return p, nil
}

// readMaterial reads who signed and which proofs came along.
func (v *Verifier) readMaterial(p *item, m *bundlepb.VerificationMaterial, version string) *rejection {
	switch c := m.GetContent().(type) {
	case *bundlepb.VerificationMaterial_Certificate:
		p.leaf = c.Certificate.GetRawBytes()
	case *bundlepb.VerificationMaterial_X509CertificateChain:
		chain := c.X509CertificateChain.GetCertificates()
		switch {
		case version == bundleV03:
			return reject(facts.CodeMalformed, "a v0.3 bundle has one certificate and no chain, this one has a chain")
		case len(chain) > v.limits.ChainCertificates:
			return tooLong(len(chain), v.limits.ChainCertificates)
		case len(chain) == 0:
			return reject(facts.CodeMalformed, "the bundle's certificate chain is empty")
		}
		// Only the leaf is used. Intermediates and roots come from the trust root,
		// never from the evidence.
		p.leaf = chain[0].GetRawBytes()
	case *bundlepb.VerificationMaterial_PublicKey:
		p.hint = c.PublicKey.GetHint()
		return v.readProofs(p, m, version)
	default:
		return reject(facts.CodeMalformed, "the bundle names neither a certificate nor a key")
	}
	if len(p.leaf) == 0 {
		return reject(facts.CodeMalformed, "the bundle's certificate is empty")
	}
	return v.readProofs(p, m, version)
}

func tooLong(n, limit int) *rejection {
	return reject(facts.CodeChainTooLong, "%d certificates, more than the limit chain_certificates of %d", n, limit)
}

// readProofs collects log entries and timestamps. v0.1 has entries with a promise
// (signed entry timestamp), later versions entries with an inclusion proof.
func (v *Verifier) readProofs(p *item, m *bundlepb.VerificationMaterial, version string) *rejection {
	entries := m.GetTlogEntries()
	if len(entries) > v.limits.LogEntries {
		return reject(facts.CodeTooLarge, "%d log entries, more than the limit log_entries of %d", len(entries), v.limits.LogEntries)
	}
	var promises, proofs int
	for _, e := range entries {
		if len(e.GetInclusionPromise().GetSignedEntryTimestamp()) != 0 {
			promises++
		}
		if e.GetInclusionProof() != nil {
			proofs++
		}
		p.entries = append(p.entries, &logEntry{pb: e})
	}
	switch {
	case version == bundleV01 && len(entries) > 0 && promises == 0:
		return reject(facts.CodeMalformed, "a v0.1 bundle has log entries with a signed entry timestamp, this one has none")
	case version != bundleV01 && len(entries) > 0 && proofs == 0:
		return reject(facts.CodeMalformed, "a %s bundle has log entries with an inclusion proof, this one has none", version)
	}
	stamps := m.GetTimestampVerificationData().GetRfc3161Timestamps()
	if len(stamps) > v.limits.Timestamps {
		return reject(facts.CodeTooLarge, "%d timestamps, more than the limit timestamps of %d", len(stamps), v.limits.Timestamps)
	}
	for _, ts := range stamps {
		p.addToken(ts.GetSignedTimestamp())
	}
	return nil
}

// readContent reads what was signed.
func (v *Verifier) readContent(p *item, pb *bundlepb.Bundle, large *largePayload, t *target) *rejection {
	switch c := pb.GetContent().(type) {
	case *bundlepb.Bundle_DsseEnvelope:
		var sigs []envelopeSignature
		for _, s := range c.DsseEnvelope.GetSignatures() {
			sigs = append(sigs, envelopeSignature{s.GetKeyid(), s.GetSig()})
		}
		return v.setEnvelope(p, t, c.DsseEnvelope.GetPayloadType(), c.DsseEnvelope.GetPayload(), large, sigs)
	case *bundlepb.Bundle_MessageSignature:
		return readMessage(p, c.MessageSignature, t)
	}
	return reject(facts.CodeMalformed, "the bundle has neither a DSSE envelope nor a message signature")
}

// readMessage reads a signature over the subject itself: the artifact, or the
// image's manifest. The digest that the bundle names is a hint, which must agree.
func readMessage(p *item, m *commonpb.MessageSignature, t *target) *rejection {
	if len(m.GetSignature()) == 0 {
		return reject(facts.CodeNoSignature, "the bundle's message signature is empty")
	}
	named := digest{value: m.GetMessageDigest().GetDigest()}
	switch m.GetMessageDigest().GetAlgorithm() {
	case commonpb.HashAlgorithm_SHA2_256:
		named.algorithm = "sha256"
	case commonpb.HashAlgorithm_SHA2_384:
		named.algorithm = "sha384"
	case commonpb.HashAlgorithm_SHA2_512:
		named.algorithm = "sha512"
	default:
		return reject(facts.CodeUnsupported, "the bundle names the artifact by a digest of type %s", m.GetMessageDigest().GetAlgorithm())
	}
	want, known := t.digests[named.algorithm]
	switch {
	case !known && t.image:
		return reject(facts.CodeUnsupported, "signed by %s digest, and an image is known by its sha256 only", named.algorithm)
	case !known:
		return reject(facts.CodeArtifactNeeded, "signed by %s digest: give the artifact itself, or that digest of it", named.algorithm)
	case string(want) != string(named.value):
		return reject(facts.CodeSubjectMismatch, "the bundle is about another artifact: its %s digest is not that of %s", named.algorithm, t.name)
	}
	p.setMessage(named, m.GetSignature(), t.content)
	return nil
}
