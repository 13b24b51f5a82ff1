package client

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
)

// String leaves the token itself out, so that it does not end up in a log.
func (t Token) String() string { return "token " + t.ID + " (" + t.Name + ", " + t.Role + ")" }

// GoString leaves the token out of %#v.
func (t Token) GoString() string { return t.String() }

// LogValue leaves the token out of logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Tokens lists API tokens; a limit of 0 is as the server likes.
func (c *Client) Tokens(ctx context.Context, limit int, cursor string) (Page[Token], error) {
	return ask[Page[Token]](ctx, c, get(pageOf(url.Values{}, limit, cursor)), "tokens")
}

// TokensIn lists those in a state: "valid", "expired" or "revoked"; "" is any.
func (c *Client) TokensIn(ctx context.Context, state string, limit int, cursor string) (Page[Token], error) {
	q := pageOf(url.Values{}, limit, cursor)
	set(q, "state", state)
	return ask[Page[Token]](ctx, c, get(q), "tokens")
}

// AllTokens walks them.
func (c *Client) AllTokens(ctx context.Context) iter.Seq2[Token, error] {
	return all(ctx, "", func(ctx context.Context, cursor string) (Page[Token], error) { return c.Tokens(ctx, walkLimit, cursor) })
}

// Token reads one by its id.
func (c *Client) Token(ctx context.Context, id string) (Token, error) {
	return ask[Token](ctx, c, get(nil), "tokens", id)
}

// CreateToken makes a token. [Token.Plain] is there this once.
func (c *Client) CreateToken(ctx context.Context, t NewToken) (Token, error) {
	return ask[Token](ctx, c, post(t), "tokens")
}

// RevokeToken ends a token's life; the next request with it is refused.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := c.bytes(ctx, call{method: http.MethodDelete}, "tokens", id)
	return err
}

// Setup turns the setup token of a first start into an administrator's token of
// that name. The setup token counts once.
func (c *Client) Setup(ctx context.Context, setupToken, name string) (Token, error) {
	r := post(struct {
		Name string `json:"name"`
	}{name})
	r.token = setupToken
	return ask[Token](ctx, c, r, "setup")
}

// Whoami tells who the server takes the caller for.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return ask[Whoami](ctx, c, get(nil), "whoami")
}

// RotateSecret replaces the secret from which the server derives its keys: what
// is cached under the old one counts no more.
func (c *Client) RotateSecret(ctx context.Context) error {
	_, err := c.bytes(ctx, call{method: http.MethodPost}, "secret", "rotate")
	return err
}
