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
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/facts"
	"github.com/signet-policy/signet/internal/signers"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
	"github.com/signet-policy/signet/internal/strictjson"
	"github.com/signet-policy/signet/internal/trust"
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

// lastImport is what the audit log keeps of an import.
type lastImport struct {
	MadeAt   time.Time `json:"made_at"`
	Revision int64     `json:"revision"`
	Digest   string    `json:"digest"`
}

// importObject is what the audit log calls the archives of a key.
func importObject(id string) string { return "trust_archive/" + id }

// lastOf is the last archive that was imported from a key, the zero value for
// none. The audit log has it, which nothing removes and which is written with the
// import itself.
func (s *Service) lastOf(ctx context.Context, id string) (lastImport, error) {
	entries, err := s.store.Audit(ctx, store.AuditFilter{Object: importObject(id), Limit: 1})
	if err != nil || len(entries) == 0 {
		return lastImport{}, err
	}
	var last lastImport
	if err := json.Unmarshal(entries[0].After, &last); err != nil {
		return lastImport{}, fmt.Errorf("%w: audit entry %d: %w", store.ErrCorrupt, entries[0].Seq, err)
	}
	return last, nil
}

// errDryRun ends a change that was to be tried only.
var errDryRun = errors.New("a dry run")

// ImportTrust takes over a trust archive that was signed with the key given: all
// of it or nothing, in one change. Roots that are older than those in use, TUF
// metadata of a lower version and an archive older than the last one of that key
// are [ErrConflict]. What the archive does not name stays as it is.
func (s *Service) ImportTrust(ctx context.Context, c Caller, signed []byte, keyPEM string, dryRun bool) (client.TrustImport, error) {
	if err := c.whole(auth.Administer, "the import of trust"); err != nil {
		return client.TrustImport{}, err
	}
	key, err := archiveKey(keyPEM)
	if err != nil {
		return client.TrustImport{}, err
	}
	a, payload, err := openArchive(signed, key)
	if err != nil {
		return client.TrustImport{}, err
	}
	id, err := keyID(key)
	if err != nil {
		return client.TrustImport{}, err
	}
	if a.MadeAt.After(s.now().Add(maxAhead)) {
		return client.TrustImport{}, fieldError("archive", "was made %s, which is in the future; set the clocks right", a.MadeAt.Format(time.RFC3339))
	}
	release, held, err := s.lease(ctx, "trust-import", importTime)
	if err != nil {
		return client.TrustImport{}, err
	}
	if !held {
		return client.TrustImport{}, refuse(ErrConflict, "another import of trust is under way; try again when it is over")
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, importTime)
	defer cancel()
	last, err := s.lastOf(ctx, id)
	if err != nil {
		return client.TrustImport{}, err
	}
	if a.MadeAt.Before(last.MadeAt) {
		return client.TrustImport{}, refuse(ErrConflict, "the archive was made %s, and one made %s was imported already; export a new one",
			a.MadeAt.Format(time.RFC3339), last.MadeAt.Format(time.RFC3339))
	}
	plan, err := s.planImport(ctx, a)
	if err != nil {
		return client.TrustImport{}, err
	}
	plan.out.Key, plan.out.MadeAt, plan.out.DryRun = id, a.MadeAt, dryRun
	note, err := facts.Canonical(lastImport{a.MadeAt, a.Revision, facts.Digest(payload)})
	if err != nil {
		return client.TrustImport{}, err
	}
	err = s.change(ctx, c, func(tx *store.Tx) error {
		if err := plan.write(ctx, tx); err != nil {
			return err
		}
		if dryRun {
			return errDryRun
		}
		return tx.Note(ctx, "trust.import", importObject(id), nil, note)
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return client.TrustImport{}, err
	}
	return plan.out, nil
}

// importPlan is what an import is to write, checked whole.
type importPlan struct {
	kept     map[string]keptRoot
	roots    []keptRoot
	bundles  []plannedBundle
	policies []store.PolicyRow
	parsed   []*signingpolicy.Policy // the same
	signers  []store.SignerRow
	out      client.TrustImport
}

func (s *Service) planImport(ctx context.Context, a *archive) (*importPlan, error) {
	p := &importPlan{out: client.TrustImport{
		TrustRoots: []string{}, Policies: []string{}, Bundles: []string{},
		Signers: client.Imported{Created: []string{}, Updated: []string{}, Unchanged: []string{}},
	}}
	var err error
	if p.kept, err = s.keptRoots(ctx); err != nil {
		return nil, err
	}
	if err := p.planRoots(a); err != nil {
		return nil, err
	}
	if err := s.planSigners(ctx, p, a); err != nil {
		return nil, err
	}
	if err := s.planBundles(ctx, p, a.Bundles); err != nil {
		return nil, err
	}
	if p.parsed, err = s.planPolicies(ctx, p, a.Policies); err != nil {
		return nil, err
	}
	if err := s.tryBundles(ctx, p); err != nil {
		return nil, err
	}
	if err := p.fits(ctx, s.store); err != nil {
		return nil, err
	}
	return p, nil
}

// fits says whether what is to be written can be put in force together with what
// is there.
func (p *importPlan) fits(ctx context.Context, in stored) error {
	if len(p.parsed) > 0 {
		if err := fits(ctx, in, p.signers, p.parsed); err != nil {
			return err
		}
	}
	return fits(ctx, in, p.signers, nil)
}

func (p *importPlan) planRoots(a *archive) error {
	names := map[string]bool{}
	for name := range p.kept {
		names[name] = true
	}
	seen := map[string]bool{}
	for i, ar := range a.Roots {
		field := fmt.Sprintf("archive.roots[%d]", i)
		if seen[ar.Name] {
			return fieldError(field, "there is another root %q before it", ar.Name)
		}
		seen[ar.Name], names[ar.Name] = true, true
		next, err := readArchivedRoot(ar, a.MadeAt)
		if err != nil {
			return fieldError(field, "%s", err)
		}
		old, found := p.kept[ar.Name]
		if found {
			if next, err = succeed(next, old); err != nil {
				return err
			}
			if sameRoot(next, old) {
				continue
			}
		}
		p.roots = append(p.roots, next)
		p.out.TrustRoots = append(p.out.TrustRoots, ar.Name)
	}
	if len(names) > maxRoots {
		return refuse(ErrConflict, "with the roots of the archive there would be %d trust roots, and %d are allowed; remove some first", len(names), maxRoots)
	}
	return nil
}

// readArchivedRoot checks a root as one that the API is given.
func readArchivedRoot(ar archivedRoot, madeAt time.Time) (keptRoot, error) {
	if err := signers.ValidName(ar.Name); err != nil {
		return keptRoot{}, err
	}
	isTUF := ar.Kind == kindTUF
	switch {
	case ar.Kind != kindFile && !isTUF:
		return keptRoot{}, fmt.Errorf("kind: %q is not file or tuf", ar.Kind)
	case isTUF != (ar.TUFURL != "") || isTUF != (len(ar.TUFMetadata) > 0) || isTUF != (ar.RefreshedAt != nil):
		return keptRoot{}, errors.New("a root from a TUF repository, and no other, has tuf_url, tuf_metadata and refreshed_at")
	case ar.RefreshedAt != nil && ar.RefreshedAt.After(madeAt):
		return keptRoot{}, errors.New("refreshed_at: is later than the archive was made")
	case ar.Position < 0 || ar.Position > maxPosition:
		return keptRoot{}, fmt.Errorf("position: %d is not from 0 to %d", ar.Position, maxPosition)
	}
	if isTUF {
		if !isRepository(ar.TUFURL) {
			return keptRoot{}, errors.New("tuf_url: is not an http or https address without user name")
		}
		if err := trust.CheckMetadata(ar.TUFMetadata); err != nil {
			return keptRoot{}, fmt.Errorf("tuf_metadata: %w", err)
		}
	}
	row := store.RootRow{
		Name: ar.Name, Source: sourceAPI, Position: ar.Position, Kind: ar.Kind, Digest: ar.Digest,
		Requires: requiresJSON(ar.Requires), Images: orEmpty(ar.Images), TUFURL: ar.TUFURL, Target: ar.Target, RefreshedAt: ar.RefreshedAt,
	}
	root, err := parseRoot(row, ar.TrustedRoot)
	if err != nil {
		return keptRoot{}, err
	}
	return keptRoot{row, root, ar.TUFMetadata}, nil
}

// succeed is the root of an archive in the place of the one in use.
func succeed(next, old keptRoot) (keptRoot, error) {
	name := old.row.Name
	sameSource := next.row.Kind == old.row.Kind && next.row.TUFURL == old.row.TUFURL && next.row.Target == old.row.Target
	switch {
	case old.row.Source == sourceConfiguration && next.row.Digest != old.row.Digest:
		return keptRoot{}, refuse(ErrConflict, "trust root %q: the archive has another one than the configuration of this server, where it has to be changed", name)
	case old.row.Source == sourceConfiguration:
		return old, nil
	case (old.row.Kind == kindTUF || old.row.Source == sourceEmbedded) && !sameSource:
		return keptRoot{}, refuse(ErrConflict, "trust root %q: comes from %s here and from %s in the archive; remove it here first, if that is meant", name, origin(old.row), origin(next.row))
	}
	if older, why := trust.Older(next.root, old.root); older {
		return keptRoot{}, &refusal{kind: errors.Join(ErrConflict, trust.ErrOlder), text: fmt.Sprintf("trust root %q: the one in the archive is older than the one in use: %s", name, why)}
	}
	if old.row.Kind == kindTUF {
		if old.row.Source == sourceEmbedded {
			// Each version of the program pins a first root.json of its own.
			next.metadata = trust.From(next.metadata, old.metadata)
		}
		older, why, err := trust.OlderMetadata(next.metadata, old.metadata)
		if err != nil {
			return keptRoot{}, fieldError("archive", "trust root %q: %s", name, err)
		}
		if older {
			return keptRoot{}, &refusal{kind: errors.Join(ErrConflict, trust.ErrRollback), text: fmt.Sprintf("trust root %q: the TUF metadata in the archive cannot follow those in use: %s", name, why)}
		}
		if old.row.RefreshedAt != nil && old.row.RefreshedAt.After(*next.row.RefreshedAt) {
			next.row.RefreshedAt = old.row.RefreshedAt
		}
	}
	next.row.Version, next.row.CreatedAt = old.row.Version, old.row.CreatedAt
	if old.row.Source == sourceEmbedded {
		// What this server says of its own root stays: only its content is carried.
		req := old.root.Requires()
		root, err := trust.Parse(name, next.root.Bytes(), &req)
		if err != nil {
			return keptRoot{}, fieldError("archive", "%s", err)
		}
		row := old.row
		row.Digest, row.RefreshedAt = next.row.Digest, next.row.RefreshedAt
		return keptRoot{row, root, next.metadata}, nil
	}
	return next, nil
}

func origin(row store.RootRow) string {
	if row.Kind == kindTUF {
		return row.TUFURL
	}
	return "a file"
}

// sameRoot says whether nothing would be written.
func sameRoot(a, b keptRoot) bool {
	plain := func(k keptRoot) string {
		body, err := facts.Canonical([]any{
			k.row.Source, k.row.Position, k.row.Kind, k.root.Digest(), string(requiresOf(k.root)), orEmpty(k.row.Images),
			k.row.TUFURL, k.row.Target, k.row.RefreshedAt, k.metadata,
		})
		if err != nil {
			return ""
		}
		return string(body)
	}
	x := plain(a)
	return x != "" && x == plain(b)
}

func (s *Service) planPolicies(ctx context.Context, p *importPlan, list []archivedPolicy) ([]*signingpolicy.Policy, error) {
	rows, err := s.store.Policies(ctx)
	if err != nil {
		return nil, err
	}
	have := map[string]store.PolicyRow{}
	for _, r := range rows {
		have[r.Name] = r
	}
	var parsed []*signingpolicy.Policy
	seen := map[string]bool{}
	for i, ap := range list {
		field := fmt.Sprintf("archive.policies[%d]", i)
		pol, err := signingpolicy.ParseAs(ap.Name, []byte(ap.SigningPolicy))
		if err != nil {
			return nil, fieldError(field, "%s", err)
		}
		if err := auth.ValidTeam(ap.Owner); err != nil {
			return nil, fieldError(field, "owner: %s", err)
		}
		if seen[ap.Name] {
			return nil, fieldError(field, "there is another policy %q before it", ap.Name)
		}
		seen[ap.Name] = true
		body, err := pol.Canonical()
		if err != nil {
			return nil, err
		}
		old := have[ap.Name]
		switch {
		case old.Source == sourceConfiguration:
			return nil, refuse(ErrConflict, "%s: is written in this server's configuration; rename one of them", policyNamed(ap.Name))
		case pol.NeedsKMS():
			return nil, fieldError(field, "a signer of type kms has no key beside its key_ref")
		case old.Version > 0 && old.Owner == ap.Owner && old.Body == string(body):
			continue
		}
		if err := s.checkExceptions(pol, old.Body); err != nil {
			return nil, fieldError(field, "%s", err)
		}
		if err := checkShadow(pol, old.Body, func(name string) bool {
			return have[name].Name != "" || slices.ContainsFunc(list, func(o archivedPolicy) bool { return o.Name == name })
		}); err != nil {
			return nil, fieldError(field, "%s", err)
		}
		row := store.PolicyRow{Name: ap.Name, Source: sourceAPI, Owner: ap.Owner, Body: string(body), Digest: facts.Digest(body), Version: old.Version}
		if err := s.tryArchived(ctx, p, proposedPolicy{row, pol}, true); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			return nil, fieldError(field, "%s", err)
		}
		parsed = append(parsed, pol)
		p.policies = append(p.policies, row)
		p.out.Policies = append(p.out.Policies, ap.Name)
	}
	return parsed, nil
}

func (s *Service) planSigners(ctx context.Context, p *importPlan, a *archive) error {
	rows, err := s.store.Signers(ctx)
	if err != nil {
		return err
	}
	have := map[string]store.SignerRow{}
	for _, r := range rows {
		have[r.Name] = normal(r)
	}
	known := map[string]bool{}
	for name := range p.kept {
		known[name] = true
	}
	for _, r := range a.Roots {
		known[r.Name] = true
	}
	var mistakes FieldErrors
	seen := map[string]bool{}
	for i, w := range a.Signers {
		field := fmt.Sprintf("archive.signers[%d]", i)
		old, found := have[w.Name]
		row, wrong := rowOf(w, old)
		wrong = append(wrong, ofServer(w)...)
		if w.Type == string(signers.KMS) && w.PublicKey == "" {
			wrong.add("public_key", "is missing; an archive has the key of a kms signer, because nobody is asked for it here")
		}
		for _, name := range w.TrustRoots {
			if !known[name] {
				wrong.add("trust_roots", "there is no trust root %q, here or in the archive", name)
			}
		}
		if seen[w.Name] {
			wrong.add("name", "there is another signer %q before it", w.Name)
		}
		seen[w.Name] = true
		for _, m := range wrong {
			mistakes.add(strings.TrimSuffix(field+"."+m.Field, "."), "%s", m.Problem)
		}
		switch {
		case len(wrong) > 0:
		case found && revives(row, old) && old.UpdatedAt.After(a.MadeAt):
			return refuse(ErrConflict, "%s: trust in it was ended here at %s, after the archive was made; export a new one, or change the signer here first, if that is meant",
				signerNamed(w.Name), old.UpdatedAt.Format(time.RFC3339))
		case !found:
			p.signers, p.out.Signers.Created = append(p.signers, row), append(p.out.Signers.Created, row.Name)
		case sameSigner(row, old):
			p.out.Signers.Unchanged = append(p.out.Signers.Unchanged, row.Name)
		default:
			p.signers, p.out.Signers.Updated = append(p.signers, row), append(p.out.Signers.Updated, row.Name)
		}
	}
	return mistakes.err()
}

// revives says whether next trusts a signer longer than old, which was ended.
func revives(next, old store.SignerRow) bool {
	if !old.Enabled && next.Enabled {
		return true
	}
	later := func(next, old *time.Time) bool { return old != nil && (next == nil || next.After(*old)) }
	return later(next.SignedUntil, old.SignedUntil) || later(next.ExpiresAt, old.ExpiresAt)
}

// write does what was planned, if nothing of it was changed meanwhile.
func (p *importPlan) write(ctx context.Context, tx *store.Tx) error {
	if _, err := unchangedRoots(ctx, tx, p.kept); err != nil {
		return err
	}
	if err := p.fits(ctx, tx); err != nil { // again: others may have written meanwhile
		return err
	}
	for _, r := range p.roots {
		if _, err := putRoot(ctx, tx, r.row, r.root, r.metadata); err != nil {
			return err
		}
	}
	if err := p.writeBundles(ctx, tx); err != nil {
		return err
	}
	for _, r := range p.policies {
		if _, err := tx.PutPolicy(ctx, r); err != nil {
			return changedMeanwhile(err, policyNamed(r.Name))
		}
	}
	for _, r := range p.signers {
		if _, err := tx.PutSigner(ctx, r); err != nil {
			return changedMeanwhile(err, signerNamed(r.Name))
		}
	}
	return nil
}

func changedMeanwhile(err error, what string) error {
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return refuse(ErrStale, "%s was changed while it was imported; import again", what)
	}
	return err
}
