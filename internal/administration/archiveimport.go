package administration

import (
	"context"
	"encoding/json"
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
	"github.com/signet-policy/signet/internal/trust"
)

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
