package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sync/singleflight"

	"github.com/signet-policy/signet/internal/verdict"
)

// ErrInvalid wraps what is wrong with a [Config].
var ErrInvalid = errors.New("invalid attester")

// Cache keeps what was signed until its own expiry, so that a key which signs
// differently each time is asked once for each verdict. Whatever is wrong with it
// is a miss.
type Cache interface {
	Get(ctx context.Context, purpose string, key [32]byte, now time.Time) (value []byte, expiry time.Time, tier string, ok bool)
	Put(ctx context.Context, purpose string, key [32]byte, value []byte, expiry time.Time)
}

// Pusher puts an attestation beside its image.
type Pusher interface {
	// Push puts a bundle beside repository@subject and returns name@digest of its
	// manifest.
	Push(ctx context.Context, p Pushed) (where string, err error)
}

// Pushed is what is put beside an image.
type Pushed struct {
	// Image is name@digest.
	Image  string
	Bundle []byte
	// PredicateType and CreatedAt stand in the manifest's annotations.
	PredicateType string
	CreatedAt     time.Time
}

// Config of an attester. VerifierID and Key are needed.
type Config struct {
	// VerifierID is a URI that says who verified, as consumers will be told to
	// expect it.
	VerifierID string
	// Key signs. It may be in a KMS: each signature is then a call, within Patience.
	Key crypto.Signer
	// Hash is what Key signs a hash of; 0: what [HashOf] says, or nothing for Ed25519.
	Hash crypto.Hash
	// Cache is optional.
	Cache Cache
	// Patience bounds one signature (10 s).
	Patience time.Duration
	// Push is nil where nothing is to be pushed; PushTime bounds one push (20 s), and
	// what was pushed is not pushed again for PushEvery (24 h).
	Push                Pusher
	PushTime, PushEvery time.Duration
	Now                 func() time.Time
	// Log is told of pushes that failed behind an answer.
	Log *slog.Logger
}

// Attester signs summaries. It is safe for concurrent use.
type Attester struct {
	cfg         Config
	pem         string
	fingerprint string
	hint        string
	flights     singleflight.Group
	pushes      pushes
}

// New checks cfg and fills in defaults. Errors wrap [ErrInvalid].
func New(cfg Config) (*Attester, error) {
	if err := CheckVerifierID(cfg.VerifierID); err != nil {
		return nil, fmt.Errorf("%w: verifier_id: %w", ErrInvalid, err)
	}
	if cfg.Key == nil {
		return nil, fmt.Errorf("%w: there is no key to sign with", ErrInvalid)
	}
	hash, err := HashOf(cfg.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("%w: the key %w", ErrInvalid, err)
	}
	if cfg.Hash == 0 {
		cfg.Hash = hash
	}
	if _, pure := cfg.Key.Public().(ed25519.PublicKey); pure {
		cfg.Hash = 0
	}
	der, err := x509.MarshalPKIXPublicKey(cfg.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("%w: encoding the public key: %w", ErrInvalid, err)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Patience, cfg.PushTime, cfg.PushEvery = orDefault(cfg.Patience, 10*time.Second), orDefault(cfg.PushTime, 20*time.Second), orDefault(cfg.PushEvery, 24*time.Hour)
	sum := sha256.Sum256(der)
	a := &Attester{
		cfg: cfg, fingerprint: hex.EncodeToString(sum[:]), hint: hintOf(sum),
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}
	return a, nil
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// longestID bounds a verifier's id, in bytes.
const longestID = 512

// CheckVerifierID says what is wrong with a verifier's id: SLSA wants a URI, and
// consumers compare it to the letter.
func CheckVerifierID(id string) error {
	u, err := url.Parse(id)
	switch {
	case id == "":
		return errors.New("is missing; write a URI that consumers will know you by, such as https://example.com/signet")
	case len(id) > longestID:
		return fmt.Errorf("has %d bytes; %d are the most", len(id), longestID)
	case err != nil || u.Scheme == "" || u.Opaque == "" && u.Host == "" || strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Errorf("%q is no absolute URI; write one that consumers will know you by, such as https://example.com/signet", id)
	}
	return nil
}

// minRSABits is the smallest modulus that is taken.
const minRSABits = 2048

// HashOf is the hash that a key's signatures are over, as long as nobody says
// otherwise: SHA-256 for every key from a file, as cosign and slsa-verifier read
// such keys whatever their curve, and 0 for Ed25519, which hashes by itself.
func HashOf(pub crypto.PublicKey) (crypto.Hash, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return crypto.SHA256, nil
		}
		return 0, errors.New("is on a curve other than P-256, P-384 and P-521")
	case ed25519.PublicKey:
		return 0, nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return 0, fmt.Errorf("is RSA with %d bits; give at least %d", k.N.BitLen(), minRSABits)
		}
		return crypto.SHA256, nil
	}
	return 0, fmt.Errorf("is a %T, not ECDSA, Ed25519 or RSA", pub)
}

// CurveHash is the hash that a key in a KMS signs with: the one of its curve, for a
// service knows no other.
func CurveHash(pub crypto.PublicKey) crypto.Hash {
	if k, ok := pub.(*ecdsa.PublicKey); ok {
		switch k.Curve {
		case elliptic.P384():
			return crypto.SHA384
		case elliptic.P521():
			return crypto.SHA512
		}
	}
	return crypto.SHA256
}

// VerifierID is the one that summaries carry.
func (a *Attester) VerifierID() string { return a.cfg.VerifierID }

// PublicKey is PEM (PKIX).
func (a *Attester) PublicKey() string { return a.pem }

// Fingerprint is the hex SHA-256 of the key's SubjectPublicKeyInfo.
func (a *Attester) Fingerprint() string { return a.fingerprint }

// Pushes says whether attestations are put beside their images.
func (a *Attester) Pushes() bool { return a.cfg.Push != nil }

// Hash is the name of the hash that signatures are over, such as SHA-256; "" for
// Ed25519.
func (a *Attester) Hash() string {
	if a.cfg.Hash == 0 {
		return ""
	}
	return a.cfg.Hash.String()
}

// Attest gives the attestation of a verdict. What goes wrong is in it: an
// attestation that cannot be made changes no decision.
func (a *Attester) Attest(ctx context.Context, v *verdict.Verdict) *verdict.Attestation {
	s, why := Summarize(v, a.cfg.VerifierID)
	if why != nil {
		return &verdict.Attestation{Result: verdict.AttestedNothing, Reason: why}
	}
	envelope, err := a.envelope(ctx, s)
	var bundle []byte
	if err == nil {
		bundle, err = envelope.bundle(a.hint)
	}
	if err != nil {
		a.cfg.Log.ErrorContext(ctx, "signing an attestation", "verdict", v.ID, "image", v.Image, "error", err.Error())
		return &verdict.Attestation{Result: verdict.AttestedNothing, Reason: reason(CodeNotSigned,
			"The verdict could not be signed, because the attester's key did not.", "Ask again; the operator finds the cause in the server's log.")}
	}
	return &verdict.Attestation{
		Result: s.Result, VerifierID: s.VerifierID, ResourceURI: s.ResourceURI, Policy: &s.Policy, VerifiedLevels: s.VerifiedLevels,
		Key: a.fingerprint, Bundle: bundle,
	}
}
