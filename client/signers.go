package client

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// SignerFilter chooses signers; zero fields choose all.
type SignerFilter struct {
	// Query is part of a name, an identity or a note.
	Query string
	// Type is "keyless", "public_key" or "kms"; State one of [Signer.State].
	Type, State, Owner string
	Enabled            *bool
	// Sort is "name", "type", "state", "owner", "expires_at" or "updated_at", with a -
	// in front the other way round; "" is the order in which they were made.
	Sort string
	// Limit and Cursor choose the page.
	Limit  int
	Cursor string
}

func (f SignerFilter) values() url.Values {
	q := url.Values{}
	set(q, "query", f.Query)
	set(q, "type", f.Type)
	set(q, "state", f.State)
	set(q, "owner", f.Owner)
	set(q, "sort", f.Sort)
	if f.Enabled != nil {
		q.Set("enabled", strconv.FormatBool(*f.Enabled))
	}
	return pageOf(q, f.Limit, f.Cursor)
}

// Signers lists trusted signers in the order in which they were made.
func (c *Client) Signers(ctx context.Context, f SignerFilter) (Page[Signer], error) {
	return ask[Page[Signer]](ctx, c, get(f.values()), "signers")
}

// AllSigners walks them.
func (c *Client) AllSigners(ctx context.Context, f SignerFilter) iter.Seq2[Signer, error] {
	return all(ctx, f.Cursor, func(ctx context.Context, cursor string) (Page[Signer], error) {
		f.Cursor, f.Limit = cursor, cmp.Or(f.Limit, walkLimit)
		return c.Signers(ctx, f)
	})
}

// Signer reads one by its id.
func (c *Client) Signer(ctx context.Context, id string) (Signer, error) {
	return ask[Signer](ctx, c, get(nil), "signers", id)
}

// CreateSigner trusts a signer. It is answered with what the server made of it:
// its id, fingerprints and version.
func (c *Client) CreateSigner(ctx context.Context, s Signer) (Signer, error) {
	if s.Claims == nil { // a list that is not there is sent as an empty one
		s.Claims = map[string]string{}
	}
	if s.TrustRoots == nil {
		s.TrustRoots = []string{}
	}
	if s.Images == nil {
		s.Images = []string{}
	}
	return ask[Signer](ctx, c, post(s), "signers")
}

// UpdateSigner changes the fields that are in patch, a JSON merge patch (RFC
// 7396): null removes. It is refused ([IsStale]) where version is not the current
// one.
func (c *Client) UpdateSigner(ctx context.Context, id string, version int64, patch any) (Signer, error) {
	return ask[Signer](ctx, c, mergePatch(patch).ifVersion(version), "signers", id)
}

func mergePatch(patch any) call {
	r := call{method: http.MethodPatch}.json(patch)
	r.contentType = "application/merge-patch+json"
	return r
}

// DeleteSigner ends the trust in a signer and forgets it. It is refused
// ([IsStale]) where version is not the current one.
func (c *Client) DeleteSigner(ctx context.Context, id string, version int64) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}.ifVersion(version), "signers", id)
	return err
}

// CompromiseSigner ends the trust in what was signed after a moment, and tells
// which digests were allowed because of such signatures.
func (c *Client) CompromiseSigner(ctx context.Context, id string, what Compromise) (Compromised, error) {
	return ask[Compromised](ctx, c, post(what), "signers", id, "compromise")
}

// AcceptKey puts a kms signer's pending key into use.
func (c *Client) AcceptKey(ctx context.Context, id string, what AcceptKey) (Signer, error) {
	return ask[Signer](ctx, c, post(what), "signers", id, "accept-key")
}

// RefreshKey reads a kms signer's key from its service now.
func (c *Client) RefreshKey(ctx context.Context, id string) (Signer, error) {
	return ask[Signer](ctx, c, call{method: http.MethodPost}, "signers", id, "refresh-key")
}

// ReadKey reads the key of a reference from its service, as CreateSigner would, and
// keeps nothing.
func (c *Client) ReadKey(ctx context.Context, what ReadKey) (KeyRead, error) {
	return ask[KeyRead](ctx, c, post(what), "signers", "read-key")
}

// SignerVerdicts lists digests that were allowed because of a signer, the latest
// first.
func (c *Client) SignerVerdicts(ctx context.Context, id string, limit int, cursor string) (Page[SignerVerdict], error) {
	return ask[Page[SignerVerdict]](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "signers", id, "verdicts")
}

// AllSignerVerdicts walks them.
func (c *Client) AllSignerVerdicts(ctx context.Context, id string) iter.Seq2[SignerVerdict, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[SignerVerdict], error) {
		return c.SignerVerdicts(ctx, id, walkLimit, cursor)
	})
}

// ImportOptions say how an import treats what is there.
type ImportOptions struct {
	// DryRun changes nothing and tells what would be changed.
	DryRun bool
	// Replace updates signers whose name is taken, which are else a conflict.
	Replace bool
}

// ImportSigners adds the trusted_signers of a signing_policy in YAML or JSON: all
// of them, or none.
func (c *Client) ImportSigners(ctx context.Context, document []byte, o ImportOptions) (Imported, error) {
	q := url.Values{}
	setTrue(q, "dry_run", o.DryRun)
	setTrue(q, "replace", o.Replace)
	return ask[Imported](ctx, c, call{method: http.MethodPost, query: q}.document(document), "signers", "import")
}

// ExportSigners gives all signers as YAML that [Client.ImportSigners] takes.
func (c *Client) ExportSigners(ctx context.Context) ([]byte, error) {
	a, err := c.bytes(ctx, get(nil), "signers", "export")
	return a.body, err
}

func setTrue(q url.Values, name string, value bool) {
	if value {
		q.Set(name, "true")
	}
}
