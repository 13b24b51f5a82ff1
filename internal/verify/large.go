package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/signet-policy/signet/internal/evidence"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/provenance"
	"github.com/signet-policy/signet/internal/strictjson"
)

// Large envelopes are in a file, and are read from there piece by piece, several
// times: once for the shape of the document, once for the hashes and the statement,
// once for the predicate. sigstore-go would hold the payload six times over.

// Bounds of what is read into memory of a large envelope, in bytes.
const (
	largestRest       = 1 << 20  // all of it but the payload
	largestHead       = 4 << 20  // the subjects of the statement
	largestProvenance = 16 << 20 // a predicate that is provenance
)

// body is a payload, in memory or not.
type body struct {
	bytes []byte
	large *largePayload
}

func (b body) open() io.Reader {
	if b.large != nil {
		return b.large.open()
	}
	return bytes.NewReader(b.bytes)
}

// sha256 is in lower-case hex.
func (b body) sha256() string {
	if b.large != nil {
		return hex.EncodeToString(b.large.sum)
	}
	sum := sha256.Sum256(b.bytes)
	return hex.EncodeToString(sum[:])
}

// largePayload is a payload in base64 within a JSON document in a file.
type largePayload struct {
	spool *evidence.Spool
	depth int
	// below are the keys, any one of them, of the object that has the payload; none
	// where the document has it.
	below []string

	at         int64 // the opening quote of the payload, in bytes from 0
	characters int64 // of base64, without line ends
	padding    int
	url        bool
	lineEnds   bool

	sum []byte // SHA-256 of the payload
	// from and to are where the predicate is in the payload.
	from, to int64
}

// unspooled is an error of the file, which is nobody's evidence.
func unspooled(err error) *rejection {
	return reject(facts.CodeMalformed, "the evidence cannot be read again: %s", cause(err))
}

// readEnvelope reads a document with a DSSE envelope, under one of some keys or by
// itself. The payload of one in a file is left out of the document that read gets.
func (v *Verifier) readEnvelope(e *evidence.Item, below []string, read func([]byte, *largePayload) (*item, *rejection)) (*item, *rejection) {
	if e.Large == nil {
		return read(e.Bytes, nil)
	}
	l := &largePayload{spool: e.Large, depth: v.limits.JSONDepth, below: below}
	doc, err := l.rest()
	switch {
	case errors.Is(err, strictjson.ErrTooLong):
		return nil, reject(facts.CodeTooLarge, "more than %d bytes beside the payload of its envelope", largestRest)
	case err != nil:
		return nil, reject(facts.CodeMalformed, "the DSSE envelope cannot be read: %s", cause(err))
	case l.characters == 0:
		return nil, reject(facts.CodeTooLarge, "%d bytes, and no payload in a DSSE envelope", e.Size())
	}
	return read(doc, l)
}

// rest is the document with an empty payload.
func (l *largePayload) rest() ([]byte, error) {
	s := strictjson.NewStream(l.spool.Open(), l.depth)
	var doc bytes.Buffer
	if err := l.object(s, &doc, l.below); err != nil {
		return nil, err
	}
	if err := s.End(); err != nil {
		return nil, err
	}
	return doc.Bytes(), nil
}

// object copies an object without the payload, which is in the object under one of
// the keys below, or in this one where there are none.
func (l *largePayload) object(s *strictjson.Stream, doc *bytes.Buffer, below []string) error {
	doc.WriteByte('{')
	first := true
	err := s.Object(nil, func(key string) error {
		if !first {
			doc.WriteByte(',')
		}
		first = false
		name, err := json.Marshal(key)
		if err != nil {
			return err
		}
		doc.Write(name)
		doc.WriteByte(':')
		switch {
		case slices.Contains(below, key) && s.Kind() == strictjson.KindObject:
			return l.object(s, doc, nil)
		case len(below) == 0 && key == "payload" && s.Kind() == strictjson.KindString:
			doc.WriteString(`""`)
			return l.measure(s)
		}
		raw, err := s.Raw(max(largestRest-doc.Len(), 0))
		doc.Write(raw)
		return err
	})
	doc.WriteByte('}')
	return err
}

var errTwoPayloads = errors.New("the document has two payloads")

// measure looks at how the payload is written.
func (l *largePayload) measure(s *strictjson.Stream) error {
	if l.characters > 0 {
		return errTwoPayloads
	}
	l.at = s.Offset()
	text, err := s.Text()
	if err != nil {
		return err
	}
	var room [16 << 10]byte
	for {
		n, err := text.Read(room[:])
		ends := bytes.Count(room[:n], []byte("\n")) + bytes.Count(room[:n], []byte("\r"))
		pads := bytes.Count(room[:n], []byte("="))
		l.characters += int64(n - ends)
		l.padding += pads
		l.lineEnds = l.lineEnds || ends > 0
		l.url = l.url || bytes.ContainsAny(room[:n], "-_")
		switch {
		case errors.Is(err, io.EOF):
			if l.padding > 2 {
				return fmt.Errorf("the payload is not base64")
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// size is that of the payload, in bytes.
func (l *largePayload) size() int64 { return (l.characters - int64(l.padding)) * 3 / 4 }

// open decodes the payload from the beginning.
func (l *largePayload) open() io.Reader {
	text, err := strictjson.NewStream(l.spool.OpenAt(l.at), l.depth).Text()
	if err != nil {
		return failing{err}
	}
	enc := base64.StdEncoding
	if l.url {
		enc = base64.URLEncoding
	}
	if l.characters%4 != 0 && len(l.below) > 0 { // as protobuf's JSON allows it
		enc = enc.WithPadding(base64.NoPadding)
	}
	return &payloadReader{text: text, enc: enc, lineEnds: l.lineEnds}
}

// failing is a reader that has failed.
type failing struct{ err error }

// Read implements io.Reader.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// payloadReader decodes base64 as the readers of small envelopes do: every quantum
// but the last has four characters and no padding.
type payloadReader struct {
	text     io.Reader
	enc      *base64.Encoding
	lineEnds bool

	in   [16 << 10]byte
	have int // of in
	out  [12 << 10]byte
	left []byte // of out
	err  error
}

var errBase64 = errors.New("the payload is not base64")

// Read implements io.Reader.
func (r *payloadReader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func (r *payloadReader) fill() {
	n, err := r.text.Read(r.in[r.have:])
	part := r.in[r.have : r.have+n]
	if r.lineEnds {
		part = slices.DeleteFunc(part, func(c byte) bool { return c == '\n' || c == '\r' })
	}
	r.have += len(part)
	last := errors.Is(err, io.EOF)
	if r.err = err; err != nil && !last {
		return
	}
	whole := r.have
	if !last {
		// The last quantum may be padded, or short: it waits for what follows.
		whole = max(r.have-1, 0) / 4 * 4
	}
	m, bad := r.enc.Decode(r.out[:], r.in[:whole])
	if bad != nil || !last && m != whole/4*3 {
		r.err = errBase64
		return
	}
	r.left = r.out[:m]
	r.have = copy(r.in[:], r.in[whole:r.have])
}

// preAuthentication is what DSSE signs before the payload
// (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md).
func (l *largePayload) preAuthentication(payloadType string) string {
	return "DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.FormatInt(l.size(), 10) + " "
}

// setLarge is setEnvelope for a large payload: what is hashed and what is read are
// the same bytes, in one pass.
func (v *Verifier) setLarge(p *item, t *target, payloadType string, l *largePayload, sig envelopeSignature) *rejection {
	sum, pae := sha256.New(), sha256.New()
	before := l.preAuthentication(payloadType)
	io.WriteString(pae, before) //nolint:errcheck // a hash takes everything
	st, rej := v.readLargeStatement(l, io.TeeReader(l.open(), io.MultiWriter(sum, pae)))
	if rej != nil {
		return rej
	}
	l.sum = sum.Sum(nil)
	p.statement, p.payload, p.keyID = st, body{large: l}, sig.keyID
	if p.matched, p.subject, rej = st.about(t); rej != nil {
		return rej
	}
	p.over = signed{
		sig: sig.sig, digests: map[crypto.Hash][]byte{crypto.SHA256: pae.Sum(nil)},
		whole: func() io.Reader { return io.MultiReader(strings.NewReader(before), l.open()) },
	}
	p.content = &message{algorithm: "sha256", digest: p.over.digests[crypto.SHA256], sig: sig.sig}
	return v.largeProvenance(p, l)
}

var statementNames = strictjson.NewNames("_type", "subject", "predicateType", "predicate")

// readLargeStatement is readStatement, without the predicate.
func (v *Verifier) readLargeStatement(l *largePayload, payload io.Reader) (*statement, *rejection) {
	s := strictjson.NewStream(payload, v.limits.JSONDepth)
	head := map[string]json.RawMessage{}
	if s.Kind() != strictjson.KindObject {
		raw, err := s.Raw(largestHead)
		if err != nil {
			return nil, reject(facts.CodeMalformed, "the signed statement cannot be read: %s", cause(err))
		}
		return readStatement(raw, v.limits.JSONDepth, v.limits.StatementSubjects)
	}
	err := s.Object(statementNames, func(key string) error {
		if key == "predicate" {
			l.from = s.Offset()
			err := s.Skip()
			l.to = s.Offset()
			return err
		}
		raw, err := s.Raw(largestHead)
		head[key] = raw
		return err
	})
	if err == nil {
		err = s.End()
	}
	var doc []byte
	if err == nil {
		doc, err = json.Marshal(head)
	}
	if err != nil {
		return nil, reject(facts.CodeMalformed, "the signed statement cannot be read: %s", cause(err))
	}
	return readStatement(doc, v.limits.JSONDepth, v.limits.StatementSubjects)
}

// predicate reads the predicate of a large payload.
func (l *largePayload) predicate() (io.Reader, error) {
	if l.to == 0 {
		return strings.NewReader("null"), nil
	}
	r := l.open()
	if _, err := io.CopyN(io.Discard, r, l.from); err != nil {
		return nil, err
	}
	return io.LimitReader(r, l.to-l.from), nil
}

func (l *largePayload) predicateBytes() ([]byte, error) {
	r, err := l.predicate()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// largeProvenance reads provenance, which is never so large but for what does not go
// into the one shape.
func (v *Verifier) largeProvenance(p *item, l *largePayload) *rejection {
	if !provenance.Known(p.statement.PredicateType) {
		return nil
	}
	if l.to-l.from > largestProvenance {
		return reject(facts.CodeTooLarge, "signed provenance of %d bytes, more than %d", l.to-l.from, largestProvenance)
	}
	raw, err := l.predicateBytes()
	if err != nil {
		return unspooled(err)
	}
	if p.provenance, err = provenance.Parse(p.statement.PredicateType, raw); err != nil {
		return unreadable(err)
	}
	return nil
}

// largeAttestation adds predicate and projection.
func (v *Verifier) largeAttestation(p *item, a facts.Attestation) facts.Attestation {
	l := p.payload.large
	if l.to-l.from <= v.limits.PredicateBytes {
		if raw, err := l.predicateBytes(); err == nil {
			a.Predicate = raw
		}
	}
	r, err := l.predicate()
	if err != nil {
		a.ProjectionError = cause(err)
		return a
	}
	v.project(&a, r)
	return a
}

// largeEntryAlone does what sigstore-go does for an entry (VerifyTlogEntry), on
// hashes. A Rekor v2 entry is over the hash of what was signed, which it takes; for
// one of Rekor v1 it wants the payload itself, so each of its steps is taken here.
func (a *attempt) largeEntryAlone(e *logEntry) *rejection {
	wrong := func(err error) *rejection {
		return reject(facts.CodeLogEntryInvalid, "the log entry at %s does not verify: %s", a.root.Log(e.logID()).BaseURL, proofCause(err)).at(stepEntries)
	}
	if e.entry.IsRekorV2() {
		hash := a.loggedHash()
		over := a.item.over.digest(hash)
		if over == nil {
			return wrong(errors.New("what was signed cannot be read again"))
		}
		view := &entity{content: &message{algorithm: hashName(hash), digest: over, sig: a.item.over.sig}, signer: a.signer, entries: []*tlog.Entry{e.entry}}
		if _, err := verify.VerifyTlogEntry(view, a.material, 1, true); err != nil {
			return wrong(err)
		}
		return nil
	}
	if err := a.largeEntryV1(e); err != nil {
		return wrong(err)
	}
	return nil
}

// loggedHash is what Rekor v2 hashes with for the signer's key.
func (a *attempt) loggedHash() crypto.Hash {
	key := a.signerKey()
	if k, ok := key.(*ecdsa.PublicKey); ok {
		switch k.Curve {
		case elliptic.P384():
			return crypto.SHA384
		case elliptic.P521():
			return crypto.SHA512
		}
	}
	if isEd25519(a.signer) {
		return crypto.SHA512
	}
	return crypto.SHA256
}

func hashName(h crypto.Hash) string {
	switch h {
	case crypto.SHA384:
		return "sha384"
	case crypto.SHA512:
		return "sha512"
	}
	return "sha256"
}

func (a *attempt) signerKey() crypto.PublicKey {
	switch s := a.signer.(type) {
	case *certificateSigner:
		return s.leaf.PublicKey
	case *keySigner:
		return s.key
	}
	return nil
}

func (a *attempt) largeEntryV1(e *logEntry) error {
	if err := tlog.ValidateEntry(e.entry); err != nil {
		return err
	}
	if !e.hasSET() && !e.hasProof() {
		return errors.New("it has neither a promise nor a proof")
	}
	if e.hasSET() {
		if err := tlog.VerifySET(e.entry, a.material.RekorLogs()); err != nil {
			return err
		}
	}
	if e.hasProof() {
		if !e.hasV1Checkpoint() {
			return errors.New("its checkpoint is not one of Rekor v1")
		}
		log := a.root.Log(e.logID())
		verifier, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
		if err != nil {
			return err
		}
		if err := tlog.VerifyInclusion(e.entry, verifier); err != nil {
			return err
		}
	}
	hash, ok := e.entry.GetDssePayloadHash()
	at := e.entry.IntegratedTime()
	switch {
	case !bytes.Equal(e.entry.Signature(), a.item.over.sig):
		return errors.New("its signature is another one")
	case !a.signer.CompareKey(e.entry.PublicKey(), a.material):
		return errors.New("it was made with another key or certificate")
	case !ok:
		return errors.New("it is not about a DSSE envelope")
	case !bytes.Equal(hash, a.item.payload.large.sum):
		return errors.New("it is about another payload")
	case !at.IsZero() && !a.signer.ValidAtTime(at, a.material):
		return fmt.Errorf("it was made at %s, when the certificate was not valid", at.UTC().Format(time.RFC3339))
	}
	return nil
}
