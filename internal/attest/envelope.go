package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// PayloadType is the type of what the envelope holds.
	PayloadType = "application/vnd.in-toto+json"
	// BundleType is the media type of the Sigstore bundles that are made here.
	BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// EnvelopeType is that of the bare envelope.
	EnvelopeType = "application/vnd.dsse.envelope.v1+json"
)

// Envelope is a DSSE envelope (https://github.com/secure-systems-lab/dsse).
type Envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

// signature has no keyid: it would be a hint that nobody signs, and slsa-verifier
// refuses one that it was not told.
type signature struct {
	Sig []byte `json:"sig"`
}

// The Sigstore bundle, in the protobuf JSON form
// (https://github.com/sigstore/protobuf-specs, sigstore_bundle.proto).
type (
	bundle struct {
		MediaType            string   `json:"mediaType"`
		VerificationMaterial material `json:"verificationMaterial"`
		DSSEEnvelope         Envelope `json:"dsseEnvelope"`
	}
	material struct {
		PublicKey publicKey `json:"publicKey"`
	}
	publicKey struct {
		Hint string `json:"hint"`
	}
)

// hintOf is how cosign names a key in a bundle: the base64 SHA-256 of its
// SubjectPublicKeyInfo.
func hintOf(sum [32]byte) string { return base64.StdEncoding.EncodeToString(sum[:]) }

func (e *Envelope) bundle(hint string) ([]byte, error) {
	return json.Marshal(bundle{BundleType, material{publicKey{hint}}, *e})
}

// FromBundle takes the bare envelope out of a bundle that was made here.
func FromBundle(raw []byte) ([]byte, error) {
	var b bundle
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, fmt.Errorf("reading a bundle: %w", err)
	}
	if len(b.DSSEEnvelope.Signatures) == 0 {
		return nil, errors.New("reading a bundle: it holds no signed envelope")
	}
	return json.Marshal(b.DSSEEnvelope)
}

// pae is DSSE's pre-authentication encoding, which is what is signed: "DSSEv1" SP
// LEN(type) SP type SP LEN(body) SP body.
func pae(payloadType string, payload []byte) []byte {
	out := []byte("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	return append(out, payload...)
}

const (
	purposeAttested = "attested"
	// attestedAge is how long a signature is kept to be given again.
	attestedAge = 24 * time.Hour
)

// envelope signs a summary, or gives what was signed before: under one key, a
// statement is signed once.
func (a *Attester) envelope(ctx context.Context, s *Summary) (*Envelope, error) {
	payload, err := s.Statement()
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(a.fingerprint + " " + a.Hash() + " " + string(payload)))
	if a.cfg.Cache != nil {
		if sig, _, _, ok := a.cfg.Cache.Get(ctx, purposeAttested, key, a.cfg.Now()); ok {
			return &Envelope{PayloadType, payload, []signature{{sig}}}, nil
		}
	}
	// The work goes on when the first caller leaves: others wait for it.
	done := a.flights.DoChan(string(key[:]), func() (any, error) {
		sig, err := a.sign(payload)
		if err == nil && a.cfg.Cache != nil {
			a.cfg.Cache.Put(context.WithoutCancel(ctx), purposeAttested, key, sig, a.cfg.Now().Add(attestedAge))
		}
		return sig, err
	})
	timer := time.NewTimer(a.cfg.Patience)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		sig, _ := r.Val.([]byte)
		return &Envelope{PayloadType, payload, []signature{{sig}}}, nil
	case <-timer.C:
		return nil, fmt.Errorf("the key did not sign within %s", a.cfg.Patience)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sign signs a payload. A key in this process signs the same payload the same way
// each time: ECDSA without randomness is RFC 6979's, as crypto/ecdsa says.
func (a *Attester) sign(payload []byte) (sig []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the key's client failed")
		}
	}()
	message := pae(PayloadType, payload)
	random := rand.Reader
	if a.cfg.Hash != 0 {
		h := a.cfg.Hash.New()
		h.Write(message)
		message = h.Sum(nil)
	}
	if _, ok := a.cfg.Key.(*ecdsa.PrivateKey); ok {
		random = nil
	}
	sig, err = a.cfg.Key.Sign(random, message, crypto.SignerOpts(a.cfg.Hash))
	if err != nil {
		return nil, err
	}
	if len(sig) == 0 {
		return nil, errors.New("the key gave an empty signature")
	}
	return sig, nil
}
