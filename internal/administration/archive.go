package administration

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/strictjson"
)

// archiveType is the payload type of a trust archive's envelope.
const archiveType = "application/vnd.signet.trust+json"

// archiveSchema is the only schema that is read: an archive of another one may
// hold what this version cannot enforce.
const archiveSchema = "signet/trust/v1"

// exportLabel derives the key that signs archives from the installation's secret.
const exportLabel = "trust-export"

// Limits on a trust archive.
const (
	maxArchive          = 64 << 20
	archiveDepth        = 48
	maxArchivedSigners  = 100_000
	maxArchivedPolicies = 10_000
	maxArchivedBundles  = 1000
	// maxAhead is how far ahead of ours the clock of who made it may be. A date
	// in the far future would keep out every later archive.
	maxAhead = 24 * time.Hour
	// importTime is how long an import may take, another being kept out.
	importTime = 2 * time.Minute
)

// archive is what is carried: everything that decides who is trusted. The
// policies of the configuration are not in it, nor tokens and secrets.
type archive struct {
	Schema   string           `json:"schema"`
	MadeAt   time.Time        `json:"made_at"`
	Revision int64            `json:"revision"`
	Roots    []archivedRoot   `json:"roots"`
	Policies []archivedPolicy `json:"policies"`
	// Signers have no ids: they are told apart by name. Keys of kms signers are
	// in it, as they were pinned.
	Signers []client.Signer `json:"signers"`
	// Bundles are what policies name; absent in archives of older versions.
	Bundles []archivedBundle `json:"bundles,omitempty"`
}

// archivedBundle is a policy bundle with the archive that is in force. Where it
// came from is left behind: who imports it cannot ask there.
type archivedBundle struct {
	Name  string            `json:"name"`
	Owner string            `json:"owner"`
	Keys  map[string]string `json:"keys"`
	Scope string            `json:"scope"`
	// HighestSequence keeps what was rolled back from coming again.
	HighestSequence int64  `json:"highest_sequence"`
	Digest          string `json:"digest"`
	Archive         []byte `json:"archive"`
}

type archivedRoot struct {
	Name        string            `json:"name"`
	Position    int               `json:"position"`
	Kind        string            `json:"kind"`
	Digest      string            `json:"digest"`
	Requires    client.Requires   `json:"requires"`
	Images      []string          `json:"images"`
	TUFURL      string            `json:"tuf_url"`
	Target      string            `json:"target"`
	RefreshedAt *time.Time        `json:"refreshed_at"`
	TrustedRoot json.RawMessage   `json:"trusted_root"`
	TUFMetadata map[string][]byte `json:"tuf_metadata"`
}

type archivedPolicy struct {
	Name          string `json:"name"`
	Owner         string `json:"owner"`
	SigningPolicy string `json:"signing_policy"`
}

// envelope is a DSSE envelope (github.com/secure-systems-lab/dsse, envelope.md)
// with exactly one signature: which of two counts is nothing to guess about.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// signedBytes is the pre-authentication encoding (DSSE, protocol.md): "DSSEv1",
// then the type and the body, each behind its length.
func (e *envelope) signedBytes() []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
}

// exportKey is the key that signs this installation's archives. It changes with
// the secret.
func (s *Service) exportKey(ctx context.Context) (ed25519.PrivateKey, error) {
	secret, err := s.store.Secret(ctx)
	if err != nil {
		return nil, err
	}
	seed, err := secret.Derive(exportLabel)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed[:]), nil
}

// ExportKey is the public key, PEM (SPKI), that this installation's trust
// archives are signed with. Who imports one gets it by another way than the
// archive. It changes when the secret is rotated.
func (s *Service) ExportKey(ctx context.Context, c Caller) (string, error) {
	if err := c.whole(auth.Administer, "the key of trust archives"); err != nil {
		return "", err
	}
	key, err := s.exportKey(ctx)
	if err != nil {
		return "", err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", fmt.Errorf("encoding the key of trust archives: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})), nil
}

// keyID names a key by the lower-case hex SHA-256 of its SPKI.
func keyID(key crypto.PublicKey) (string, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding the key of trust archives: %w", err)
	}
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:]), nil
}

// ExportTrust writes one signed file to carry into an installation that cannot
// reach ours: trust roots with their TUF metadata, the API's policies, and
// signers, as of one revision. It is a DSSE envelope.
func (s *Service) ExportTrust(ctx context.Context, c Caller) ([]byte, error) {
	if err := c.whole(auth.Administer, "the trust archive"); err != nil {
		return nil, err
	}
	a, err := s.archived(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := facts.Canonical(a)
	if err != nil {
		return nil, err
	}
	key, err := s.exportKey(ctx)
	if err != nil {
		return nil, err
	}
	return seal(payload, key)
}

func seal(payload []byte, key ed25519.PrivateKey) ([]byte, error) {
	id, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	e := envelope{PayloadType: archiveType, Payload: payload}
	e.Signatures = []envelopeSignature{{KeyID: id, Sig: ed25519.Sign(key, e.signedBytes())}}
	signed, err := json.Marshal(e)
	if err == nil && len(signed) > maxArchive {
		return nil, fmt.Errorf("the trust archive has %d bytes, and more than %d are not read", len(signed), maxArchive)
	}
	return signed, err
}

func (s *Service) archived(ctx context.Context) (*archive, error) {
	snap, err := s.store.Snapshot(ctx, nil)
	if err != nil {
		return nil, err
	}
	a := &archive{
		Schema: archiveSchema, MadeAt: s.now().UTC().Truncate(time.Microsecond), Revision: snap.Active.Revision,
		Roots: []archivedRoot{}, Policies: []archivedPolicy{}, Signers: []client.Signer{},
	}
	for _, row := range snap.Roots {
		root, err := loadRoot(ctx, s.store, row)
		if err != nil {
			return nil, err
		}
		metadata, err := loadMetadata(ctx, s.store, row)
		if err != nil {
			return nil, err
		}
		req := root.Requires()
		a.Roots = append(a.Roots, archivedRoot{
			Name: row.Name, Position: row.Position, Kind: row.Kind, Digest: row.Digest,
			Requires: client.Requires{Log: req.Log, SCT: req.SCT, Timestamp: req.Timestamp}, Images: orEmpty(row.Images),
			TUFURL: row.TUFURL, Target: row.Target, RefreshedAt: row.RefreshedAt, TrustedRoot: root.Bytes(), TUFMetadata: metadata,
		})
	}
	for _, row := range snap.Policies {
		if row.Source == sourceAPI {
			a.Policies = append(a.Policies, archivedPolicy{row.Name, row.Owner, row.Body})
		}
	}
	for _, row := range snap.Signers {
		a.Signers = append(a.Signers, archivedSigner(row))
	}
	for _, row := range snap.Bundles {
		if row.Digest == "" {
			continue
		}
		body, err := s.store.Object(ctx, store.ObjectBundle, row.Digest)
		if err != nil {
			return nil, err
		}
		a.Bundles = append(a.Bundles, archivedBundle{row.Name, row.Owner, row.Keys, row.Scope, row.HighestSequence, row.Digest, body})
	}
	slices.SortFunc(a.Signers, func(x, y client.Signer) int { return cmp.Compare(x.Name, y.Name) })
	return a, nil
}

// archivedSigner is a signer without what is this installation's.
func archivedSigner(row store.SignerRow) client.Signer {
	w := wireOf(normal(row))
	w.ID, w.Fingerprints, w.CreatedBy, w.CreatedAt, w.UpdatedBy, w.UpdatedAt, w.Version = "", nil, "", nil, "", nil, 0
	return w
}

// archiveKey reads the key that an administrator gives.
func archiveKey(text string) (ed25519.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fieldError("public_key", "is not one PEM block PUBLIC KEY; signet trust export-key prints it where the archive was made")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fieldError("public_key", "cannot be read: %s", err)
	}
	ed, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fieldError("public_key", "is not an Ed25519 key, which is what archives are signed with")
	}
	return ed, nil
}

// openArchive verifies an archive before it looks into it.
func openArchive(signed []byte, key ed25519.PublicKey) (*archive, []byte, error) {
	fail := func(format string, args ...any) (*archive, []byte, error) {
		return nil, nil, fieldError("archive", format, args...)
	}
	if len(signed) > maxArchive {
		return fail("has %d bytes, more than %d", len(signed), maxArchive)
	}
	var e envelope
	if err := strictjson.Decode(signed, archiveDepth, &e); err != nil {
		return fail("is not a trust archive, or not all of one: %s", err)
	}
	id, err := keyID(key)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case e.PayloadType != archiveType:
		return fail("is of the type %q, and not %s", e.PayloadType, archiveType)
	case len(e.Signatures) != 1:
		return fail("has %d signatures, and must have one", len(e.Signatures))
	case e.Signatures[0].KeyID != id:
		return fail("is signed with another key (%.64q) than the one given (%s)", e.Signatures[0].KeyID, id)
	case !ed25519.Verify(key, e.signedBytes(), e.Signatures[0].Sig):
		return fail("is not what was signed: its signature does not verify with the key %s", id)
	}
	var a archive
	if err := strictjson.Decode(e.Payload, archiveDepth, &a); err != nil {
		return fail("has content that this version cannot read: %s", err)
	}
	again, err := facts.Canonical(a)
	switch {
	case a.Schema != archiveSchema:
		return fail("has the schema %q, and this version reads %s", a.Schema, archiveSchema)
	case err != nil || !bytes.Equal(again, e.Payload):
		return fail("has content that is not in its one canonical form")
	case len(a.Roots) > maxRoots || len(a.Signers) > maxArchivedSigners || len(a.Policies) > maxArchivedPolicies || len(a.Bundles) > maxArchivedBundles:
		return fail("has %d trust roots, %d signers, %d policies and %d bundles; at most %d, %d, %d and %d are read",
			len(a.Roots), len(a.Signers), len(a.Policies), len(a.Bundles), maxRoots, maxArchivedSigners, maxArchivedPolicies, maxArchivedBundles)
	}
	return &a, e.Payload, nil
}
