package administration

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
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

// sourceEmbedded is a trust root that the server itself has.
const sourceEmbedded = "embedded"

// What keeps a trust root.
const (
	kindFile = "file"
	kindTUF  = "tuf"
)

const (
	// maxRoots bounds how many trust roots there are: every one is tried.
	maxRoots = 64
	// maxPosition bounds the order of roots.
	maxPosition = 10_000
	// metadataDepth bounds the nesting of kept TUF metadata, a map of base64.
	metadataDepth = 4
	// retryRefresh is how long a root whose refresh failed is left alone.
	retryRefresh = 10 * time.Minute
)

// TUFFetcher reads trust roots from TUF repositories; [trust.Refresher] does.
type TUFFetcher interface {
	Refresh(ctx context.Context, cfg trust.TUFConfig) (trust.Refreshed, error)
}

// TrustRoots lists the trust roots in the order in which they are tried.
func (s *Service) TrustRoots(ctx context.Context, c Caller) ([]client.TrustRoot, error) {
	if err := c.may(auth.Read); err != nil {
		return nil, err
	}
	rows, err := s.store.Roots(ctx)
	if err != nil {
		return nil, err
	}
	failed, err := s.failedRefreshes(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]client.TrustRoot, 0, len(rows))
	for _, row := range rows {
		root, err := loadRoot(ctx, s.in, row)
		if err != nil {
			return nil, err
		}
		list = append(list, shownRoot(row, root, failed[row.Name]))
	}
	return list, nil
}

// TrustRoot returns one trust root with its bytes, or [ErrNotFound].
func (s *Service) TrustRoot(ctx context.Context, c Caller, name string) (client.TrustRoot, error) {
	if err := c.may(auth.Read); err != nil {
		return client.TrustRoot{}, err
	}
	row, err := s.root(ctx, name)
	if err != nil {
		return client.TrustRoot{}, err
	}
	return s.showRoot(ctx, row)
}

func (s *Service) root(ctx context.Context, name string) (store.RootRow, error) {
	row, err := s.in.Root(ctx, name)
	return row, missing(err, "there is no trust root %q", name)
}

func (s *Service) showRoot(ctx context.Context, row store.RootRow) (client.TrustRoot, error) {
	root, err := loadRoot(ctx, s.in, row)
	if err != nil {
		return client.TrustRoot{}, err
	}
	failed, err := s.failedRefreshes(ctx)
	if err != nil {
		return client.TrustRoot{}, err
	}
	w := shownRoot(row, root, failed[row.Name])
	w.TrustedRoot = root.Bytes()
	return w, nil
}

// failedRefreshes are the errors of the last refresh of each root, by name.
func (s *Service) failedRefreshes(ctx context.Context) (map[string]string, error) {
	all, err := s.store.Upkeep(ctx, store.UpkeepRoot)
	if err != nil {
		return nil, err
	}
	failed := map[string]string{}
	for _, u := range all {
		failed[u.Key] = u.Error
	}
	return failed, nil
}

// shownRoot is what the API says of a root, but for its bytes.
func shownRoot(row store.RootRow, root *trust.Root, failed string) client.TrustRoot {
	c, req := root.Contents(), root.Requires()
	w := client.TrustRoot{
		Name: row.Name, Source: row.Source, Position: row.Position, Kind: row.Kind, Digest: row.Digest,
		Requires: client.Requires{Log: req.Log, SCT: req.SCT, Timestamp: req.Timestamp}, Images: orEmpty(row.Images),
		TUFURL: row.TUFURL, Target: row.Target, RefreshedAt: row.RefreshedAt,
		Contains: client.TrustRootContents{
			CertificateAuthorities: c.CertificateAuthorities, TransparencyLogs: c.TransparencyLogs,
			CTLogs: c.CTLogs, TimestampAuthorities: c.TimestampAuthorities,
		},
		UpdatedBy: row.UpdatedBy, UpdatedAt: row.UpdatedAt, Version: row.Version,
	}
	if row.Kind == kindTUF { // else it is of a root that was one, and is not now
		w.Error = failed
	}
	if !c.NewestSince.IsZero() {
		w.Contains.NewestSince = &c.NewestSince
	}
	return w
}

// Objects reads values that were kept, see [store.Store.Object].
type Objects interface {
	Object(ctx context.Context, kind, digest string) ([]byte, error)
}

// LoadRoots makes trust roots of rows, in their order. The bytes come from the
// store and must have the digest of their row: [store.ErrCorrupt] otherwise.
// Offline, no root is one that is to be kept current.
func LoadRoots(ctx context.Context, st Objects, rows []store.RootRow, offline bool) ([]*trust.Root, error) {
	roots := make([]*trust.Root, 0, len(rows))
	for _, row := range rows {
		r, err := loadRoot(ctx, st, row)
		if err != nil {
			return nil, err
		}
		if row.RefreshedAt != nil && !offline {
			r = r.Refreshed(*row.RefreshedAt)
		}
		roots = append(roots, r)
	}
	return roots, nil
}

func loadRoot(ctx context.Context, st Objects, row store.RootRow) (*trust.Root, error) {
	body, err := st.Object(ctx, store.ObjectTrustRoot, row.Digest)
	if err != nil {
		return nil, fmt.Errorf("reading trust root %q: %w", row.Name, err)
	}
	root, err := parseRoot(row, body)
	if err != nil {
		return nil, fmt.Errorf("reading trust root %q: %w: %w", row.Name, store.ErrCorrupt, err)
	}
	return root, nil
}

// parseRoot is strict: a demand that this version does not know must not be left
// out.
func parseRoot(row store.RootRow, body []byte) (*trust.Root, error) {
	var req client.Requires
	if err := strictjson.Decode(row.Requires, metadataDepth, &req); err != nil {
		return nil, fmt.Errorf("requires: %w", err)
	}
	root, err := trust.Parse(row.Name, body, &trust.Requires{Log: req.Log, SCT: req.SCT, Timestamp: req.Timestamp})
	if err != nil {
		return nil, err
	}
	if root.Digest() != row.Digest {
		return nil, fmt.Errorf("its bytes have the digest %s, and not %s", root.Digest(), row.Digest)
	}
	return root.For(row.Images)
}

// loadMetadata reads what is kept of a TUF repository; nil for a file.
func loadMetadata(ctx context.Context, st Objects, row store.RootRow) (map[string][]byte, error) {
	if row.TUFMetadata == "" {
		return nil, nil //nolint:nilnil // no metadata is what a first refresh begins with
	}
	body, err := st.Object(ctx, store.ObjectTUFMetadata, row.TUFMetadata)
	if err != nil {
		return nil, fmt.Errorf("reading the TUF metadata of trust root %q: %w", row.Name, err)
	}
	var kept map[string][]byte
	if err := strictjson.Decode(body, metadataDepth, &kept); err != nil {
		return nil, fmt.Errorf("reading the TUF metadata of trust root %q: %w: %w", row.Name, store.ErrCorrupt, err)
	}
	return kept, nil
}

// putRoot writes a root with what it names. A row that is not at its version any
// more is [ErrStale].
func putRoot(ctx context.Context, tx *store.Tx, row store.RootRow, root *trust.Root, metadata map[string][]byte) (store.RootRow, error) {
	row.Digest, row.Requires, row.TUFMetadata = root.Digest(), requiresOf(root), ""
	if err := tx.PutObject(ctx, store.ObjectTrustRoot, row.Digest, root.Bytes()); err != nil {
		return store.RootRow{}, err
	}
	if metadata != nil {
		body, err := facts.Canonical(metadata)
		if err != nil {
			return store.RootRow{}, err
		}
		row.TUFMetadata = facts.Digest(body)
		if err := tx.PutObject(ctx, store.ObjectTUFMetadata, row.TUFMetadata, body); err != nil {
			return store.RootRow{}, err
		}
	}
	if row.Version > 0 {
		// A root that was removed and made anew counts its versions from 1 again.
		switch now, err := tx.Root(ctx, row.Name); {
		case err != nil:
			return store.RootRow{}, staleRoot(err, row.Name)
		case !now.CreatedAt.Equal(row.CreatedAt):
			return store.RootRow{}, staleRoot(store.ErrConflict, row.Name)
		}
	}
	kept, err := tx.PutRoot(ctx, row)
	return kept, staleRoot(err, row.Name)
}

func requiresOf(root *trust.Root) json.RawMessage {
	req := root.Requires()
	return requiresJSON(client.Requires{Log: req.Log, SCT: req.SCT, Timestamp: req.Timestamp})
}

func requiresJSON(req client.Requires) json.RawMessage {
	return fmt.Appendf(nil, `{"log":%t,"sct":%t,"timestamp":%t}`, req.Log, req.SCT, req.Timestamp)
}

// staleRoot gives the store's errors about the version of a row a message.
func staleRoot(err error, name string) error {
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return refuse(ErrStale, "trust root %q was changed meanwhile; read it again", name)
	}
	return err
}

// aboutRoots asks whether the caller may change trust roots.
func (c Caller) aboutRoots(name string) error {
	return c.whole(auth.Administer, fmt.Sprintf("trust root %q", name))
}

// ofAPI refuses to change what the configuration brings.
func (s *Service) mayChange(row store.RootRow) error {
	if s.onTrial { // where it is written, it can be tried
		return nil
	}
	switch row.Source {
	case sourceConfiguration:
		return refuse(ErrConflict, "trust root %q comes from the configuration of the server; change it there", row.Name)
	case sourceEmbedded:
		return refuse(ErrConflict, "trust root %q is embedded in the server; name other roots in the configuration (trust_roots) to do without it", row.Name)
	}
	return nil
}

// PutTrustRoot makes a trust root, or replaces the one of that version; nil means
// that it must be new. A root from a TUF repository is fetched first. One that is
// older than the root in use is [ErrConflict], unless in.AllowOlder.
func (s *Service) PutTrustRoot(ctx context.Context, c Caller, name string, in client.PutTrustRoot, version *int64) (client.TrustRoot, error) {
	if err := c.aboutRoots(name); err != nil {
		return client.TrustRoot{}, err
	}
	old, err := s.replaced(ctx, name, version)
	if err != nil {
		return client.TrustRoot{}, err
	}
	if err := checkPutRoot(name, in, old); err != nil {
		return client.TrustRoot{}, err
	}
	row := store.RootRow{Name: name, Source: sourceAPI, Kind: kindFile, Images: orEmpty(in.Images)}
	if old != nil {
		row.Version, row.CreatedAt = old.Version, old.CreatedAt
	}
	body, metadata := []byte(in.TrustedRoot), map[string][]byte(nil)
	if in.TUFURL != "" {
		got, err := s.fetchRoot(ctx, in, old)
		if err != nil {
			return client.TrustRoot{}, err
		}
		now := s.now().UTC()
		row.Kind, row.TUFURL, row.Target, row.RefreshedAt = kindTUF, in.TUFURL, in.Target, &now
		body, metadata = got.TrustedRoot, got.Metadata
	}
	root, err := newRoot(name, body, in)
	if err != nil {
		return client.TrustRoot{}, err
	}
	if !in.AllowOlder && old != nil {
		if err := s.notOlder(ctx, root, *old); err != nil {
			return client.TrustRoot{}, err
		}
	}
	err = s.change(ctx, c, func(tx *store.Tx) error {
		all, err := tx.Roots(ctx)
		if err != nil {
			return err
		}
		if row.Position, err = placeOf(in.Position, old, all); err != nil {
			return err
		}
		row, err = putRoot(ctx, tx, row, root, metadata)
		return err
	})
	if err != nil {
		return client.TrustRoot{}, err
	}
	s.noteRefresh(ctx, row, nil)
	return s.showRoot(ctx, row)
}

// replaced is the root that a put replaces, nil for a new one.
func (s *Service) replaced(ctx context.Context, name string, version *int64) (*store.RootRow, error) {
	row, err := s.in.Root(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound) && version == nil:
		return nil, nil //nolint:nilnil // there is none, as it should be
	case err != nil:
		return nil, missing(err, "there is no trust root %q", name)
	}
	if err := s.mayChange(row); err != nil {
		return nil, err
	}
	switch {
	case version == nil:
		return nil, refuse(ErrConflict, "there is a trust root %q already; to replace it, say which version (If-Match)", name)
	case *version != row.Version:
		return nil, stale(fmt.Sprintf("trust root %q", name), row.Version, *version)
	}
	return &row, nil
}

// checkPutRoot finds all mistakes that can be seen without asking anybody.
func checkPutRoot(name string, in client.PutTrustRoot, old *store.RootRow) error {
	var mistakes FieldErrors
	if err := signers.ValidName(name); err != nil && old == nil {
		mistakes = append(mistakes, mistakesOf(err)...)
	}
	switch {
	case (len(in.TrustedRoot) > 0) == (in.TUFURL != ""):
		mistakes.add("trusted_root", "give either trusted_root (a trusted_root.json) or tuf_url (a TUF repository)")
	case in.TUFURL == "":
		if len(in.TUFRoot) > 0 {
			mistakes.add("tuf_root", "goes with tuf_url only")
		}
		if in.Target != "" {
			mistakes.add("target", "goes with tuf_url only")
		}
	default:
		if !isRepository(in.TUFURL) {
			mistakes.add("tuf_url", "%q is not an http or https address without user name", in.TUFURL)
		}
		if len(in.TUFRoot) == 0 && (old == nil || old.TUFURL != in.TUFURL) {
			mistakes.add("tuf_root", "is missing: the first root.json of the repository, from a source that you trust")
		}
	}
	if p := in.Position; p != nil && (*p < 0 || *p > maxPosition) {
		mistakes.add("position", "is %d; give 0 to %d, the lowest is tried first", *p, maxPosition)
	}
	return mistakes.err()
}

// isRepository says whether an address can be that of a TUF repository. A user
// name in it would be shown to all who may list trust roots.
func isRepository(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http")
}

// fetchRoot reads a root from a TUF repository. Where the root in use comes from
// the same repository, what was seen of it counts, so that it cannot go back.
func (s *Service) fetchRoot(ctx context.Context, in client.PutTrustRoot, old *store.RootRow) (trust.Refreshed, error) {
	if s.tuf == nil {
		return trust.Refreshed{}, fieldError("tuf_url", "no TUF repository can be asked here; give trusted_root, or ask a server that is online")
	}
	cfg := trust.TUFConfig{MetadataURL: in.TUFURL, FirstRoot: in.TUFRoot, Target: in.Target}
	if old != nil && old.TUFURL == in.TUFURL && !in.AllowOlder {
		var err error
		if cfg.Metadata, err = loadMetadata(ctx, s.in, *old); err != nil {
			return trust.Refreshed{}, err
		}
	}
	if len(cfg.FirstRoot) == 0 && cfg.Metadata == nil {
		return trust.Refreshed{}, fieldError("tuf_root", "is missing: with allow_older the repository is begun with anew, from its first root.json")
	}
	got, err := s.tuf.Refresh(ctx, cfg)
	if err != nil && ctx.Err() == nil {
		return trust.Refreshed{}, fieldError("tuf_url", "%s", err)
	}
	return got, err
}

// newRoot reads a root as a caller gave it.
func newRoot(name string, body []byte, in client.PutTrustRoot) (*trust.Root, error) {
	var req *trust.Requires
	if in.Requires != nil {
		req = &trust.Requires{Log: in.Requires.Log, SCT: in.Requires.SCT, Timestamp: in.Requires.Timestamp}
	}
	root, err := trust.Parse(name, body, req)
	switch {
	case errors.Is(err, trust.ErrRequires) && req != nil:
		return nil, fieldError("requires", "%s", err)
	case err != nil && in.TUFURL != "":
		return nil, fieldError("target", "%s", err)
	case err != nil:
		return nil, fieldError("trusted_root", "%s", err)
	}
	if root, err = root.For(in.Images); err != nil {
		return nil, fieldError("images", "%s", err)
	}
	return root, nil
}

// notOlder refuses a root that is older than the one in use.
func (s *Service) notOlder(ctx context.Context, next *trust.Root, inUse store.RootRow) error {
	now, err := loadRoot(ctx, s.in, inUse)
	if err != nil {
		return err
	}
	if older, why := trust.Older(next, now); older {
		return &refusal{kind: errors.Join(ErrConflict, trust.ErrOlder), text: fmt.Sprintf(
			"trust root %q: the new one is older than the one in use: %s; set allow_older if that is meant", inUse.Name, why)}
	}
	return nil
}

// placeOf is the position of a root: as asked, as before, or after all others.
func placeOf(asked *int, old *store.RootRow, all []store.RootRow) (int, error) {
	switch {
	case asked != nil && (old != nil || len(all) < maxRoots):
		return *asked, nil
	case old != nil:
		return old.Position, nil
	case len(all) >= maxRoots:
		return 0, refuse(ErrConflict, "there are %d trust roots, and no more are allowed, because each is tried for every signature; remove one first", len(all))
	case len(all) == 0:
		return 0, nil
	}
	return all[len(all)-1].Position + 1, nil
}

// PatchTrustRoot changes position, requires and images of a root of that version
// by a JSON merge patch over what [Service.TrustRoot] returns. What the root is
// made of is replaced by [Service.PutTrustRoot].
func (s *Service) PatchTrustRoot(ctx context.Context, c Caller, name string, version int64, patch []byte) (client.TrustRoot, error) {
	if err := c.aboutRoots(name); err != nil {
		return client.TrustRoot{}, err
	}
	row, err := s.changeable(ctx, name, version)
	if err != nil {
		return client.TrustRoot{}, err
	}
	now, err := s.showRoot(ctx, row)
	if err != nil {
		return client.TrustRoot{}, err
	}
	next, err := mergePatch(now, patch, []string{
		"name", "source", "kind", "digest", "tuf_url", "target", "refreshed_at", "error", "contains", "trusted_root", "updated_by", "updated_at", "version",
	}, []string{"position", "requires"})
	if err != nil {
		return client.TrustRoot{}, err
	}
	if next.Position < 0 || next.Position > maxPosition {
		return client.TrustRoot{}, fieldError("position", "is %d; give 0 to %d, the lowest is tried first", next.Position, maxPosition)
	}
	root, err := newRoot(name, now.TrustedRoot, client.PutTrustRoot{Requires: &next.Requires, Images: next.Images})
	if err != nil {
		return client.TrustRoot{}, err
	}
	metadata, err := loadMetadata(ctx, s.in, row)
	if err != nil {
		return client.TrustRoot{}, err
	}
	row.Position, row.Images = next.Position, orEmpty(next.Images)
	err = s.change(ctx, c, func(tx *store.Tx) (err error) {
		row, err = putRoot(ctx, tx, row, root, metadata)
		return err
	})
	if err != nil {
		return client.TrustRoot{}, err
	}
	return s.showRoot(ctx, row)
}

// changeable is a root of that version which the API may change.
func (s *Service) changeable(ctx context.Context, name string, version int64) (store.RootRow, error) {
	row, err := s.root(ctx, name)
	if err != nil {
		return store.RootRow{}, err
	}
	if err := s.mayChange(row); err != nil {
		return store.RootRow{}, err
	}
	if row.Version != version {
		return store.RootRow{}, stale(fmt.Sprintf("trust root %q", name), row.Version, version)
	}
	return row, nil
}

// DeleteTrustRoot removes a root of that version. The last one, and one that a
// signer names, is [ErrConflict].
func (s *Service) DeleteTrustRoot(ctx context.Context, c Caller, name string, version int64) error {
	if err := c.aboutRoots(name); err != nil {
		return err
	}
	if _, err := s.changeable(ctx, name, version); err != nil {
		return err
	}
	if err := s.unnamed(ctx, name); err != nil {
		return err
	}
	err := s.change(ctx, c, func(tx *store.Tx) error {
		if err := unnamedByPolicies(ctx, tx, name); err != nil {
			return err
		}
		all, err := tx.Roots(ctx)
		if err != nil {
			return err
		}
		if len(all) == 1 {
			return refuse(ErrConflict, "trust root %q is the last one, and without any nothing can be verified; add another one first", name)
		}
		return staleRoot(tx.DeleteRoot(ctx, name, version), name)
	})
	if err != nil {
		return err
	}
	if s.onTrial {
		return nil
	}
	if err := s.store.DeleteUpkeep(ctx, store.UpkeepRoot, name); err != nil {
		s.log.WarnContext(ctx, "forgetting the refreshes of a removed trust root", "trust_root", name, "error", err)
	}
	return nil
}

// unnamed makes sure that no signer names a root that is to go: it would match
// nothing from then on.
func (s *Service) unnamed(ctx context.Context, root string) error {
	rows, err := s.in.Signers(ctx)
	if err != nil {
		return err
	}
	var naming []string
	for _, r := range rows {
		if slices.Contains(r.TrustRoots, root) {
			naming = append(naming, r.Name)
		}
	}
	if len(naming) > 0 {
		return refuse(ErrConflict, "trust root %q is named by the signers %s (trust_roots); change them first", root, list(naming))
	}
	return nil
}

// unnamedByPolicies is the same for the signers that policies have of their own.
func unnamedByPolicies(ctx context.Context, tx *store.Tx, root string) error {
	rows, err := tx.Policies(ctx)
	if err != nil {
		return err
	}
	for _, r := range rows {
		p, err := signingpolicy.Parse([]byte(r.Body))
		if err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, r.Name, err)
		}
		for _, own := range p.Inline {
			if slices.Contains(own.TrustRoots, root) {
				return refuse(ErrConflict, "trust root %q is named by the signer %s of a policy (trust_roots); change that policy first", root, own.Name)
			}
		}
	}
	return nil
}

// RefreshTrustRoot asks the TUF repository of a root now. When that fails, the
// root in use stays, and the error says why.
func (s *Service) RefreshTrustRoot(ctx context.Context, c Caller, name string) (client.TrustRoot, error) {
	if err := c.aboutRoots(name); err != nil {
		return client.TrustRoot{}, err
	}
	row, err := s.root(ctx, name)
	if err != nil {
		return client.TrustRoot{}, err
	}
	if row.Kind != kindTUF {
		return client.TrustRoot{}, refuse(ErrConflict, "trust root %q is a file, which nothing can refresh; put a newer one in its place", name)
	}
	if row, err = s.refreshRoot(ctx, c.actor(), c.Why, row); err != nil {
		return client.TrustRoot{}, err
	}
	return s.showRoot(ctx, row)
}

// refresher is who refreshes on schedule.
func refresher() store.Actor { return store.Actor{Name: "server", From: "schedule"} }

// RefreshDue asks the TUF repositories of all roots that were last refreshed
// every or longer ago; one that failed is tried again after ten minutes. The
// errors are those of single roots, which stay as they are.
func (s *Service) RefreshDue(ctx context.Context, now time.Time, every time.Duration) error {
	rows, err := s.store.Roots(ctx)
	if err != nil {
		return err
	}
	upkeep, err := s.store.Upkeep(ctx, store.UpkeepRoot)
	if err != nil {
		return err
	}
	tried := map[string]time.Time{}
	for _, u := range upkeep {
		tried[u.Key] = u.CheckedAt
	}
	var errs []error
	for _, row := range rows {
		if row.Kind != kindTUF || row.RefreshedAt == nil || now.Sub(*row.RefreshedAt) < every || now.Sub(tried[row.Name]) < min(retryRefresh, every) {
			continue
		}
		if _, err := s.refreshRoot(ctx, refresher(), "refresh on schedule", row); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// refreshRoot asks the repository of a root, and notes how that went. The
// outcome is kept only if the root is still the one that was looked at.
func (s *Service) refreshRoot(ctx context.Context, by store.Actor, why string, row store.RootRow) (store.RootRow, error) {
	next, err := s.refreshed(ctx, by, why, row)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return next, err // the caller gave up, which says nothing about the repository
	}
	s.noteRefresh(context.WithoutCancel(ctx), row, err)
	return next, err
}

func (s *Service) refreshed(ctx context.Context, by store.Actor, why string, row store.RootRow) (store.RootRow, error) {
	if s.tuf == nil {
		return store.RootRow{}, refuse(ErrConflict, "trust root %q cannot be refreshed here: no TUF repository can be asked", row.Name)
	}
	metadata, err := loadMetadata(ctx, s.in, row)
	if err != nil {
		return store.RootRow{}, err
	}
	inUse, err := loadRoot(ctx, s.store, row)
	if err != nil {
		return store.RootRow{}, err
	}
	got, err := s.tuf.Refresh(ctx, trust.TUFConfig{MetadataURL: row.TUFURL, Target: row.Target, Metadata: metadata})
	if err != nil {
		return store.RootRow{}, notRefreshed(row, err)
	}
	req := inUse.Requires()
	root, err := trust.Parse(row.Name, got.TrustedRoot, &req)
	if err != nil {
		return store.RootRow{}, notRefreshed(row, err)
	}
	if older, why := trust.Older(root, inUse); older {
		return store.RootRow{}, notRefreshed(row, fmt.Errorf("%w: %s", trust.ErrOlder, why))
	}
	now := s.now().UTC()
	row.RefreshedAt = &now
	_, err = s.store.Change(ctx, by, why, func(tx *store.Tx) (err error) {
		row, err = putRoot(ctx, tx, row, root, got.Metadata)
		return err
	})
	if err != nil {
		return store.RootRow{}, err
	}
	return row, nil
}

// notRefreshed says that a root stays as it is, and why.
func notRefreshed(row store.RootRow, err error) error {
	return &refusal{kind: errors.Join(ErrConflict, err), text: fmt.Sprintf("trust root %q: %s; the root in use stays", row.Name, err)}
}

// noteRefresh keeps how a refresh went, for lists and readiness. It is not worth
// failing for.
func (s *Service) noteRefresh(ctx context.Context, row store.RootRow, failed error) {
	if row.Kind != kindTUF || s.onTrial {
		return
	}
	u := store.Upkeep{Kind: store.UpkeepRoot, Key: row.Name, CheckedAt: s.now()}
	if failed != nil {
		u.Error = failed.Error()
	}
	if err := s.store.PutUpkeep(ctx, u); err != nil {
		s.log.WarnContext(ctx, "keeping how a refresh went", "trust_root", row.Name, "error", err)
	}
}

// RootSeed is a trust root that the server brings: from its configuration, or
// embedded.
type RootSeed struct {
	// Root has the name, the bytes and what is required.
	Root *trust.Root
	// Embedded: else it is the configuration's.
	Embedded bool
	// Images are globs of the images that it may vouch for; none: all.
	Images []string
	// TUFURL, Target and TUFRoot (the first root.json) say where it is refreshed
	// from; "" for a root that is not.
	TUFURL, Target string
	TUFRoot        []byte
	// Since is when it was known to be current; zero with no TUFURL.
	Since time.Time
	// AllowOlder lets it take the place of a newer root of its name.
	AllowOlder bool
}

// sameOrigin says whether a kept root is of the repository, and of the file in
// it, that the seed names. Which first root.json an embedded root comes with
// changes with the program; in a configuration another one is another repository.
func (s RootSeed) sameOrigin(row store.RootRow, metadata map[string][]byte) bool {
	return s.TUFURL != "" && row.TUFURL == s.TUFURL && cmp.Or(row.Target, trust.DefaultTarget) == cmp.Or(s.Target, trust.DefaultTarget) &&
		(s.Embedded || trust.BeginsWith(metadata, s.TUFRoot))
}

// KeptRoot is what the store has of the root that a seed names, and when that was
// refreshed; nil for a root of another origin, and for none. The seed needs no
// Root for it.
func KeptRoot(ctx context.Context, st *store.Store, name string, seed RootSeed) (*trust.Root, time.Time, error) {
	row, err := st.Root(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && row.RefreshedAt == nil:
		return nil, time.Time{}, nil
	case err != nil:
		return nil, time.Time{}, err
	}
	metadata, err := loadMetadata(ctx, st, row)
	if err != nil || !seed.sameOrigin(row, metadata) {
		return nil, time.Time{}, err
	}
	root, err := loadRoot(ctx, st, row)
	return root, *row.RefreshedAt, err
}

// keptRoot is a root of the server's with what its row names.
type keptRoot struct {
	row      store.RootRow
	root     *trust.Root
	metadata map[string][]byte
}

// SeedRoots makes the roots that the server brings exactly these, in this order,
// in one change; what the API has put stays. A root that was refreshed to
// something that is not older than its seed stays as it is. A server calls it
// when it starts. A name that the API has taken is [ErrConflict], and so is a root
// that is older than the one of its name in use: another server, whose files are
// newer, may have brought that.
func (s *Service) SeedRoots(ctx context.Context, seeds []RootSeed) error {
	const attempts = 5 // replicas that start together bring the same roots
	for attempt := 1; ; attempt++ {
		kept, err := s.keptRoots(ctx)
		if err != nil {
			return err
		}
		_, err = s.store.Change(ctx, store.Actor{Name: "server", From: "configuration"}, "start of the server", func(tx *store.Tx) error {
			return seedRoots(ctx, tx, seeds, kept)
		})
		if !errors.Is(err, ErrStale) || attempt == attempts {
			return err
		}
	}
}

// keptRoots reads all roots before a change: the bytes are not read within it.
func (s *Service) keptRoots(ctx context.Context) (map[string]keptRoot, error) {
	rows, err := s.store.Roots(ctx)
	if err != nil {
		return nil, err
	}
	kept := map[string]keptRoot{}
	for _, row := range rows {
		if kept[row.Name], err = readKept(ctx, s.store, row); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

func readKept(ctx context.Context, st *store.Store, row store.RootRow) (keptRoot, error) {
	root, err := loadRoot(ctx, st, row)
	if err != nil {
		return keptRoot{}, err
	}
	metadata, err := loadMetadata(ctx, st, row)
	return keptRoot{row, root, metadata}, err
}

// unchangedRoots makes sure, within a change, that the roots are those that were
// read.
func unchangedRoots(ctx context.Context, tx *store.Tx, kept map[string]keptRoot) ([]store.RootRow, error) {
	all, err := tx.Roots(ctx)
	if err != nil {
		return nil, err
	}
	same := len(all) == len(kept)
	for _, row := range all {
		k, ok := kept[row.Name]
		same = same && ok && k.row.Version == row.Version && k.row.CreatedAt.Equal(row.CreatedAt)
	}
	if !same {
		return nil, refuse(ErrStale, "the trust roots were changed meanwhile; try again")
	}
	return all, nil
}

func seedRoots(ctx context.Context, tx *store.Tx, seeds []RootSeed, kept map[string]keptRoot) error {
	all, err := unchangedRoots(ctx, tx, kept)
	if err != nil {
		return err
	}
	brought := map[string]bool{}
	for i, seed := range seeds {
		name := seed.Root.Name()
		if brought[name] {
			return refuse(ErrConflict, "trust root %q is named twice in the configuration", name)
		}
		brought[name] = true
		if err := seedRoot(ctx, tx, i, seed, kept[name]); err != nil {
			return err
		}
	}
	for _, row := range all {
		if !brought[row.Name] && row.Source != sourceAPI {
			if err := tx.DeleteRoot(ctx, row.Name, row.Version); err != nil {
				return err
			}
		}
	}
	return nil
}

// seedRoot brings one root. old is the zero value for a new one.
func seedRoot(ctx context.Context, tx *store.Tx, position int, seed RootSeed, old keptRoot) error {
	name := seed.Root.Name()
	if old.row.Source == sourceAPI {
		return refuse(ErrConflict, "trust root %q of the configuration: an administrator has put one of this name; give it another name, or remove that one (signet trust remove %s)", name, name)
	}
	row := store.RootRow{
		Name: name, Source: sourceConfiguration, Position: position, Kind: kindFile,
		Images: orEmpty(seed.Images), Version: old.row.Version, CreatedAt: old.row.CreatedAt,
	}
	if seed.Embedded {
		row.Source = sourceEmbedded
	}
	seed, err := seed.over(old)
	if err != nil {
		return err
	}
	var metadata map[string][]byte
	if seed.TUFURL != "" {
		since := seed.Since.UTC()
		row.Kind, row.TUFURL, row.Target, row.RefreshedAt = kindTUF, seed.TUFURL, seed.Target, &since
		metadata = trust.FirstMetadata(seed.TUFRoot)
	}
	if seed.sameOrigin(old.row, old.metadata) {
		metadata = old.metadata
	}
	_, err = putRoot(ctx, tx, row, seed.Root, metadata)
	return err
}

// over is the seed as it is in force where old was: with what a root of the same
// origin was refreshed to, unless that is older. Where the seed's own is older
// than what it takes the place of, that is [ErrConflict].
func (s RootSeed) over(old keptRoot) (RootSeed, error) {
	if old.root == nil {
		return s, nil
	}
	name := s.Root.Name()
	if s.sameOrigin(old.row, old.metadata) {
		if older, _ := trust.Older(old.root, s.Root); !older {
			req := s.Root.Requires()
			var err error
			if s.Root, err = trust.Parse(name, old.root.Bytes(), &req); err != nil {
				return s, fmt.Errorf("trust root %q, as it was refreshed: %w", name, err)
			}
		}
		if at := old.row.RefreshedAt; at != nil && at.After(s.Since) {
			s.Since = *at
		}
	}
	if older, why := trust.Older(s.Root, old.root); older && !s.AllowOlder {
		return s, &refusal{kind: errors.Join(ErrConflict, trust.ErrOlder), text: fmt.Sprintf(
			"trust root %q of the configuration is older than the one in use, which an earlier start or another server brought: %s; "+
				"bring the newer one here too, or set allow_older: true for it if going back is meant", name, why)}
	}
	return s, nil
}

// SeedOver is a seed as a server on the store that starts with it has it in force.
func SeedOver(ctx context.Context, st *store.Store, seed RootSeed) (RootSeed, error) {
	row, err := st.Root(ctx, seed.Root.Name())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return seed, nil
	case err != nil:
		return seed, err
	}
	old, err := readKept(ctx, st, row)
	if err != nil {
		return seed, err
	}
	return seed.over(old)
}
