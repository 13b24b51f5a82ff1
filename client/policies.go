package client

import (
	"bytes"
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// Policies lists signing policies; a limit of 0 is as the server likes.
func (c *Client) Policies(ctx context.Context, limit int, cursor string) (Page[Policy], error) {
	return ask[Page[Policy]](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "policies")
}

// AllPolicies walks them.
func (c *Client) AllPolicies(ctx context.Context) iter.Seq2[Policy, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[Policy], error) {
		return c.Policies(ctx, walkLimit, cursor)
	})
}

// Policy reads one by its name.
func (c *Client) Policy(ctx context.Context, name string) (Policy, error) {
	return ask[Policy](ctx, c, get(nil), "policies", name)
}

// PutPolicy puts a policy into force, a signing_policy document in YAML or JSON,
// owned by a team ("": by the caller's). Version is that of the policy that it
// replaces; nil: there must be none of that name.
func (c *Client) PutPolicy(ctx context.Context, name, owner string, document []byte, version *int64) (Policy, error) {
	q := url.Values{}
	set(q, "owner", owner)
	return ask[Policy](ctx, c, call{method: http.MethodPut, query: q}.document(document).newOr(version), "policies", name)
}

// DeletePolicy takes a policy out of force. It is refused ([IsStale]) where
// version is not the current one.
func (c *Client) DeletePolicy(ctx context.Context, name string, version int64) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}.ifVersion(version), "policies", name)
	return err
}

// AddException adds an exception to a policy, as its last. It is refused
// ([IsStale]) where version is not the current one.
func (c *Client) AddException(ctx context.Context, policy string, e NewException, version int64) (Policy, error) {
	return ask[Policy](ctx, c, call{method: http.MethodPost}.json(e).ifVersion(version), "policies", policy, "exceptions")
}

// RemoveException takes an exception out of a policy by its place, counted from 1.
// It is refused ([IsStale]) where version is not the current one.
func (c *Client) RemoveException(ctx context.Context, policy string, place int, version int64) (Policy, error) {
	return ask[Policy](ctx, c, call{method: http.MethodDelete}.ifVersion(version), "policies", policy, "exceptions", strconv.Itoa(place))
}

// Shadow tells how a policy of mode shadow compares, with one page of where it
// disagrees; a limit of 0 is as the server likes.
func (c *Client) Shadow(ctx context.Context, policy string, limit int, cursor string) (ShadowReport, error) {
	return ask[ShadowReport](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "policies", policy, "shadow")
}

// newOr makes a PUT depend on the version that it replaces, or on there being
// none (RFC 9110, section 13.1.2).
func (r call) newOr(version *int64) call {
	if version != nil {
		return r.ifVersion(*version)
	}
	r.header = http.Header{"If-None-Match": {"*"}}
	return r
}

// document gives the call a body that is JSON when it begins as an object does,
// and else YAML.
func (r call) document(body []byte) call {
	r.body, r.contentType = append([]byte{}, body...), mediaYAML
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		r.contentType = mediaJSON
	}
	return r
}
