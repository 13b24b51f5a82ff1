package administration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// checkExceptions holds a policy's exceptions to the rules of the installation.
// before is the body that is replaced, "" for none.
func (s *Service) checkExceptions(p *signingpolicy.Policy, before string) error {
	if len(p.Exceptions) == 0 {
		return nil
	}
	rules := signingpolicy.ExceptionRules{Now: s.now(), Longest: s.longest}
	if before != "" {
		var err error
		if rules.Before, err = signingpolicy.Parse([]byte(before)); err != nil {
			return fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, p.Name, err)
		}
	}
	return p.CheckExceptions(rules)
}

func exceptionsShown(p *signingpolicy.Policy) []client.Exception {
	list := make([]client.Exception, 0, len(p.Exceptions))
	for i, e := range p.Exceptions {
		list = append(list, client.Exception{
			Name: p.ExceptionName(i), Images: e.Images, Codes: e.Codes, Reason: e.Reason, Owner: e.Owner, ExpiresAt: e.ExpiresAt,
		})
	}
	return list
}

// AddException adds an exception to a policy of that version, as its last, and
// returns the policy. One that has ended is refused.
func (s *Service) AddException(ctx context.Context, c Caller, name string, e client.NewException, version int64) (client.Policy, error) {
	old, p, err := s.excepting(ctx, c, name, version)
	if err != nil {
		return client.Policy{}, err
	}
	switch {
	case e.ExpiresAt.IsZero():
		return client.Policy{}, fieldError("expires_at", "is missing; say when it ends, such as 2027-01-31T00:00:00Z")
	case !e.ExpiresAt.After(s.now()):
		return client.Policy{}, fieldError("expires_at", "has passed, so the exception would waive nothing; name a time to come")
	}
	p.Exceptions = append(p.Exceptions, signingpolicy.Exception{
		Images: orEmpty(e.Images), Codes: orEmpty(e.Codes), Reason: e.Reason, Owner: e.Owner, ExpiresAt: e.ExpiresAt,
	})
	got, err := s.putChanged(ctx, c, old, p)
	return got, ofException(err, len(p.Exceptions)-1)
}

// RemoveException takes the exception at a place, counted from 1, out of a policy of
// that version. Those behind it move up, and their names with them.
func (s *Service) RemoveException(ctx context.Context, c Caller, name string, place int, version int64) (client.Policy, error) {
	old, p, err := s.excepting(ctx, c, name, version)
	if err != nil {
		return client.Policy{}, err
	}
	if place < 1 || place > len(p.Exceptions) {
		return client.Policy{}, refuse(ErrNotFound, "%s has %d exceptions, and none at the place %d", policyNamed(name), len(p.Exceptions), place)
	}
	p.Exceptions = slices.Delete(p.Exceptions, place-1, place)
	return s.putChanged(ctx, c, old, p)
}

// excepting is a policy whose exceptions the caller may change.
func (s *Service) excepting(ctx context.Context, c Caller, name string, version int64) (store.PolicyRow, *signingpolicy.Policy, error) {
	if err := c.may(auth.Policy); err != nil {
		return store.PolicyRow{}, nil, err
	}
	old, err := s.replaceable(ctx, c, name, version)
	if err != nil {
		return old, nil, err
	}
	p, err := signingpolicy.Parse([]byte(old.Body))
	if err != nil {
		return old, nil, fmt.Errorf("%w: policy %s: %w", store.ErrCorrupt, name, err)
	}
	return old, p, nil
}

// putChanged puts a changed policy the way that its author would.
func (s *Service) putChanged(ctx context.Context, c Caller, old store.PolicyRow, p *signingpolicy.Policy) (client.Policy, error) {
	body, err := p.Canonical()
	if err != nil {
		return client.Policy{}, err
	}
	return s.PutPolicy(ctx, c, old.Name, "", body, &old.Version)
}

// ofException names the fields of the exception that was given, and no lines: its
// author wrote no document.
func ofException(err error, i int) error {
	var mistakes FieldErrors
	if !errors.As(err, &mistakes) {
		return err
	}
	for j, m := range mistakes {
		field, of := strings.CutPrefix(m.Field, fmt.Sprintf("exceptions[%d].", i))
		if !of {
			continue
		}
		mistakes[j].Field = field
		if at, what, ok := strings.Cut(m.Problem, ": "); ok && strings.HasPrefix(at, "line ") {
			mistakes[j].Problem = what
		}
	}
	return mistakes
}
