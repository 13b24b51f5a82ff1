package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
)

// TrustRoots lists trust roots in the order in which they are tried; a limit of 0
// is as the server likes.
func (c *Client) TrustRoots(ctx context.Context, limit int, cursor string) (Page[TrustRoot], error) {
	return ask[Page[TrustRoot]](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "trust-roots")
}

// AllTrustRoots walks them.
func (c *Client) AllTrustRoots(ctx context.Context) iter.Seq2[TrustRoot, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[TrustRoot], error) {
		return c.TrustRoots(ctx, walkLimit, cursor)
	})
}

// TrustRoot reads one by its name, the trusted_root.json included.
func (c *Client) TrustRoot(ctx context.Context, name string) (TrustRoot, error) {
	return ask[TrustRoot](ctx, c, get(nil), "trust-roots", name)
}

// PutTrustRoot trusts a Sigstore instance. Version is that of the root that it
// replaces; nil: there must be none of that name. A root that is older than the
// one in use is refused without AllowOlder.
func (c *Client) PutTrustRoot(ctx context.Context, name string, root PutTrustRoot, version *int64) (TrustRoot, error) {
	return ask[TrustRoot](ctx, c, call{method: http.MethodPut}.json(root).newOr(version), "trust-roots", name)
}

// PatchTrustRoot changes the fields that are in patch, a JSON merge patch (RFC
// 7396). It is refused ([IsStale]) where version is not the current one.
func (c *Client) PatchTrustRoot(ctx context.Context, name string, version int64, patch any) (TrustRoot, error) {
	return ask[TrustRoot](ctx, c, mergePatch(patch).ifVersion(version), "trust-roots", name)
}

// DeleteTrustRoot no longer trusts a Sigstore instance. It is refused ([IsStale])
// where version is not the current one.
func (c *Client) DeleteTrustRoot(ctx context.Context, name string, version int64) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}.ifVersion(version), "trust-roots", name)
	return err
}

// Dependencies tells how it stands with what the server depends on.
func (c *Client) Dependencies(ctx context.Context) (Page[Dependency], error) {
	return ask[Page[Dependency]](ctx, c, get(nil), "dependencies")
}

// RefreshTrustRoot reads a root from its TUF repository now.
func (c *Client) RefreshTrustRoot(ctx context.Context, name string) (TrustRoot, error) {
	return ask[TrustRoot](ctx, c, call{method: http.MethodPost}, "trust-roots", name, "refresh")
}

// ExportTrust gives roots, TUF metadata, policies and signers as one signed file,
// a DSSE envelope, to carry to where there is no network.
func (c *Client) ExportTrust(ctx context.Context) ([]byte, error) {
	a, err := c.bytes(ctx, get(nil), "trust", "export")
	return a.body, err
}

// ExportKey gives the public key, as PEM, that checks what ExportTrust signed. It
// is worth what the way is worth on which it came.
func (c *Client) ExportKey(ctx context.Context) (string, error) {
	a, err := c.bytes(ctx, get(nil), "trust", "export-key")
	return string(a.body), err
}

// ImportTrust takes what [Client.ExportTrust] gave elsewhere, when its signature
// is by the given key.
func (c *Client) ImportTrust(ctx context.Context, archive []byte, publicKeyPEM string, dryRun bool) (TrustImport, error) {
	q := url.Values{}
	setTrue(q, "dry_run", dryRun)
	r := call{method: http.MethodPost, query: q}.json(struct {
		Archive   json.RawMessage `json:"archive"`
		PublicKey string          `json:"public_key"`
	}{archive, publicKeyPEM})
	return ask[TrustImport](ctx, c, r, "trust", "import")
}
