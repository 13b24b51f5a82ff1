package auth

import (
	"crypto/subtle"
	"fmt"
	"time"
)

// Tokens is an immutable set of API tokens. A nil set knows none.
type Tokens struct {
	byID map[string]Token
}

// NewTokens makes a set. A token that could not have been made by [NewToken]
// (no id, no hash, no name, an unknown role) and two tokens with one id are
// errors: a set that cannot be trusted is not used at all.
func NewTokens(list []Token) (*Tokens, error) {
	byID := make(map[string]Token, len(list))
	for _, t := range list {
		if _, twice := byID[t.ID]; twice {
			return nil, fmt.Errorf("token %s: is there twice", t.ID)
		}
		if len(t.ID) != idLen || !within(t.ID, idAlphabet) || t.Hash == (Hash{}) || t.Name == "" {
			return nil, fmt.Errorf("token %q: id, hash or name is missing or malformed", t.ID)
		}
		if _, err := ParseRole(string(t.Role)); err != nil {
			return nil, fmt.Errorf("token %s: %w", t.ID, err)
		}
		byID[t.ID] = t
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

// Authenticate tells who presents the token, as of now. Its errors are
// [ErrMissing], [ErrMalformed], [ErrUnknown], [ErrRevoked] and [ErrExpired]; with
// any of them the principal is the zero value.
func (ts *Tokens) Authenticate(plain string, now time.Time) (Principal, error) {
	id, hash, err := Parse(plain)
	if err != nil {
		return Principal{}, err
	}
	var t Token
	known := false
	if ts != nil {
		t, known = ts.byID[id]
	}
	// An unknown id is compared too, with the zero hash, so that it takes as
	// long as a wrong secret.
	same := subtle.ConstantTimeCompare(hash[:], t.Hash[:]) == 1
	switch {
	case !known || !same:
		return Principal{}, ErrUnknown
	case t.RevokedAt != nil:
		return Principal{}, ErrRevoked
	case !now.Before(t.ExpiresAt):
		return Principal{}, ErrExpired
	}
	return Principal{Name: t.Name, Role: t.Role, TokenID: t.ID, ExpiresAt: t.ExpiresAt}, nil
}
