package verify

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/strictjson"
)

// readSimpleLayer reads cosign's old image signature: a layer with the payload,
// whose annotations have the signature and everything else.
func (v *Verifier) readSimpleLayer(e *evidence.Item, t *target) (*item, *rejection) {
	if e.Large != nil {
		return nil, reject(facts.CodeTooLarge, "a signed payload of %d bytes, which is more than any image's", e.Size())
	}
	p := &item{format: facts.FormatSimple, payload: body{bytes: e.Bytes}}
	var rej *rejection
	if p.simple, rej = readSimpleSigning(e.Bytes, v.limits.JSONDepth, t); rej != nil {
		return nil, rej
	}
	b64 := e.Annotations[evidence.AnnotationSignature]
	if b64 == "" {
		return nil, reject(facts.CodeNoSignature, "the layer has no annotation %s", evidence.AnnotationSignature)
	}
	sig, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(sig) == 0 {
		return nil, reject(facts.CodeMalformed, "the annotation %s is not base64", evidence.AnnotationSignature)
	}
	if rej := v.readAnnotations(p, e.Annotations); rej != nil {
		return nil, rej
	}
	p.setMessage(p.payloadDigest(v.limits.JSONDepth), sig, e.Bytes)
	return p, nil
}

// payloadDigest hashes a simplesigning payload as its log entry does, which
// sigstore-go compares: SHA-256 but for keys that go with a longer hash.
func (p *item) payloadDigest(depth int) digest {
	for _, e := range p.entries {
		if e.parse(depth) != nil || e.entry == nil {
			continue // reported when it is verified, if its log is known
		}
		if _, alg, ok := e.entry.GetHashedRekordDigest(); ok {
			switch alg {
			case "sha512":
				h := sha512.Sum512(p.payload.bytes)
				return digest{alg, h[:]}
			case "sha384":
				h := sha512.Sum384(p.payload.bytes)
				return digest{alg, h[:]}
			}
		}
	}
	h := sha256.Sum256(p.payload.bytes)
	return digest{"sha256", h[:]}
}

// dsseEnvelope is a DSSE envelope as JSON
// (https://github.com/secure-systems-lab/dsse/blob/master/envelope.md).
type dsseEnvelope struct {
	PayloadType string `json:"payloadType"`
	Payload     string `json:"payload"`
	Signatures  []struct {
		KeyID string `json:"keyid"`
		Sig   string `json:"sig"`
	} `json:"signatures"`
}

// readDSSELayer reads cosign's old attestation: a layer with a DSSE envelope,
// whose annotations have certificate and proofs.
// doc is the layer, without the payload where that is large.
func (v *Verifier) readDSSELayer(e *evidence.Item, doc []byte, large *largePayload, t *target) (*item, *rejection) {
	var env dsseEnvelope
	if err := strictjson.DecodeKnown(doc, v.limits.JSONDepth, &env); err != nil {
		return nil, reject(facts.CodeMalformed, "the DSSE envelope cannot be read: %s", cause(err))
	}
	payload, err := dsseBase64(env.Payload)
	if err != nil {
		return nil, reject(facts.CodeMalformed, "the DSSE payload is not base64")
	}
	var sigs []envelopeSignature
	for _, s := range env.Signatures {
		raw, err := dsseBase64(s.Sig)
		if err != nil {
			return nil, reject(facts.CodeMalformed, "the DSSE signature is not base64")
		}
		sigs = append(sigs, envelopeSignature{s.KeyID, raw})
	}
	p := &item{format: facts.FormatCosignDSSE, stored: body{bytes: e.Bytes}.sha256()}
	if e.Large != nil {
		p.stored = e.Large.SHA256()
	}
	if rej := v.setEnvelope(p, t, env.PayloadType, payload, large, sigs); rej != nil {
		return nil, rej
	}
	if rej := v.readAnnotations(p, e.Annotations); rej != nil {
		return nil, rej
	}
	// cosign asks for timestamps over the envelope and not over its signature.
	p.stamped = e.Bytes
	if e.Large != nil && len(p.tokens) > 0 {
		if p.stamped, err = io.ReadAll(e.Large.Open()); err != nil {
			return nil, unspooled(err)
		}
	}
	return p, nil
}

// dsseBase64 reads either alphabet, as the DSSE specification says.
func dsseBase64(s string) ([]byte, error) {
	if raw, err := base64.StdEncoding.DecodeString(s); err == nil {
		return raw, nil
	}
	return base64.URLEncoding.DecodeString(s)
}

// readAnnotations reads certificate, chain, log bundle and timestamp. cosign
// writes an empty annotation for what is not there.
func (v *Verifier) readAnnotations(p *item, ann map[string]string) *rejection {
	if cert := ann[evidence.AnnotationCertificate]; cert != "" {
		der, err := onePEM([]byte(cert))
		if err != nil {
			return reject(facts.CodeMalformed, "the annotation %s is not one PEM certificate: %s", evidence.AnnotationCertificate, cause(err))
		}
		p.leaf = der
	}
	// The chain is counted and not used: intermediates and roots come from the
	// trust root, never from the evidence.
	if n := countPEM([]byte(ann[evidence.AnnotationChain])); n > v.limits.ChainCertificates {
		return tooLong(n, v.limits.ChainCertificates)
	}
	if b := ann[evidence.AnnotationBundle]; b != "" {
		entry, err := readRekorBundle([]byte(b), v.limits.JSONDepth)
		if err != nil {
			return reject(facts.CodeMalformed, "the annotation %s cannot be read: %s", evidence.AnnotationBundle, cause(err))
		}
		p.entries = []*logEntry{{pb: entry}}
	}
	if ts := ann[evidence.AnnotationRFC3161]; ts != "" {
		var stamp struct {
			Token []byte `json:"SignedRFC3161Timestamp"`
		}
		if err := strictjson.DecodeKnown([]byte(ts), v.limits.JSONDepth, &stamp); err != nil {
			return reject(facts.CodeMalformed, "the annotation %s cannot be read: %s", evidence.AnnotationRFC3161, cause(err))
		}
		p.addToken(stamp.Token)
	}
	return nil
}

func countPEM(b []byte) int {
	n := 0
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return n
		}
		n++
	}
}

// rekorBundle is the log entry that cosign keeps in an annotation: what Rekor v1
// signed, and its signature.
type rekorBundle struct {
	SET     []byte `json:"SignedEntryTimestamp"`
	Payload struct {
		Body           string `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	} `json:"Payload"`
}

// readRekorBundle puts cosign's log bundle into the shape that sigstore-go reads.
func readRekorBundle(b []byte, depth int) (*rekorpb.TransparencyLogEntry, error) {
	var rb rekorBundle
	if err := strictjson.DecodeKnown(b, depth, &rb); err != nil {
		return nil, err
	}
	body, err := base64.StdEncoding.DecodeString(rb.Payload.Body)
	if err != nil || len(body) == 0 {
		return nil, fmt.Errorf("the body is not base64")
	}
	id, err := hex.DecodeString(rb.Payload.LogID)
	if err != nil || len(id) == 0 {
		return nil, fmt.Errorf("the log id is not hexadecimal")
	}
	if len(rb.SET) == 0 {
		return nil, fmt.Errorf("it has no signed entry timestamp")
	}
	var head bodyHead
	if err := strictjson.DecodeKnown(bytes.TrimSpace(body), depth, &head); err != nil {
		return nil, fmt.Errorf("the body: %w", err)
	}
	return &rekorpb.TransparencyLogEntry{
		LogIndex:          rb.Payload.LogIndex,
		LogId:             &commonpb.LogId{KeyId: id},
		KindVersion:       &rekorpb.KindVersion{Kind: head.Kind, Version: head.Version},
		IntegratedTime:    rb.Payload.IntegratedTime,
		InclusionPromise:  &rekorpb.InclusionPromise{SignedEntryTimestamp: rb.SET},
		CanonicalizedBody: body,
	}, nil
}
