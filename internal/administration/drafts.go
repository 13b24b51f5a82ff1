package administration

import (
	"context"
	"errors"

	"github.com/signet-policy/signet/client"
	"github.com/signet-policy/signet/internal/auth"
	"github.com/signet-policy/signet/internal/signingpolicy"
	"github.com/signet-policy/signet/internal/store"
)

// Drafts lists the drafts that the caller may work on, as [Service.Policies] does.
func (s *Service) Drafts(ctx context.Context, c Caller, limit int, after string) (client.Page[client.DraftSummary], error) {
	page := client.Page[client.DraftSummary]{Items: []client.DraftSummary{}}
	if err := c.may(auth.Policy); err != nil {
		return page, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return page, err
	}
	rows, err := s.store.Drafts(ctx)
	if err != nil {
		return page, err
	}
	for _, r := range rows {
		if r.Name <= after || c.ofTeam("", r.Owner) != nil {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Name
			break
		}
		page.Items = append(page.Items, client.DraftSummary{Name: r.Name, Owner: r.Owner, Base: r.Base, Version: r.Version, UpdatedBy: r.UpdatedBy, UpdatedAt: r.UpdatedAt})
	}
	return page, nil
}

// Draft reads the draft of a bundle, or [ErrNotFound].
func (s *Service) Draft(ctx context.Context, c Caller, name string) (client.Draft, error) {
	if err := c.may(auth.Policy); err != nil {
		return client.Draft{}, err
	}
	row, err := s.store.Draft(ctx, name)
	if err != nil {
		return client.Draft{}, missing(err, "there is no draft of a bundle %q", name)
	}
	if err := c.ofTeam(draftNamed(name), row.Owner); err != nil {
		return client.Draft{}, err
	}
	return draftOf(row), nil
}

func draftNamed(name string) string { return "the draft of " + bundleNamed(name) }

func draftOf(r store.DraftRow) client.Draft {
	return client.Draft{
		Name: r.Name, Owner: r.Owner, Files: r.Files, Base: r.Base, Replaced: []string{}, Version: r.Version,
		CreatedBy: r.CreatedBy, CreatedAt: &r.CreatedAt, UpdatedBy: r.UpdatedBy, UpdatedAt: &r.UpdatedAt,
	}
}

// MayDraft asks whether the caller may work on a bundle, and gives whom a new draft
// of it belongs to: the bundle's owner, and the caller's team where there is no such
// bundle.
func (s *Service) MayDraft(ctx context.Context, c Caller, name string) (owner string, err error) {
	if err := c.may(auth.Policy); err != nil {
		return "", err
	}
	if !signingpolicy.IsName(name) {
		return "", fieldError("name", "%q is not a name; use at most 63 lower-case letters, digits and dashes", name)
	}
	row, err := s.store.Bundle(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return c.Principal.Team, nil
	case err != nil:
		return "", err
	}
	return row.Owner, c.ofTeam(bundleNamed(name), row.Owner)
}

// What is kept of drafts, of up to 2 MB each: so many of a team, so that none keeps
// others from working, and so many in all, as who has no team may name any.
const (
	maxTeamDrafts = 100
	maxDrafts     = 500
)

// draftRoom refuses a draft of a team that has as many as it may.
func draftRoom(owner string) func(ofOwner, all int) error {
	return func(ofOwner, all int) error {
		switch {
		case ofOwner >= maxTeamDrafts && owner == "":
			return refuse(ErrConflict, "there are %d drafts that belong to no team, and at most %d may; discard one that nobody works on", ofOwner, maxTeamDrafts)
		case ofOwner >= maxTeamDrafts:
			return refuse(ErrConflict, "team %q has %d drafts, and a team may have at most %d; discard one that nobody works on", owner, ofOwner, maxTeamDrafts)
		case all >= maxDrafts:
			return refuse(ErrConflict, "there are %d drafts of all teams, and at most %d are kept; discard one that nobody works on, or ask another team or an administrator to", all, maxDrafts)
		}
		return nil
	}
}

// PutDraft keeps a draft: a new one, where version is nil, or in place of the one of
// that version.
func (s *Service) PutDraft(ctx context.Context, c Caller, name string, in client.PutDraft, version *int64) (client.Draft, error) {
	owner, err := s.MayDraft(ctx, c, name)
	if err != nil {
		return client.Draft{}, err
	}
	if err := auth.ValidTeam(in.Owner); err != nil {
		return client.Draft{}, fieldError("owner", "%s", err)
	}
	row := store.DraftRow{Name: name, Owner: owner, Base: in.Base, Files: in.Files, UpdatedBy: c.Principal.Name}
	old, err := s.store.Draft(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound) && version == nil:
	case err != nil:
		return client.Draft{}, missing(err, "there is no draft of a bundle %q", name)
	case version == nil:
		return client.Draft{}, refuse(ErrConflict, "%s: is there already; name its version to replace it", draftNamed(name))
	default:
		if err := c.ofTeam(draftNamed(name), old.Owner); err != nil {
			return client.Draft{}, err
		}
		row.Owner, row.Version = old.Owner, *version
	}
	if in.Owner != "" {
		row.Owner = in.Owner
	}
	if err := c.ofTeam(draftNamed(name), row.Owner); err != nil {
		return client.Draft{}, err
	}
	kept, err := s.store.PutDraft(ctx, row, draftRoom(row.Owner))
	if err != nil {
		return client.Draft{}, putError(err, draftNamed(name), row.Version)
	}
	return draftOf(kept), nil
}

// DeleteDraft forgets the draft of that version.
func (s *Service) DeleteDraft(ctx context.Context, c Caller, name string, version int64) error {
	if _, err := s.Draft(ctx, c, name); err != nil {
		return err
	}
	return putError(s.store.DeleteDraft(ctx, name, version), draftNamed(name), version)
}
