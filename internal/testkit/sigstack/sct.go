package sigstack

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"time"
)

// SCTMode says what a certificate carries as its signed certificate timestamp.
type SCTMode int

// The ways a certificate can be logged, or pretend to be.
const (
	SCTValid   SCTMode = iota // by the stack's CT log
	SCTNone                   // no SCT list
	SCTForeign                // by a log that no trust root knows
	SCTCorrupt                // by the stack's CT log, with a broken signature
	SCTTwice                  // the valid SCT, two times in the list
)

// oidSCTList is the extension of embedded SCTs, RFC 6962 section 3.3.
var oidSCTList = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// CTLog is a certificate transparency log: only its key, for nothing asks it for
// proofs.
type CTLog struct{ key *Key }

// ID is the SHA-256 of the log's SPKI.
func (l *CTLog) ID() []byte {
	sum := sha256.Sum256(l.key.SPKI())
	return sum[:]
}

// Key is the log's key.
func (l *CTLog) Key() *Key { return l.key }

// sct serialises a version 1 SCT (RFC 6962 section 3.2) over a precertificate
// entry. The TBS is that of a certificate without the SCT list, which is what a
// verifier gets when it takes the list out; so no precertificate is needed.
func (l *CTLog) sct(tbs, issuerSPKI []byte, at time.Time) ([]byte, error) {
	const (
		v1                   = 0
		certificateTimestamp = 0
		precertEntry         = 1
	)
	millis := uint64(at.UnixMilli())
	issuer := sha256.Sum256(issuerSPKI)
	in := []byte{v1, certificateTimestamp}
	in = binary.BigEndian.AppendUint64(in, millis)
	in = binary.BigEndian.AppendUint16(in, precertEntry)
	in = append(in, issuer[:]...)
	in = append(in, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	in = append(in, tbs...)
	in = append(in, 0, 0) // no CT extensions
	sig, err := l.key.SignMessage(in)
	if err != nil {
		return nil, fmt.Errorf("signing SCT: %w", err)
	}
	out := append([]byte{v1}, l.ID()...)
	out = binary.BigEndian.AppendUint64(out, millis)
	out = append(out, 0, 0)
	out = append(out, 4, 3) // SHA-256, ECDSA: RFC 5246 section 7.4.1.4.1
	out = binary.BigEndian.AppendUint16(out, uint16(len(sig)))
	return append(out, sig...), nil
}

// sctList makes the extension for a leaf that was created without it.
func (s *Stack) sctList(leaf *x509.Certificate, issuer *x509.Certificate, mode SCTMode, at time.Time) (*pkix.Extension, error) {
	log := s.CT
	if mode == SCTForeign {
		log = s.foreignCT
	}
	sct, err := log.sct(leaf.RawTBSCertificate, issuer.RawSubjectPublicKeyInfo, at)
	if err != nil {
		return nil, err
	}
	if mode == SCTCorrupt {
		sct[len(sct)-1] ^= 0xff
	}
	one := append(binary.BigEndian.AppendUint16(nil, uint16(len(sct))), sct...)
	list := one
	if mode == SCTTwice {
		list = append(append([]byte{}, one...), one...)
	}
	value, err := asn1.Marshal(append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...))
	if err != nil {
		return nil, fmt.Errorf("encoding SCT list: %w", err)
	}
	return &pkix.Extension{Id: oidSCTList, Value: value}, nil
}
