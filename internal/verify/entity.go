package verify

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"time"

	in_toto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// The types below show an item to sigstore-go's verifier. Its own bundle type
// decodes everything anew each time it is asked, shows log entries of strangers
// too, and has no place for cosign's old format.

// entity is a view of one item: its content, one signer, and the log entries and
// timestamps that are to be verified.
type entity struct {
	content verify.SignatureContent
	signer  verify.VerificationContent
	entries []*tlog.Entry
	tokens  [][]byte
}

var _ verify.SignedEntity = (*entity)(nil)

// entityVersion is none of the bundle versions for which sigstore-go tries P-384
// and P-521 certificates with SHA-256, too: it would print a line for each such
// signature. See signedAsOldClients.
const entityVersion = "signet"

func (e *entity) Version() (string, error)                                 { return entityVersion, nil }
func (e *entity) SignatureContent() (verify.SignatureContent, error)       { return e.content, nil }
func (e *entity) VerificationContent() (verify.VerificationContent, error) { return e.signer, nil }
func (e *entity) TlogEntries() ([]*tlog.Entry, error)                      { return e.entries, nil }
func (e *entity) Timestamps() ([][]byte, error)                            { return e.tokens, nil }
func (e *entity) HasInclusionPromise() bool                                { return e.any((*tlog.Entry).HasInclusionPromise) }
func (e *entity) HasInclusionProof() bool                                  { return e.any((*tlog.Entry).HasInclusionProof) }
func (e *entity) any(has func(*tlog.Entry) bool) bool {
	for _, entry := range e.entries {
		if has(entry) {
			return true
		}
	}
	return false
}

// envelope is a DSSE envelope with exactly one signature. The key id is left
// out: DSSE does not sign it, and a verifier that compares it turns away good
// signatures.
type envelope struct {
	raw dsse.Envelope
	sig []byte
}

func newEnvelope(payloadType string, payload, sig []byte) *envelope {
	return &envelope{
		raw: dsse.Envelope{
			PayloadType: payloadType,
			Payload:     base64.StdEncoding.EncodeToString(payload),
			Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
		},
		sig: sig,
	}
}

func (e *envelope) Signature() []byte                                       { return e.sig }
func (e *envelope) EnvelopeContent() verify.EnvelopeContent                 { return e }
func (e *envelope) MessageSignatureContent() verify.MessageSignatureContent { return nil }
func (e *envelope) RawEnvelope() *dsse.Envelope                             { return &e.raw }

// Statement is for callers that want sigstore-go's reading of the statement.
// We have our own.
func (e *envelope) Statement() (*in_toto.Statement, error) {
	return nil, errors.New("the statement is read elsewhere")
}

// message is a signature over bytes that stand elsewhere.
type message struct {
	algorithm string // "sha256", "sha384" or "sha512"
	digest    []byte
	sig       []byte
}

func (m *message) Signature() []byte                                       { return m.sig }
func (m *message) EnvelopeContent() verify.EnvelopeContent                 { return nil }
func (m *message) MessageSignatureContent() verify.MessageSignatureContent { return m }
func (m *message) Digest() []byte                                          { return m.digest }
func (m *message) DigestAlgorithm() string                                 { return m.algorithm }

// certificateSigner is a signer with a certificate. sigstore-go changes the
// certificate while verifying, so it belongs to one attempt.
type certificateSigner struct{ leaf *x509.Certificate }

func (c *certificateSigner) Certificate() *x509.Certificate      { return c.leaf }
func (c *certificateSigner) Intermediates() []*x509.Certificate  { return nil }
func (c *certificateSigner) PublicKey() verify.PublicKeyProvider { return nil }

// CompareKey says whether a log entry was made for this certificate.
func (c *certificateSigner) CompareKey(key any, _ root.TrustedMaterial) bool {
	other, ok := key.(*x509.Certificate)
	return ok && c.leaf.Equal(other)
}

// ValidAtTime says whether the certificate was valid at t.
func (c *certificateSigner) ValidAtTime(t time.Time, _ root.TrustedMaterial) bool {
	return !t.Before(c.leaf.NotBefore) && !t.After(c.leaf.NotAfter)
}

// keySigner is a signer with a bare key. Keys have no period of validity here:
// when a trusted key begins and ends is for the matching of signers.
type keySigner struct{ key crypto.PublicKey }

func (k *keySigner) Certificate() *x509.Certificate                       { return nil }
func (k *keySigner) Intermediates() []*x509.Certificate                   { return nil }
func (k *keySigner) PublicKey() verify.PublicKeyProvider                  { return k }
func (k *keySigner) Hint() string                                         { return "" }
func (k *keySigner) ValidAtTime(_ time.Time, _ root.TrustedMaterial) bool { return true }

// CompareKey says whether a log entry was made for this key.
func (k *keySigner) CompareKey(key any, _ root.TrustedMaterial) bool {
	other, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	if _, certificate := key.(*x509.Certificate); certificate || !ok {
		return false
	}
	return other.Equal(k.key)
}

// material is a trust root for one attempt: the root's logs and certificate
// authorities, its timestamp authorities under observation, and the one key
// that is being tried.
type material struct {
	root.TrustedMaterial
	authorities []root.TimestampingAuthority
	key         root.TimeConstrainedVerifier
}

func (m *material) TimestampingAuthorities() []root.TimestampingAuthority { return m.authorities }

// PublicKeyVerifier gives the key that is being tried, whatever the hint.
func (m *material) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	if m.key == nil {
		return nil, errors.New("no key is being tried")
	}
	return m.key, nil
}

func unexpiring(v signature.Verifier) root.TimeConstrainedVerifier {
	return root.NewExpiringKey(v, time.Time{}, time.Time{})
}
