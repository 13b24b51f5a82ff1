package sigstack

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// TSA is a timestamp authority: a leaf under an intermediate under a root.
type TSA struct {
	URL  string
	Leaf *x509.Certificate
	CA   *CA
	key  *Key
}

// Chain is the authority's certificates from leaf to root.
func (t *TSA) Chain() []*x509.Certificate {
	return append([]*x509.Certificate{t.Leaf}, t.CA.Chain()...)
}

// TokenSpec are the choices of a timestamp response.
type TokenSpec struct {
	At time.Time
	// Certificates are embedded in the token, in this order; none by default, as
	// Sigstore's own authorities are asked.
	Certificates []*x509.Certificate
	Serial       *big.Int // default: from the message and the time
}

// Object identifiers of RFC 3161, RFC 5652 and RFC 5816.
var (
	oidSignedData     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCertV2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256         = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidECDSAWithSHA   = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidSigstorePolicy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}
)

type (
	tstInfo struct {
		Version        int
		Policy         asn1.ObjectIdentifier
		MessageImprint messageImprint
		SerialNumber   *big.Int
		GenTime        time.Time `asn1:"generalized"`
		Accuracy       struct {
			Seconds int `asn1:"optional"`
		}
		TSA asn1.RawValue
	}
	messageImprint struct {
		Algorithm pkix.AlgorithmIdentifier
		Hash      []byte
	}
	cmsAttribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	signerInfo struct {
		Version            int
		SID                issuerAndSerial
		DigestAlgorithm    pkix.AlgorithmIdentifier
		SignedAttrs        asn1.RawValue
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Signature          []byte
	}
	signedData struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		EncapContentInfo struct {
			Type    asn1.ObjectIdentifier
			Content []byte `asn1:"explicit,tag:0"`
		}
		Certificates asn1.RawValue `asn1:"optional"`
		SignerInfos  []signerInfo  `asn1:"set"`
	}
	timestampResponse struct {
		Status struct{ Status int }
		Token  struct {
			Type    asn1.ObjectIdentifier
			Content signedData `asn1:"explicit,tag:0"`
		}
	}
)

// Token is a granted TimeStampResp over a message, in DER.
func (t *TSA) Token(message []byte, spec TokenSpec) ([]byte, error) {
	at := spec.At.UTC().Truncate(time.Second)
	imprint := sha256.Sum256(message)
	if spec.Serial == nil {
		id := sha256.Sum256(append(imprint[:], at.String()...))
		id[0] &= 0x7f
		spec.Serial = new(big.Int).SetBytes(id[:20])
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	info := tstInfo{
		Version:        1,
		Policy:         oidSigstorePolicy,
		MessageImprint: messageImprint{pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}, imprint[:]},
		SerialNumber:   spec.Serial,
		GenTime:        at,
		// GeneralName directoryName [4], inside the field's explicit tag [0].
		TSA: contextTag(0, mustDER(contextTag(4, t.Leaf.RawSubject))),
	}
	info.Accuracy.Seconds = 1
	content, err := asn1.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encoding TSTInfo: %w", err)
	}
	attrs, err := t.attributes(content, at)
	if err != nil {
		return nil, err
	}
	// RFC 5652 section 5.4: what is signed is the SET OF, not the [0] that is sent.
	signed := mustDER(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: attrs})
	sig, err := t.key.SignMessage(signed)
	if err != nil {
		return nil, fmt.Errorf("signing timestamp: %w", err)
	}
	var resp timestampResponse
	resp.Token.Type = oidSignedData
	sd := &resp.Token.Content
	sd.Version = 3
	sd.DigestAlgorithms = []pkix.AlgorithmIdentifier{sha}
	sd.EncapContentInfo.Type = oidTSTInfo
	sd.EncapContentInfo.Content = content
	if len(spec.Certificates) > 0 {
		var raw []byte
		for _, c := range spec.Certificates {
			raw = append(raw, c.Raw...)
		}
		sd.Certificates = contextTag(0, raw)
	}
	sd.SignerInfos = []signerInfo{{
		Version:            1,
		SID:                issuerAndSerial{asn1.RawValue{FullBytes: t.Leaf.RawIssuer}, t.Leaf.SerialNumber},
		DigestAlgorithm:    sha,
		SignedAttrs:        contextTag(0, attrs),
		SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA},
		Signature:          sig,
	}}
	der, err := asn1.Marshal(resp)
	if err != nil {
		return nil, fmt.Errorf("encoding timestamp response: %w", err)
	}
	return der, nil
}

// attributes are the signed attributes, sorted as DER wants a SET OF.
func (t *TSA) attributes(content []byte, at time.Time) ([]byte, error) {
	type essCertID struct {
		Hash         []byte
		IssuerSerial struct {
			Names  []asn1.RawValue
			Serial *big.Int
		}
	}
	leaf := sha256.Sum256(t.Leaf.Raw)
	id := essCertID{Hash: leaf[:]}
	id.IssuerSerial.Names = []asn1.RawValue{contextTag(4, t.Leaf.RawIssuer)}
	id.IssuerSerial.Serial = t.Leaf.SerialNumber
	digest := sum(crypto.SHA256, content)
	var all [][]byte
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{
		{oidContentType, oidTSTInfo},
		{oidMessageDigest, digest},
		{oidSigningTime, at},
		{oidSigningCertV2, struct{ Certs []essCertID }{[]essCertID{id}}},
	} {
		value, err := asn1.Marshal(a.value)
		if err != nil {
			return nil, fmt.Errorf("encoding attribute %v: %w", a.oid, err)
		}
		der, err := asn1.Marshal(cmsAttribute{a.oid, asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: value}})
		if err != nil {
			return nil, fmt.Errorf("encoding attribute %v: %w", a.oid, err)
		}
		all = append(all, der)
	}
	slices.SortFunc(all, bytes.Compare)
	return bytes.Join(all, nil), nil
}

// contextTag is a constructed context-specific value around DER bytes.
func contextTag(tag int, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: content}
}

func mustDER(v asn1.RawValue) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		// A RawValue with class, tag and bytes always encodes.
		panic(fmt.Sprintf("sigstack: encoding a raw value: %v", err))
	}
	return der
}
