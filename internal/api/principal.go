package api

import (
	"context"

	"github.com/signet-policy/signet/internal/auth"
)

type principalKey struct{}

// WithPrincipal gives requests under ctx a principal that the connection itself
// vouches for: a client certificate, a Unix socket that only its owner opens, a
// call within the process. No token is read then, and one that is sent is
// refused with 400 token_unexpected: with two answers to who asks, somebody is
// mistaken, and what the token may not do could be done in its name.
//
// A principal without a name or a role may do nothing, as everywhere.
func WithPrincipal(ctx context.Context, p auth.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// Principal is the one of [WithPrincipal], if there is one.
func Principal(ctx context.Context) (auth.Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(auth.Principal)
	return p, ok
}
