package auth

import (
	"crypto/subtle"
	"fmt"
	"net/netip"
	"time"

	"github.com/signet-policy/signet/internal/glob"
)

// Tokens is an immutable set of API tokens. A nil set knows none.
type Tokens struct {
	byID map[string]known
}

// known is a token with its images compiled; scope is nil where it is bound to
// none.
type known struct {
	Token
	scope *glob.Scope
}

// NewTokens makes a set. A token that could not have been made by [NewToken]
// (no id, no hash, no name, an unknown role, images or sources that are none) and
// two tokens with one id are errors: a set that cannot be trusted is not used at
// all.
func NewTokens(list []Token) (*Tokens, error) {
	byID := make(map[string]known, len(list))
	for _, t := range list {
		if _, twice := byID[t.ID]; twice {
			return nil, fmt.Errorf("token %s: is there twice", t.ID)
		}
		if len(t.ID) != idLen || !madeOf(t.ID, idAlphabet) || t.Hash == (Hash{}) || t.Name == "" {
			return nil, fmt.Errorf("token %q: id, hash or name is missing or malformed", t.ID)
		}
		if _, err := ParseRole(string(t.Role)); err != nil {
			return nil, fmt.Errorf("token %s: %w", t.ID, err)
		}
		k := known{Token: t}
		if err := checkBounds(t.Team, t.Images, t.Sources); err != nil {
			return nil, fmt.Errorf("token %s: %w", t.ID, err)
		}
		if len(t.Images) > 0 {
			scope, err := glob.NewScope(t.Images)
			if err != nil {
				return nil, fmt.Errorf("token %s: %w", t.ID, err)
			}
			k.scope = &scope
		}
		byID[t.ID] = k
	}
	return &Tokens{byID: byID}, nil
}

// Len is the number of tokens, revoked and expired ones included.
func (ts *Tokens) Len() int {
	if ts == nil {
		return 0
	}
	return len(ts.byID)
}

// Authenticate tells who presents the token from an address, as of now. An
// address that is not known, the zero one, is in no network. Its errors are
// [ErrMissing], [ErrMalformed], [ErrUnknown], [ErrRevoked], [ErrExpired] and
// [ErrSource]; with any of them the principal is the zero value.
func (ts *Tokens) Authenticate(plain string, from netip.Addr, now time.Time) (Principal, error) {
	id, hash, err := Parse(plain)
	if err != nil {
		return Principal{}, err
	}
	var t known
	found := false
	if ts != nil {
		t, found = ts.byID[id]
	}
	// An unknown id is compared too, with the zero hash, so that it takes as
	// long as a wrong secret.
	same := subtle.ConstantTimeCompare(hash[:], t.Hash[:]) == 1
	if !found || !same {
		return Principal{}, ErrUnknown
	}
	return t.principal(from, now)
}

// Principal tells whom a token stands for whose secret was seen before, as of now:
// for a session that the token began, and which ends with it. Its errors are those
// of [Tokens.Authenticate].
func (ts *Tokens) Principal(id string, from netip.Addr, now time.Time) (Principal, error) {
	if ts == nil {
		return Principal{}, ErrUnknown
	}
	t, found := ts.byID[id]
	if !found {
		return Principal{}, ErrUnknown
	}
	return t.principal(from, now)
}

// Good says whether a token that was presented before counts as of now: for what it
// began, and goes on without it. Its errors are [ErrUnknown], [ErrRevoked] and
// [ErrExpired].
func (ts *Tokens) Good(id string, now time.Time) error {
	if ts == nil {
		return ErrUnknown
	}
	t, found := ts.byID[id]
	if !found {
		return ErrUnknown
	}
	return t.good(now)
}

func (t known) good(now time.Time) error {
	switch {
	case t.RevokedAt != nil:
		return ErrRevoked
	case !now.Before(t.ExpiresAt):
		return ErrExpired
	}
	return nil
}

// principal is whom the token stands for while it is good.
func (t known) principal(from netip.Addr, now time.Time) (Principal, error) {
	if err := t.good(now); err != nil {
		return Principal{}, err
	}
	if !within(t.Sources, from) {
		return Principal{}, ErrSource
	}
	return Principal{
		Name: t.Name, Role: t.Role, Team: t.Team, Images: t.Images, Sources: t.Sources,
		TokenID: t.ID, ExpiresAt: t.ExpiresAt, scope: t.scope,
	}, nil
}

// within says whether an address is in one of the networks; none: any address.
func within(networks []netip.Prefix, from netip.Addr) bool {
	if len(networks) == 0 {
		return true
	}
	// A listener on both families gives IPv4 callers as ::ffff:a.b.c.d, and a zone
	// is this machine's name for an interface: neither is part of the address.
	from = from.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(from) {
			return true
		}
	}
	return false
}
