package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"math/big"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Material gives the root to sigstore-go's verifier. It must not be changed.
func (r *Root) Material() root.TrustedMaterial { return r.material }

// Log gives the transparency log with the given key id, nil if the root does
// not know it.
func (r *Root) Log(id []byte) *root.TransparencyLog {
	return r.material.RekorLogs()[hex.EncodeToString(id)]
}

// KnowsLog says whether the root has the transparency log with this key id.
func (r *Root) KnowsLog(id []byte) bool { return r.Log(id) != nil }

// KnowsAuthority says whether a timestamp signed by the certificate with this
// issuer name (raw DER) and serial number would have to verify under the root:
// it is one of the root's timestamp authorities or claims to be issued by one.
func (r *Root) KnowsAuthority(rawIssuer []byte, serial *big.Int) bool {
	for _, tsa := range r.authorities() {
		if tsa.Leaf != nil {
			if bytes.Equal(tsa.Leaf.RawIssuer, rawIssuer) && tsa.Leaf.SerialNumber.Cmp(serial) == 0 {
				return true
			}
			continue
		}
		if issuedBy(rawIssuer, tsa.Root, tsa.Intermediates) {
			return true
		}
	}
	return false
}

// Authorities are the timestamp authorities, in the root's order.
func (r *Root) Authorities() []root.TimestampingAuthority {
	return r.material.TimestampingAuthorities()
}

func (r *Root) authorities() []*root.SigstoreTimestampingAuthority {
	all := r.material.TimestampingAuthorities()
	out := make([]*root.SigstoreTimestampingAuthority, 0, len(all))
	for _, tsa := range all {
		if s, ok := tsa.(*root.SigstoreTimestampingAuthority); ok {
			out = append(out, s)
		}
	}
	return out
}

// MayIssue says whether any certificate of the root's authorities has the
// issuer name (raw DER) of a leaf. Where none has, no chain can be built:
// crypto/x509 finds parents by their subject name alone.
func (r *Root) MayIssue(rawIssuer []byte) bool {
	for _, ca := range r.material.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); !ok || issuedBy(rawIssuer, f.Root, f.Intermediates) {
			return true
		}
	}
	return false
}

func issuedBy(rawIssuer []byte, top *x509.Certificate, between []*x509.Certificate) bool {
	if top != nil && bytes.Equal(top.RawSubject, rawIssuer) {
		return true
	}
	for _, c := range between {
		if bytes.Equal(c.RawSubject, rawIssuer) {
			return true
		}
	}
	return false
}
