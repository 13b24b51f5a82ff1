package administration

import (
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
		list = append(list, s.shownRoot(row, root, failed[row.Name]))
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
	w := s.shownRoot(row, root, failed[row.Name])
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
func (s *Service) shownRoot(row store.RootRow, root *trust.Root, failed string) client.TrustRoot {
	c, req := root.Contents(), root.Requires()
	w := client.TrustRoot{
		Name: row.Name, Source: row.Source, Position: row.Position, Kind: row.Kind, Digest: row.Digest,
		Requires: client.Requires{Log: req.Log, SCT: req.SCT, Timestamp: req.Timestamp}, Images: orEmpty(row.Images),
		TUFURL: row.TUFURL, Target: row.Target, RefreshedAt: row.RefreshedAt,
		Contains: client.TrustRootContents{
			CertificateAuthorities: c.CertificateAuthorities, TransparencyLogs: c.TransparencyLogs,
			CTLogs: c.CTLogs, TimestampAuthorities: c.TimestampAuthorities, Parts: make([]client.TrustRootPart, 0, len(c.Parts)),
		},
		UpdatedBy: row.UpdatedBy, UpdatedAt: row.UpdatedAt, Version: row.Version,
	}
	if row.Kind == kindTUF { // else it is of a root that was one, and is not now
		w.Error = failed
	}
	w.Contains.NewestSince, w.Contains.NextEnd = bound(c.NewestSince), bound(c.NextEnd(s.now()))
	for _, p := range c.Parts {
		w.Contains.Parts = append(w.Contains.Parts, client.TrustRootPart{Kind: p.Kind, Name: p.Name, Since: bound(p.Since), Until: bound(p.Until)})
	}
	return w
}

// bound is a time, nil for the zero one.
func bound(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
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
