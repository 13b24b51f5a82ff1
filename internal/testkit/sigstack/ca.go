package sigstack

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// CA is an issuing certificate with its key and the certificates above it.
type CA struct {
	Certificate *x509.Certificate
	Parents     []*x509.Certificate // from its issuer to the root; empty for a root
	key         *Key
}

// Chain is the CA's own certificate followed by its parents.
func (ca *CA) Chain() []*x509.Certificate {
	return append([]*x509.Certificate{ca.Certificate}, ca.Parents...)
}

// CertSpec are the parts of a signing certificate that are not the identity. The
// zero value is what Fulcio issues.
type CertSpec struct {
	NotBefore time.Time // default: the signing time
	NotAfter  time.Time // default: ten minutes later
	SCT       SCTMode
	SCTTime   time.Time // default: NotBefore
	// ExtraIntermediates puts that many further CAs, unknown to the trust root,
	// between Fulcio's intermediate and the leaf; all with one key.
	ExtraIntermediates int
	// Template has the last word about the certificate, before the SCT is made.
	Template func(*x509.Certificate)
}

// window is a validity period.
type window struct{ from, until time.Time }

// serial is a new 160-bit serial number, in the order of calls.
func (s *Stack) serial() *big.Int {
	sum := sha256.Sum256([]byte(s.next("serial")))
	sum[0] &= 0x7f
	return new(big.Int).SetBytes(sum[:20])
}

func (s *Stack) newCA(name string, alg Algorithm, valid window, parent *CA, usage ...x509.ExtKeyUsage) (*CA, error) {
	key, err := deriveKey(s.seed, s.Name+"/"+name, alg)
	if err != nil {
		return nil, err
	}
	return s.newCAWithKey(name, key, valid, parent, usage...)
}

func (s *Stack) newCAWithKey(name string, key *Key, valid window, parent *CA, usage ...x509.ExtKeyUsage) (*CA, error) {
	template := &x509.Certificate{
		SerialNumber:          s.serial(),
		Subject:               pkix.Name{Organization: []string{s.Name}, CommonName: name},
		NotBefore:             valid.from,
		NotAfter:              valid.until,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage:           usage,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	ca := &CA{key: key}
	signer, issuer := key, template
	if parent != nil {
		signer, issuer = parent.key, parent.Certificate
		ca.Parents = parent.Chain()
	}
	cert, err := create(template, issuer, key, signer)
	if err != nil {
		return nil, fmt.Errorf("issuing CA %q: %w", name, err)
	}
	ca.Certificate = cert
	return ca, nil
}

func create(template, issuer *x509.Certificate, subject, signer *Key) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, subject.Public(), signer.signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Issue makes a signing certificate for a key. The chain has the issuers from
// the leaf's own to the root.
func (s *Stack) Issue(id *Identity, key *Key, at time.Time, spec CertSpec) (leaf *x509.Certificate, chain []*x509.Certificate, err error) {
	if spec.NotBefore.IsZero() {
		spec.NotBefore = at
	}
	if spec.NotAfter.IsZero() {
		spec.NotAfter = spec.NotBefore.Add(10 * time.Minute)
	}
	if spec.SCTTime.IsZero() {
		spec.SCTTime = spec.NotBefore
	}
	issuer := s.Fulcio
	if spec.ExtraIntermediates > 0 {
		key, err := deriveKey(s.seed, s.Name+"/extra", ECDSAP256SHA256)
		if err != nil {
			return nil, nil, err
		}
		for i := range spec.ExtraIntermediates {
			valid := window{issuer.Certificate.NotBefore, issuer.Certificate.NotAfter}
			issuer, err = s.newCAWithKey(fmt.Sprintf("extra-%d", i+1), key, valid, issuer, x509.ExtKeyUsageCodeSigning)
			if err != nil {
				return nil, nil, err
			}
		}
	}
	extensions, err := id.extensions()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:    s.serial(),
		NotBefore:       spec.NotBefore,
		NotAfter:        spec.NotAfter,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: extensions,
	}
	if spec.Template != nil {
		spec.Template(template)
	}
	leaf, err = create(template, issuer.Certificate, key, issuer.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing leaf: %w", err)
	}
	if spec.SCT != SCTNone {
		list, err := s.sctList(leaf, issuer.Certificate, spec.SCT, spec.SCTTime)
		if err != nil {
			return nil, nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, *list)
		if leaf, err = create(template, issuer.Certificate, key, issuer.key); err != nil {
			return nil, nil, fmt.Errorf("issuing leaf with SCT: %w", err)
		}
	}
	return leaf, issuer.Chain(), nil
}

// newTSACertificate issues a timestamping certificate: one extended key usage,
// marked critical (RFC 3161 section 2.3).
func (s *Stack) newTSACertificate(name string, key *Key, valid window, issuer *CA) (*x509.Certificate, error) {
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return nil, fmt.Errorf("encoding key usage: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          s.serial(),
		Subject:               pkix.Name{Organization: []string{s.Name}, CommonName: name},
		NotBefore:             valid.from,
		NotAfter:              valid.until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	cert, err := create(template, issuer.Certificate, key, issuer.key)
	if err != nil {
		return nil, fmt.Errorf("issuing %q: %w", name, err)
	}
	return cert, nil
}
