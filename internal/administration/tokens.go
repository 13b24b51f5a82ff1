package administration

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/glob"
	"github.com/signet-policy/signet/internal/store"
)

// Tokens lists API tokens, the newest first: those that ended too, and for a team
// its own only. limit is 1 to 1000, 0 means 100; after is Next of the page before.
func (s *Service) Tokens(ctx context.Context, c Caller, state string, limit int, after string) (client.Page[client.Token], error) {
	page := client.Page[client.Token]{Items: []client.Token{}}
	if err := c.may(auth.Read); err != nil {
		return page, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return page, err
	}
	if states := []string{"valid", "expired", "revoked"}; state != "" && !slices.Contains(states, state) {
		return page, fieldError("state", "%q is none of %s", state, strings.Join(states, ", "))
	}
	rows, err := s.store.Tokens(ctx)
	if err != nil {
		return page, err
	}
	begun := after == ""
	for _, t := range rows {
		switch {
		case !begun:
			begun = t.ID == after
		case !c.seesToken(t), state != "" && tokenShown(t, s.now()).State != state:
		case len(page.Items) == limit:
			page.Next = page.Items[limit-1].ID
			return page, nil
		default:
			page.Items = append(page.Items, tokenShown(t, s.now()))
		}
	}
	if !begun {
		return page, fieldError("cursor", "is not known; take it from the page before, unchanged")
	}
	return page, nil
}

func (c Caller) seesToken(t auth.Token) bool {
	return c.Principal.Team == "" || c.Principal.Team == t.Team
}

// Token returns one token, or [ErrNotFound], for another team's too.
func (s *Service) Token(ctx context.Context, c Caller, id string) (client.Token, error) {
	if err := c.may(auth.Read); err != nil {
		return client.Token{}, err
	}
	t, err := s.token(ctx, c, id)
	if err != nil {
		return client.Token{}, err
	}
	return tokenShown(t, s.now()), nil
}

func (s *Service) token(ctx context.Context, c Caller, id string) (auth.Token, error) {
	rows, err := s.store.Tokens(ctx)
	if err != nil {
		return auth.Token{}, err
	}
	for _, t := range rows {
		if t.ID == id && c.seesToken(t) {
			return t, nil
		}
	}
	return auth.Token{}, refuse(ErrNotFound, "there is no token with the id %q", id)
}

func tokenShown(t auth.Token, now time.Time) client.Token {
	w := client.Token{
		ID: t.ID, Name: t.Name, Role: string(t.Role), Team: t.Team, Images: orEmpty(t.Images), Sources: texts(t.Sources),
		CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(),
		RevokedAt: t.RevokedAt, LastUsedAt: t.LastUsedAt, State: "valid",
	}
	switch {
	case t.RevokedAt != nil:
		w.State = "revoked"
	case !now.Before(t.ExpiresAt):
		w.State = "expired"
	}
	return w
}

// CreateToken makes a token and returns it with its plain form, which is kept
// nowhere. A team makes tokens of its own only; nobody makes one that may do more
// than they may.
func (s *Service) CreateToken(ctx context.Context, c Caller, req client.NewToken) (client.Token, error) {
	if err := c.may(auth.Administer); err != nil {
		return client.Token{}, err
	}
	req.Team = c.ownerOf(req.Team)
	want, mistakes := s.tokenOf(req)
	if err := mistakes.err(); err != nil {
		return client.Token{}, err
	}
	what := fmt.Sprintf("token %q", req.Name)
	if err := c.owns(what, req.Team, req.Images); err != nil {
		return client.Token{}, err
	}
	if !c.Principal.Role.Includes(want.Role) {
		return client.Token{}, refuse(ErrRole, "%s: the role %s is above %q, which %q has", what, want.Role, c.Principal.Role, c.Principal.Name)
	}
	if own := c.Principal.Sources; !within(want.Sources, own) {
		return client.Token{}, fieldError("sources", "go beyond %s, which is where %q may come from; name networks within", list(texts(own)), c.Principal.Name)
	}
	want.CreatedBy = c.Principal.Name
	return s.makeToken(ctx, c.actor(), c.Why, want, nil)
}

// makeToken keeps a new token, after what else belongs into the same change.
func (s *Service) makeToken(ctx context.Context, by store.Actor, why string, want auth.NewTokenRequest, before func(*store.Tx) error) (client.Token, error) {
	now := s.now()
	plain, t, err := auth.NewToken(want, now)
	if err != nil {
		return client.Token{}, fieldError("", "%s", err) // what is checked before, and more
	}
	_, err = s.store.Change(ctx, by, why, func(tx *store.Tx) error {
		if before != nil {
			if err := before(tx); err != nil {
				return err
			}
		}
		return tx.CreateToken(ctx, t)
	})
	if err != nil {
		return client.Token{}, err
	}
	w := tokenShown(t, now)
	w.Plain = plain
	return w, nil
}

// tokenOf reads a request for a token, all mistakes at once.
func (s *Service) tokenOf(req client.NewToken) (auth.NewTokenRequest, FieldErrors) {
	var mistakes FieldErrors
	want := auth.NewTokenRequest{Name: req.Name, Team: req.Team, Images: req.Images}
	if err := auth.ValidTokenName(req.Name); err != nil {
		mistakes.add("name", "%s", err)
	}
	role, err := auth.ParseRole(req.Role)
	if err != nil {
		mistakes.add("role", "%q is none of viewer, verifier, author, admin", req.Role)
	}
	want.Role = role
	if err := auth.ValidTeam(req.Team); err != nil {
		mistakes.add("team", "%s", err)
	}
	if _, err := glob.NewScope(req.Images); err != nil {
		mistakes.add("images", "%s", err)
	}
	if req.Team != "" && len(req.Images) == 0 && (role.Allows(auth.Policy) || role.Allows(auth.Administer)) {
		mistakes.add("images", "are missing; a team's %s makes what is trusted for these images alone, so name them, or ** for every image", role)
	}
	for i, text := range req.Sources {
		n, err := network(text)
		if err != nil {
			mistakes.add(fmt.Sprintf("sources[%d]", i), "%s", err)
			continue
		}
		want.Sources = append(want.Sources, n)
	}
	switch {
	case req.ExpiresIn != "" && req.ExpiresAt != nil:
		mistakes.add("expires_at", "stands beside expires_in; write one of them")
	case req.ExpiresIn != "":
		if want.TTL, err = duration(req.ExpiresIn); err != nil {
			mistakes.add("expires_in", "%s", err)
		}
	case req.ExpiresAt != nil:
		if want.TTL = req.ExpiresAt.Sub(s.now()); want.TTL <= 0 {
			mistakes.add("expires_at", "%s has passed", req.ExpiresAt.UTC().Format(time.RFC3339))
		}
	}
	return want, mistakes
}

// network reads a network, or one address as the network of that address alone.
func network(text string) (netip.Prefix, error) {
	n, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil && addr.Zone() == "" {
		n, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return n, fmt.Errorf("%q is not a network; write it as 10.0.0.0/8, 2001:db8::/32 or a single address", text)
	case n != n.Masked():
		return n, fmt.Errorf("%q has bits behind its mask; is %s meant?", text, n.Masked())
	case n.Addr().Is4In6():
		return n, fmt.Errorf("%q is IPv4 written as IPv6; write %s", text, n.Addr().Unmap())
	}
	return n, nil
}

// within says that each network of inner lies in one of outer. None at all are
// every network.
func within(inner, outer []netip.Prefix) bool {
	if len(outer) == 0 {
		return true
	}
	for _, n := range inner {
		if !slices.ContainsFunc(outer, func(o netip.Prefix) bool { return o.Bits() <= n.Bits() && o.Contains(n.Addr()) }) {
			return false
		}
	}
	return len(inner) > 0
}

func texts(networks []netip.Prefix) []string {
	out := make([]string, len(networks))
	for i, n := range networks {
		out[i] = n.String()
	}
	return out
}

// duration reads a lifetime: days, or what [time.ParseDuration] reads.
func duration(text string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(text, "d"); ok && len(n) <= 5 {
		if days, err := strconv.ParseUint(n, 10, 32); err == nil && days > 0 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not how long a token lives; write it as 12h or 30d", text)
	}
	return d, nil
}

// RevokeToken ends a token for good. One that was revoked before stays as it is.
func (s *Service) RevokeToken(ctx context.Context, c Caller, id string) error {
	if err := c.may(auth.Administer); err != nil {
		return err
	}
	t, err := s.token(ctx, c, id)
	if err != nil {
		return err
	}
	if err := c.owns(fmt.Sprintf("token %q", t.Name), t.Team, t.Images); err != nil {
		return err
	}
	if t.RevokedAt != nil {
		return nil
	}
	err = s.change(ctx, c, func(tx *store.Tx) error { return tx.RevokeToken(ctx, id) })
	if errors.Is(err, store.ErrConflict) { // by somebody else, meanwhile
		return nil
	}
	return err
}
