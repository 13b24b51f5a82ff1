package sigstack

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// Signature is one signature of a DSSE envelope.
type Signature struct {
	KeyID string `json:"keyid,omitempty"`
	Sig   []byte `json:"sig"`
}

// Envelope is a DSSE envelope.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signatures  []Signature
}

// PAE is the pre-authentication encoding, which is what a DSSE signature is over.
func (e *Envelope) PAE() []byte {
	head := fmt.Sprintf("DSSEv1 %d %s %d ", len(e.PayloadType), e.PayloadType, len(e.Payload))
	return append([]byte(head), e.Payload...)
}

// JSON is the envelope as cosign stores it in an .att layer and uploads it.
func (e *Envelope) JSON() []byte {
	type wire struct {
		Payload     []byte      `json:"payload"`
		PayloadType string      `json:"payloadType"`
		Signatures  []Signature `json:"signatures"`
	}
	signatures := e.Signatures
	if signatures == nil {
		signatures = []Signature{}
	}
	b, err := marshal(wire{e.Payload, e.PayloadType, signatures})
	if err != nil {
		// Bytes and strings always encode.
		panic(fmt.Sprintf("sigstack: encoding an envelope: %v", err))
	}
	return b
}

// Message is a signature over bytes that are not in the bundle.
type Message struct {
	Algorithm string // "SHA2_256", …
	Digest    []byte
	Signature []byte
}

// Evidence is a signature with everything that came with it. Every field may be
// edited before it is written out; that is how forgeries are made.
type Evidence struct {
	// Image is the digest "sha256:<hex>" that the signature is about, where it is
	// about one: nothing verified depends on it, publishing uses it.
	Image string
	// PredicateType as the OCI annotations should show it, not the signed one.
	PredicateType string

	Key         *Key
	Certificate []byte   // DER leaf; nil when signed with a bare key
	Chain       [][]byte // DER, from the leaf's issuer to the root
	Hint        string   // public key hint; Key.Hint() unless changed

	Envelope *Envelope // DSSE, or
	Message  *Message  // a message signature
	Payload  []byte    // the bytes that Message signs: an artifact or a simplesigning payload

	Entries    []*Entry
	Timestamps [][]byte // DER TimeStampResp
}

// Leaf is the parsed certificate, nil when there is none.
func (e *Evidence) Leaf() *x509.Certificate {
	if e.Certificate == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(e.Certificate)
	if err != nil {
		return nil
	}
	return cert
}

// Clone copies the evidence; the key is shared.
func (e *Evidence) Clone() *Evidence {
	c := *e
	c.Certificate = slices.Clone(e.Certificate)
	c.Chain = cloneAll(e.Chain)
	c.Payload = slices.Clone(e.Payload)
	c.Timestamps = cloneAll(e.Timestamps)
	if e.Envelope != nil {
		env := *e.Envelope
		env.Payload = slices.Clone(env.Payload)
		env.Signatures = nil
		for _, s := range e.Envelope.Signatures {
			env.Signatures = append(env.Signatures, Signature{s.KeyID, slices.Clone(s.Sig)})
		}
		c.Envelope = &env
	}
	if e.Message != nil {
		c.Message = &Message{e.Message.Algorithm, slices.Clone(e.Message.Digest), slices.Clone(e.Message.Signature)}
	}
	c.Entries = nil
	for _, entry := range e.Entries {
		c.Entries = append(c.Entries, entry.Clone())
	}
	return &c
}

func cloneAll(in [][]byte) [][]byte {
	var out [][]byte
	for _, b := range in {
		out = append(out, slices.Clone(b))
	}
	return out
}

func pemCertificates(ders ...[]byte) string {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(out)
}
