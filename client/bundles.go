package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

const (
	mediaGzip   = "application/gzip"
	mediaPolicy = "application/vnd.signet.policy+json"
	// mediaKeyedBundle is a JSON object with a bundle's archive and who must have signed it.
	mediaKeyedBundle = "application/vnd.signet.bundle+json"
)

// Bundles lists policy bundles; a limit of 0 is as the server likes.
func (c *Client) Bundles(ctx context.Context, limit int, cursor string) (Page[Bundle], error) {
	return ask[Page[Bundle]](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "bundles")
}

// AllBundles walks them.
func (c *Client) AllBundles(ctx context.Context) iter.Seq2[Bundle, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[Bundle], error) {
		return c.Bundles(ctx, walkLimit, cursor)
	})
}

// Bundle reads one by its name.
func (c *Client) Bundle(ctx context.Context, name string) (Bundle, error) {
	return ask[Bundle](ctx, c, get(nil), "bundles", name)
}

// BundleArchive reads the archive that is in force.
func (c *Client) BundleArchive(ctx context.Context, name string) ([]byte, error) {
	a, err := c.bytes(ctx, get(nil), "bundles", name, "archive")
	return a.body, err
}

// PutBundle puts the archive of a policy bundle into force, owned by a team ("": by
// the caller's, or as it was). Version is that of the bundle that it replaces; nil:
// there must be none of that name.
func (c *Client) PutBundle(ctx context.Context, name, owner string, archive []byte, version *int64) (Bundle, error) {
	q := url.Values{}
	set(q, "owner", owner)
	return ask[Bundle](ctx, c, call{method: http.MethodPut, query: q, body: archive, contentType: mediaGzip}.newOr(version), "bundles", name)
}

// PutBundleWith is [Client.PutBundle], and in the same change says which keys (PEM,
// by their ids) must have signed this archive and later ones, in a scope ("": as it
// was).
func (c *Client) PutBundleWith(ctx context.Context, name, owner string, archive []byte, keys map[string]string, scope string, version *int64) (Bundle, error) {
	q := url.Values{}
	set(q, "owner", owner)
	r := call{method: http.MethodPut, query: q}.json(struct {
		Archive []byte            `json:"archive"`
		Keys    map[string]string `json:"keys"`
		Scope   string            `json:"scope,omitempty"`
	}{archive, keys, scope})
	r.contentType = mediaKeyedBundle
	return ask[Bundle](ctx, c, r.newOr(version), "bundles", name)
}

// PatchBundle changes the owner, the keys and the scope of a bundle by a JSON merge
// patch (RFC 7396), a map or a struct. It is refused ([IsStale]) where version is
// not the current one.
func (c *Client) PatchBundle(ctx context.Context, name string, version int64, patch any) (Bundle, error) {
	return ask[Bundle](ctx, c, mergePatch(patch).ifVersion(version), "bundles", name)
}

// DeleteBundle removes a bundle that no policy names. It is refused ([IsStale])
// where version is not the current one.
func (c *Client) DeleteBundle(ctx context.Context, name string, version int64) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}.ifVersion(version), "bundles", name)
	return err
}

// AllBundleHistory walks the states that a bundle has had, newest first.
func (c *Client) AllBundleHistory(ctx context.Context, name string) iter.Seq2[BundleVersion, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[BundleVersion], error) {
		return ask[Page[BundleVersion]](ctx, c, get(pageOf(url.Values{}, walkLimit, cursor)), "bundles", name, "history")
	})
}

type rollback struct {
	To *int64 `json:"to,omitempty"`
}

// RollbackBundle goes back to the archive of a sequence that was in force before;
// nil: to the last one.
func (c *Client) RollbackBundle(ctx context.Context, name string, to *int64) (Bundle, error) {
	return ask[Bundle](ctx, c, call{method: http.MethodPost}.json(rollback{to}), "bundles", name, "rollback")
}

// FetchBundle makes the server ask the source of a bundle of its configuration now.
func (c *Client) FetchBundle(ctx context.Context, name string) (Bundle, error) {
	return ask[Bundle](ctx, c, call{method: http.MethodPost}, "bundles", name, "fetch")
}

// PutPolicyWith is [Client.PutPolicy], and puts the archive of the policy's bundle
// into force in the same change.
func (c *Client) PutPolicyWith(ctx context.Context, name, owner string, document, archive []byte, version *int64) (Policy, error) {
	q := url.Values{}
	set(q, "owner", owner)
	r := call{method: http.MethodPut, query: q}.json(struct {
		SigningPolicy string `json:"signing_policy"`
		Archive       []byte `json:"archive"`
	}{string(document), archive})
	r.contentType = mediaPolicy
	return ask[Policy](ctx, c, r.newOr(version), "policies", name)
}

// PublishPolicy puts an archive into force as the bundle of a policy of that
// version: the one that it names, else one of the policy's own name, which it names
// from then on.
func (c *Client) PublishPolicy(ctx context.Context, name string, archive []byte, version int64) (Policy, error) {
	return ask[Policy](ctx, c, call{method: http.MethodPut, body: archive, contentType: mediaGzip}.ifVersion(version), "policies", name)
}

// AllPolicyHistory walks the states that a policy has had, newest first.
func (c *Client) AllPolicyHistory(ctx context.Context, name string) iter.Seq2[PolicyVersion, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[PolicyVersion], error) {
		return ask[Page[PolicyVersion]](ctx, c, get(pageOf(url.Values{}, walkLimit, cursor)), "policies", name, "history")
	})
}

// DiffPolicy compares two states of a policy, each under a revision of everything
// in force; 0 is the newest for to, and for from the one before to.
func (c *Client) DiffPolicy(ctx context.Context, name string, from, to int64) (PolicyDiff, error) {
	q := url.Values{}
	setNumber(q, "from", from)
	setNumber(q, "to", to)
	return ask[PolicyDiff](ctx, c, get(q), "policies", name, "diff")
}

// RollbackPolicy goes back to what a policy was under a revision of everything in
// force, its bundle included; nil: before its last change. One that was removed comes
// back. It is refused ([IsStale]) where version is not the current one, or is 0 and the
// policy is there; nil: whatever it is now.
func (c *Client) RollbackPolicy(ctx context.Context, name string, to, version *int64) (Policy, error) {
	r := call{method: http.MethodPost}.json(rollback{to})
	switch {
	case version == nil:
	case *version == 0:
		r = r.newOr(nil)
	default:
		r = r.ifVersion(*version)
	}
	return ask[Policy](ctx, c, r, "policies", name, "rollback")
}
