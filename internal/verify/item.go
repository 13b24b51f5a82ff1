package verify

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"io"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/projection"
	"github.com/signet-policy/signet/internal/provenance"
)

// statementPayload is the only DSSE payload type that we read.
const statementPayload = facts.StatementMediaType

// item is one piece of evidence after reading, in one shape for all formats.
// Nothing in it is believed yet.
type item struct {
	format string
	// leaf is the signing certificate in DER; nil where a bare key signed.
	leaf []byte
	hint string // which key, as the bundle says

	// content is what sigstore-go verifies: an envelope or a message signature.
	content verify.SignatureContent
	// payload is the DSSE payload or the simplesigning payload.
	payload body
	keyID   string // of the DSSE signature; a hint that nobody signs
	// stored is the hex SHA-256 of a DSSE envelope as its layer has it, byte for byte;
	// "" in a bundle.
	stored string
	// stamped is what timestamps may be over instead of the signature, or nil.
	stamped []byte
	// subject is the digest of the target that the statement names.
	subject digest
	// over is what the signature is over.
	over signed

	statement *statement
	// provenance is the predicate in the one shape, nil where it is none.
	provenance *facts.Provenance
	matched    *statementSubject
	simple     *simpleSigning

	entries []*logEntry
	tokens  [][]byte
}

// read reads an item by its kind, and what it is about.
func (v *Verifier) read(e *evidence.Item, t *target) (*item, *rejection) {
	if e.Size() > v.limits.BundleBytes {
		return nil, reject(facts.CodeTooLarge, "%d bytes, more than the limit bundle_bytes of %d", e.Size(), v.limits.BundleBytes)
	}
	var (
		p   *item
		rej *rejection
	)
	switch e.Kind {
	case evidence.KindBundle:
		p, rej = v.readEnvelope(e, []string{"dsseEnvelope", "dsse_envelope"}, func(body []byte, large *largePayload) (*item, *rejection) {
			return v.readBundle(body, large, t)
		})
	case evidence.KindSimpleSigning:
		p, rej = v.readSimpleLayer(e, t)
	case evidence.KindDSSE:
		p, rej = v.readEnvelope(e, nil, func(body []byte, large *largePayload) (*item, *rejection) {
			return v.readDSSELayer(e, body, large, t)
		})
	case evidence.KindUnsigned:
		return nil, reject(facts.CodeNoSignature, "this type of evidence (%s) carries no signature, so it proves nothing", short(e.MediaType))
	default:
		return nil, reject(facts.CodeUnsupported, "evidence of kind %s is not supported", short(string(e.Kind)))
	}
	return p, rej
}

// setEnvelope makes the item a DSSE envelope with one signature.
// The payload is large where it is not in memory.
func (v *Verifier) setEnvelope(p *item, t *target, payloadType string, payload []byte, large *largePayload, sigs []envelopeSignature) *rejection {
	switch {
	case len(sigs) == 0:
		return reject(facts.CodeNoSignature, "the DSSE envelope carries no signature")
	case len(sigs) > 1:
		return reject(facts.CodeMalformed, "the DSSE envelope carries %d signatures, and should carry one", len(sigs))
	case len(sigs[0].sig) == 0:
		return reject(facts.CodeNoSignature, "the DSSE envelope's signature is empty")
	case payloadType != statementPayload:
		return reject(facts.CodeUnsupported, "the DSSE payload is of type %s, not %s", short(payloadType), statementPayload)
	}
	if large != nil {
		return v.setLarge(p, t, payloadType, large, sigs[0])
	}
	var rej *rejection
	if p.statement, rej = readStatement(payload, v.limits.JSONDepth, v.limits.StatementSubjects); rej != nil {
		return rej
	}
	if p.matched, p.subject, rej = p.statement.about(t); rej != nil {
		return rej
	}
	var err error
	if p.provenance, err = provenance.Parse(p.statement.PredicateType, p.statement.Predicate); err != nil {
		return unreadable(err)
	}
	sig := sigs[0].sig
	p.payload, p.keyID = body{bytes: payload}, sigs[0].keyID
	p.content = newEnvelope(payloadType, payload, sig)
	p.over = signed{sig: sig, content: dsse.PAE(payloadType, payload)}
	return nil
}

// unreadable is why a statement that calls itself provenance is none.
func unreadable(err error) *rejection {
	code := facts.CodeMalformed
	if errors.Is(err, provenance.ErrTooLarge) {
		code = facts.CodeTooLarge
	}
	return reject(code, "the signed provenance cannot be read: %s", cause(err))
}

type envelopeSignature struct {
	keyID string
	sig   []byte
}

// setMessage makes the item a message signature. content is what was signed, nil
// where only the digest is known.
func (p *item) setMessage(d digest, sig, content []byte) {
	p.content = &message{algorithm: d.algorithm, digest: d.value, sig: sig}
	p.subject = d
	p.over = signed{sig: sig, content: content}
	if content == nil {
		p.over.digests = map[crypto.Hash][]byte{hashOf(d.algorithm): d.value}
	}
}

func hashOf(algorithm string) crypto.Hash {
	switch algorithm {
	case "sha256":
		return crypto.SHA256
	case "sha384":
		return crypto.SHA384
	case "sha512":
		return crypto.SHA512
	}
	return 0
}

// addToken adds a timestamp, unless it is there already.
func (p *item) addToken(token []byte) {
	for _, t := range p.tokens {
		if bytes.Equal(t, token) {
			return
		}
	}
	p.tokens = append(p.tokens, token)
}

// signature makes the fact, if the item is a signature over its subject: a
// simplesigning payload, a message signature, or a statement of cosign's
// sign/v1. Any other statement is an attestation, whatever it is called.
func (p *item) signature(e *evidence.Item, t *target, proof *proof, root string) facts.Signature {
	s := facts.Signature{
		ID: e.ID, SubjectDigest: t.name, Format: p.format, TrustRoot: root,
		SignedAt: proof.SignedAt, Principal: proof.Principal, Signer: proof.Signer,
		Transparency: proof.Transparency, Timestamps: proof.Timestamps,
	}
	switch {
	case p.simple != nil:
		s.Annotations = annotations(p.simple.Optional)
	case p.matched != nil:
		s.Annotations = annotations(p.matched.Annotations)
	}
	return s
}

func (p *item) isSignature() bool {
	return p.statement == nil || p.statement.PredicateType == facts.CosignSignV1
}

// attestation makes the fact of a statement that is verified.
func (v *Verifier) attestation(p *item, s facts.Signature) facts.Attestation {
	a := facts.Attestation{
		Signature: s, PredicateType: p.statement.PredicateType,
		StatementSubjects: p.statement.factSubjects(), PayloadDigest: "sha256:" + p.payload.sha256(),
		Provenance: p.provenance,
	}
	if p.payload.large != nil {
		return v.largeAttestation(p, a)
	}
	raw := orNull(p.statement.Predicate)
	if int64(len(raw)) <= v.limits.PredicateBytes {
		a.Predicate = raw
	}
	v.project(&a, bytes.NewReader(raw))
	return a
}

// project adds what a predicate of a known type says, or why that cannot be told:
// the statement is signed all the same.
func (v *Verifier) project(a *facts.Attestation, predicate io.Reader) {
	p, err := projection.Parse(a.PredicateType, predicate, projection.Limits{
		Entries: v.limits.ProjectionEntries, Bytes: v.limits.ProjectionBytes, Depth: v.limits.JSONDepth,
	})
	if err != nil {
		a.ProjectionError = cause(err)
		return
	}
	a.Projection = p
}

// orNull makes the predicate of a statement that has none the JSON null, so that
// it is not taken for one that is too large.
func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
