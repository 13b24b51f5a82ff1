package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Gateway is the image that stands behind one gateway of an MCP gateway: calls of
// its tools are let through while that image may run. GatewayID, URL or Tag tells it.
type Gateway struct {
	Name      string `json:"name"`
	GatewayID string `json:"gateway_id,omitempty"`
	URL       string `json:"url,omitempty"`
	Tag       string `json:"tag,omitempty"`
	// Image is name@sha256:….
	Image string `json:"image"`
	Note  string `json:"note"`
	// Source is "api", or "configuration" for one that is changed there.
	Source    string    `json:"source"`
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedBy string    `json:"updated_by"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`
	// LastVerdict is the newest verdict on the image that is kept, whoever asked for
	// it; nil where there is none.
	LastVerdict *GatewayVerdict `json:"last_verdict,omitempty"`
}

// GatewayVerdict is what was last decided on the image behind a gateway.
type GatewayVerdict struct {
	ID       string   `json:"id"`
	Decision Decision `json:"decision"`
	// Allowed says whether the image might run; a policy in audit mode denies and allows.
	Allowed bool `json:"allowed"`
	// Reason is the first reason's message, "" for an allow.
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// PutGateway says what stands behind a gateway. One of GatewayID, URL and Tag is
// given.
type PutGateway struct {
	GatewayID string `json:"gateway_id,omitempty"`
	URL       string `json:"url,omitempty"`
	Tag       string `json:"tag,omitempty"`
	// Image is name@sha256:….
	Image string `json:"image"`
	Note  string `json:"note,omitempty"`
}

// Gateways lists the images behind gateways by name; limit 0 is the server's.
func (c *Client) Gateways(ctx context.Context, limit int, cursor string) (Page[Gateway], error) {
	return ask[Page[Gateway]](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "gateways")
}

// FindGateways lists those of which something has a text: the name, what tells it, the
// image or the note.
func (c *Client) FindGateways(ctx context.Context, query string, limit int, cursor string) (Page[Gateway], error) {
	q := pageOf(url.Values{}, limit, cursor)
	set(q, "query", query)
	return ask[Page[Gateway]](ctx, c, get(q), "gateways")
}

// AllGateways walks them.
func (c *Client) AllGateways(ctx context.Context) iter.Seq2[Gateway, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[Gateway], error) {
		return c.Gateways(ctx, walkLimit, cursor)
	})
}

// Gateway reads one.
func (c *Client) Gateway(ctx context.Context, name string) (Gateway, error) {
	return ask[Gateway](ctx, c, get(nil), "gateways", name)
}

// PutGateway says what stands behind a gateway. Version is that of what it
// replaces; nil: there must be none of that name.
func (c *Client) PutGateway(ctx context.Context, name string, g PutGateway, version *int64) (Gateway, error) {
	return ask[Gateway](ctx, c, call{method: http.MethodPut}.json(g).newOr(version), "gateways", name)
}

// DeleteGateway forgets what stands behind a gateway. It is refused ([IsStale])
// where version is not the current one.
func (c *Client) DeleteGateway(ctx context.Context, name string, version int64) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}.ifVersion(version), "gateways", name)
	return err
}

// MCP sends one message of the Model Context Protocol, as a gateway sends it to an
// external plugin, and gives the answer as it came; nil for a notification.
func (c *Client) MCP(ctx context.Context, message []byte) ([]byte, error) {
	a, err := c.do(ctx, call{method: http.MethodPost, path: "/mcp", body: message, contentType: mediaJSON, root: true})
	switch {
	case err != nil:
		return nil, err
	case a.status > 299 && a.header.Get("Content-Type") != mediaJSON: // else it is the protocol's own error
		return nil, problemOf(a)
	}
	return a.body, nil
}
